"""Several images at one position: copies of one slice, or echoes, phases, repetitions that the header tells apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes.dicom.frames import Key
from medattn_core.volumes.dicom.stack import Slice
from medattn_core.volumes.dicom.wording import listed

SAME_POSITION_MM = 0.01
"""Slices nearer to each other than this lie at one position. No scanner cuts so thin; headers round to 0.001 mm."""
COVERAGE = 0.9
"""Least share of the positions that images with one value of an attribute must fill to be taken as the volume."""

_ATTRIBUTES = ("EchoTime", "TemporalPosition", "DiffusionBValue", "TriggerTime", "AcquisitionNumber", "ImageType")
Decode = Callable[[Sequence[Slice]], np.ndarray]


def one_image_a_position(
    slices: list[Slice], along: np.ndarray, path: Path, decode: Decode
) -> tuple[list[int], list[Notice]]:
    """Which slices to keep so that no two share a position.

    Args:
        slices: a stack.
        along: ``(n,)`` position of each along the slice normal, mm.
        path: for messages.
        decode: voxels ``(n, rows, columns)`` of some slices.

    Returns:
        indices into ``slices``, ascending in position, and a notice where some were left out.

    Raises:
        VolumeError: ``duplicate_positions`` where differing images at one position cannot be told apart.
    """
    order = [int(index) for index in np.argsort(along, kind="stable")]
    places: list[list[int]] = []
    for index in order:
        if places and along[index] - along[places[-1][0]] < SAME_POSITION_MM:
            places[-1].append(index)
        else:
            places.append([index])
    shared = [place for place in places if len(place) > 1]
    if not shared:
        return order, []
    # Within a position in the order of the files, so that the same one is kept on every machine.
    for place in shared:
        place.sort()
    if all(_identical([slices[index] for index in place], decode) for place in shared):
        extra = sum(len(place) - 1 for place in shared)
        pairs = listed([f"{slices[place[1]].name} is {slices[place[0]].name}" for place in shared])
        text = f"{path}: {extra} slices are there more than once with the same voxels; one of each was kept ({pairs})"
        return [place[0] for place in places], [Notice("duplicate_positions", text)]
    return _told_apart(slices, places, path)


def _identical(slices: list[Slice], decode: Decode) -> bool:
    first = decode(slices[:1])
    for other in slices[1:]:
        voxels = decode([other])
        if voxels.shape != first.shape or not np.array_equal(voxels, first):
            return False
    return True


def _told_apart(slices: list[Slice], places: list[list[int]], path: Path) -> tuple[list[int], list[Notice]]:
    """The first group of images that one attribute (or, failing that, all together) sets apart."""
    place_of = {index: number for number, place in enumerate(places) for index in place}
    attempts: list[tuple[str, ...]] = [(name,) for name in _ATTRIBUTES]
    attempts += [("AcquisitionTime",), _ATTRIBUTES]
    for names in attempts:
        groups: dict[tuple[Key, ...], list[int]] = defaultdict(list)
        for index in sorted(place_of):
            groups[tuple(slices[index].frame.keys.get(name, ()) for name in names)].append(index)
        if len(groups) < 2:
            continue
        # One that has every position before one that lacks the last slices.
        for needed, value in product((len(places), COVERAGE * len(places)), sorted(groups, key=_first_comes)):
            members = groups[value]
            filled = {place_of[index] for index in members}
            if len(filled) == len(members) and len(filled) >= needed:
                label = " and ".join(names) if len(names) < 3 else "several attributes together"
                shown = f" {_shown(value[0])}" if len(names) == 1 and names[0] != "AcquisitionTime" else ""
                text = (
                    f"{path}: {len(slices)} images at {len(places)} positions, told apart by {label}; the "
                    f"{len(members)} images with the first{shown} were read; split the series to read another"
                )
                return sorted(members, key=lambda index: place_of[index]), [Notice("duplicate_positions", text)]
    shared = next(place for place in places if len(place) > 1)
    both = f"{slices[shared[0]].name} and {slices[shared[1]].name}"
    raise VolumeError(
        "duplicate_positions",
        f"{path}: different images at one position ({both}), and no attribute tells them apart; remove one of each "
        "pair or split the series",
    )


def _first_comes(value: tuple[Key, ...]) -> tuple[tuple[bool, int, tuple[tuple[bool, float, str], ...]], ...]:
    """Sorts values of attributes: numbers ascending, absent last; of image types the original magnitude first."""
    ranks = []
    for key in value:
        texts = [part for part in key if isinstance(part, str)]
        preference = 0
        if len(texts) > 1:  # an image type
            preference = 2 * ("ORIGINAL" not in texts) + (not {"M", "M_FFE", "MAGNITUDE"} & set(texts))
        parts = tuple(
            (isinstance(p, str), 0.0 if isinstance(p, str) else float(p), p if isinstance(p, str) else "") for p in key
        )
        ranks.append((not key, preference, parts))
    return tuple(ranks)


def _shown(key: Key) -> str:
    return "\\".join(part if isinstance(part, str) else f"{part:g}" for part in key) or "(none)"
