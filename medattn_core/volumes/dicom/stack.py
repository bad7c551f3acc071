"""Which images of a series form the volume: one size, one pixel size, one orientation, no localizers or projections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes.dicom import geometry
from medattn_core.volumes.dicom.frames import Frame
from medattn_core.volumes.dicom.header import ImageFile, Pixels
from medattn_core.volumes.dicom.wording import listed

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within one stack: 0.25 mm at the edge of a 500 mm field of view."""
SPACING_TOLERANCE = 1e-3
"""Largest relative difference of the pixel spacing within one stack."""


@dataclass(frozen=True)
class Slice:
    """A frame and the file that holds it."""

    file: ImageFile
    frame: Frame

    @property
    def pixels(self) -> Pixels:
        """Layout of the file's pixels."""
        if self.file.pixels is None:
            raise AssertionError("a damaged file has no frames")
        return self.file.pixels

    @property
    def name(self) -> str:
        """How a message names the slice."""
        return self.file.member.name + (f" (frame {self.frame.index + 1})" if self.pixels.frames > 1 else "")


def depth(files: Iterable[ImageFile]) -> int:
    """Slices of the volume a series would give: positions of its largest grey stack, and its damaged files.

    A damaged file counts, so that its series is chosen and the damage told.
    """
    files = list(files)
    damaged = sum(file.problem is not None for file in files)
    slices = [Slice(file, frame) for file in files for frame in file.frames]
    grey = [item for item in slices if not item.frame.localizer and not item.pixels.colour]
    stacks = _stacks(grey)  # of slices, or of projections: the first is the one that is read
    alike = [stack for stack in stacks if stack[0].frame.projection == stacks[0][0].frame.projection]
    return damaged + max((len({item.frame.position for item in stack}) for stack in alike), default=0)


def one_stack(files: Iterable[ImageFile], path: Path) -> tuple[list[Slice], list[Notice]]:
    """The slices of the largest stack of a series, in order of their files, and what was left out.

    Raises:
        VolumeError: the code of a damaged file (``truncated_file``, ``corrupt_file``, ``unsupported_dicom``): a slice
            is never dropped in silence; ``colour_image``; ``incomplete_geometry`` where some slices lack their place.
    """
    files = list(files)
    for file in files:
        if file.problem is not None:
            raise VolumeError(*file.problem)
    slices = [Slice(file, frame) for file in files for frame in file.frames]
    localizers = [item for item in slices if item.frame.localizer]
    if len(localizers) < len(slices):
        slices = [item for item in slices if not item.frame.localizer]
    else:
        localizers = []  # nothing else is there, so they are what the user wants to see
    main, *others = _stacks(slices)
    first = main[0]
    if first.pixels.colour:
        raise VolumeError(
            "colour_image", f"{first.name}: a colour image; grey images are needed: give the scan, not a picture of it"
        )
    kinds = ("colour", "projection", "unplaced", "turned", "size")
    left_out: dict[str, list[Slice]] = {"localizer": localizers, **{kind: [] for kind in kinds}}
    for stack in others:
        left_out[_difference(main, stack)] += stack
    return main, [_left_out(path, main, kind, items) for kind, items in left_out.items() if items]


def _stacks(slices: list[Slice]) -> list[list[Slice]]:
    """Slices that agree in everything but position; grey, slices (not projections), largest, placed in space first."""
    stacks: list[list[Slice]] = []
    for item in slices:
        for stack in stacks:
            if _same(stack[0], item):
                stack.append(item)
                break
        else:
            stacks.append([item])
    # One or two images beside projections are as likely pictures of them as the volume.
    deep = any(item.frame.projection for item in slices) and any(
        not stack[0].frame.projection and not stack[0].pixels.colour and _is_volume(stack) for stack in stacks
    )

    def rank(stack: list[Slice]) -> tuple[bool, bool, int, bool, bool]:
        frame = stack[0].frame
        return stack[0].pixels.colour, deep and frame.projection, -len(stack), frame.projection, frame.position is None

    return sorted(stacks, key=rank)


