"""Which intensity rule and modality the images ask for, where the user does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medattn_core.datalists import Case
from medattn_core.errors import VolumeError
from medattn_core.tasks import IntensityRule
from medattn_core.volumes import Volume, list_series

PICTURES = ("png", "jpeg")
FEW_GREYS = 32
"""Highest value below which pictures are drawn in numbers of their own, and are no photographs."""

AIR = -900.0
"""HU below which a voxel is air or lies outside the round field of a CT."""

WIDE = IntensityRule(rule="window", lower=-1000, upper=1000)
"""Window of a CT that shows nothing but air and padding."""

PERCENTILES = IntensityRule(rule="percentile", lower=0.5, upper=99.5)


def plan_modality(volumes: Sequence[Volume]) -> tuple[str, ...]:
    """The modality, where every image states the same (DICOM does); else none, which accepts all."""
    found = {volume.modality for volume in volumes}
    return tuple(found) if len(found) == 1 and "" not in found else ()


def modality_of_all(
    cases: Sequence[Case], looked_at: Sequence[int], volumes: Sequence[Volume], say: Callable[[str], None]
) -> tuple[str, ...]:
    """The modality that every image of the list states, or none, which accepts all.

    Args:
        cases: the data list.
        looked_at: the cases that have been read.
        volumes: their images. Where these agree, the headers of all others are asked.
        say: called with a line for a person where one of the others does not agree.
    """
    modality = plan_modality(volumes)
    for index in sorted(set(range(len(cases))).difference(looked_at)) if modality else ():
        stated = _stated(cases[index].image)
        if stated != modality[0]:
            what = f"states {stated}" if stated else "states none"
            say(f"modality: any, as {cases[index].image} {what} and others {modality[0]}")
            return ()
    return modality


def _stated(image: Path) -> str:
    """The modality in the header of an image, of the series that is read from it; empty where it states none."""
    try:
        return list_series(image)[0].modality
    except (OSError, VolumeError):  # another format, which states none; or damaged, as reading it will say
        return ""


def plan_intensity(volumes: Sequence[Volume], modality: Sequence[str] = ()) -> tuple[IntensityRule, str]:
    """The rule that leaves contrast in such images, and why it was chosen.

    - CT (stated, or numbers that look like Hounsfield units): a window over the tissue that is there.
    - Pictures of 8 bits: their whole range; of a few grey values (a mask of 0 and 1), the range of these.
    - Other images with negative values (z-scored, differences): percentiles; a mean would clip them away.
    - Else, MRI and whatever has no unit: divided by the mean of the foreground.

    Args:
        volumes: some of the images.
        modality: of the task, where it is known.
    """
    hounsfield = [looks_hounsfield(volume.data) for volume in volumes]
    if tuple(modality) == ("CT",) or (not modality and np.mean(hounsfield) > 0.5):
        rule = _tissue_window(volumes)
        why = "CT" if tuple(modality) == ("CT",) else "the numbers look like Hounsfield units"
        return rule, f"{why}: {rule.lower:g} to {rule.upper:g} HU hold 98 % of the tissue"
    if all(volume.format in PICTURES and volume.data.min() >= 0 and volume.data.max() <= 255 for volume in volumes):
        top = max(float(volume.data.max()) for volume in volumes)
        if 0 < top < FEW_GREYS:
            return IntensityRule(rule="window", lower=0, upper=top), f"pictures of no value above {top:g}"
        return IntensityRule(rule="window", lower=0, upper=255), "pictures of 8 bits"
    if np.median([_share_below_zero(volume.data) for volume in volumes]) > 0.01:
        return PERCENTILES, "the images have negative values"
    return IntensityRule(), "images without a unit"


def plan_channels(
    channels: Sequence[Sequence[Volume]], modality: Sequence[str] = ()
) -> tuple[IntensityRule | tuple[IntensityRule, ...], str]:
    """:func:`plan_intensity` where a case has several channels, and what was chosen in a line for a person.

    Channels of one kind are looked at together and have one rule. Where they are of different kinds, as CT and PET are,
    the window of one would blot out the other: each kind has its own.

    Args:
        channels: some images of each channel.
        modality: of the task; where it is one, that of the first channel.
    """
    stated = [modality if len(modality) == 1 else plan_modality(channels[0])]
    stated += [plan_modality(images) for images in channels[1:]]
    kinds = [plan_intensity(images, of)[0].rule for images, of in zip(channels, stated, strict=True)]
    found = {}
    for kind in dict.fromkeys(kinds):
        own = [index for index, other in enumerate(kinds) if other == kind]
        found[kind] = plan_intensity([volume for index in own for volume in channels[index]], stated[own[0]])
    why = "; ".join(f"{kind}, {why}" for kind, (_, why) in found.items())
    return tuple(found[kind][0] for kind in kinds) if len(found) > 1 else found[kinds[0]][0], why


def looks_hounsfield(data: np.ndarray) -> bool:
    """Whether numbers are those of a CT: air near -1000 (or padding below), and nothing denser than metal."""
    low, high = float(data.min()), float(data.max())
    return -4100 <= low <= -500 and high <= 32767 and bool((data < -500).mean() > 0.001) and high > -500


def _share_below_zero(data: np.ndarray) -> float:
    # Splines undershoot a little beside bright edges: that is not a negative image.
    return float((data < -0.01 * np.percentile(np.abs(data), 99.5)).mean())


def _tissue_window(volumes: Sequence[Volume]) -> IntensityRule:
    some = [volume.data.ravel()[:: max(1, volume.data.size // 100_000)] for volume in volumes]
    tissue = np.concatenate([values[values > AIR] for values in some])
    if tissue.size == 0:
        return WIDE
    low, high = np.percentile(tissue, [1, 99])
    rule = WIDE if high - low < 1 else IntensityRule(
        rule="window", lower=float(np.floor(low / 10) * 10), upper=float(np.ceil(high / 10) * 10)
    )  # fmt: skip
    return rule