def _is_volume(stack: list[Slice]) -> bool:
    """Whether images are slices: three or more, at one distance but for a few gaps."""
    first = stack[0].frame
    if len(stack) < 3 or first.orientation is None or first.position is None:
        return False
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    return geometry.is_mostly_regular(np.array([item.frame.position for item in stack]) @ normal)


def _same(a: Slice, b: Slice) -> bool:
    if a.frame.projection != b.frame.projection:
        return False
    return _same_size(a, b) and _close(a.frame.spacing, b.frame.spacing, relative=True) and _same_direction(a, b)


def _same_size(a: Slice, b: Slice) -> bool:
    first, second = a.pixels, b.pixels
    return (first.rows, first.columns, first.colour) == (second.rows, second.columns, second.colour)


def _same_direction(a: Slice, b: Slice) -> bool:
    if (a.frame.position is None) != (b.frame.position is None):
        return False
    return _close(a.frame.orientation, b.frame.orientation, relative=False)


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, *, relative: bool) -> bool:
    if a is None or b is None:
        return a is b
    if a == b:  # the usual case; numpy would cost more than the rest of the scan
        return True
    difference = np.abs(np.subtract(a, b))
    if relative:
        return bool((difference <= SPACING_TOLERANCE * np.abs(a)).all())
    return bool((difference <= ORIENTATION_TOLERANCE).all())


def _placed(item: Slice) -> bool:
    frame = item.frame
    return frame.position is not None and frame.orientation is not None and frame.spacing is not None


def _difference(main: list[Slice], stack: list[Slice]) -> str:
    """Why a stack is not part of the main one.

    Raises:
        VolumeError: ``incomplete_geometry``: the same kind of image without its place in space is a slice whose loss
            would leave a hole.
    """
    first, other = main[0], stack[0]
    if other.pixels.colour:
        return "colour"
    if first.frame.projection != other.frame.projection:
        return "projection"
    if _placed(first) != _placed(other):
        if _same_size(first, other) and first.file.sop_class == other.file.sop_class:
            lacking, count = stack if _placed(first) else main, len(main) + len(stack)
            raise VolumeError(
                "incomplete_geometry",
                f"{lacking[0].name}: {len(lacking)} of {count} slices lack ImagePositionPatient, "
                "ImageOrientationPatient or PixelSpacing, so they cannot be placed; export the series again, or move "
                "them away",
            )
        return "unplaced"
    return "size" if _same_direction(first, other) else "turned"


def _left_out(path: Path, main: list[Slice], kind: str, items: list[Slice]) -> Notice:
    """What to tell about images of the series that are not of the main stack."""
    names = listed([item.name for item in items])
    count = len(items)
    if kind == "localizer":
        return Notice("localizer_excluded", f"{path}: localizer images were left out: {count} ({names})")
    if kind == "projection":
        what = "projections through the volume (such as MIP)"
        if main[0].frame.projection:
            what = f"images that are no {what}, unlike the {len(main)} that were read,"
        return Notice("skipped_files", f"{path}: {what} were left out: {count} ({names})")
    if kind == "turned":
        return Notice(
            "localizer_excluded",
            f"{path}: images in another orientation were left out as localizers: {count} ({names})",
        )
    if kind == "size":
        text = (
            f"{path}: slices differ in size or pixel spacing; read the {len(main)} of {_size(main[0])}, left out "
            f"{count} others such as {_size(items[0])} ({names})"
        )
        return Notice("inconsistent_slices", text)
    what = "colour images" if kind == "colour" else "images without a place in space"
    return Notice("skipped_files", f"{path}: {what} in the series were left out: {count} ({names})")


def _size(item: Slice) -> str:
    spacing = item.frame.spacing
    pixel = f" at {spacing[0]:.4g} x {spacing[1]:.4g} mm" if spacing else ""
    return f"{item.pixels.rows} x {item.pixels.columns}{pixel}"
