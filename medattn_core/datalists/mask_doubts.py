"""What a mask looks like that is probably none, or that probably lies elsewhere than it was drawn."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from medattn_core.datalists.case import Case
from medattn_core.errors import Notice
from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.masks import LOSSY, marked
from medattn_core.volumes.placement import covered_share
from medattn_core.volumes.shown import lies_as_shown

GREYS = {"jpeg": 2, "png": 16}
"""Different values up to which a picture may be a mask. More are grey edges, or the noise of a lossy format."""

NUMBERS = 128
"""The same of other files, whose numbers may be those of organs or of single lesions; a scan has hundreds."""

NEARLY_ALL = 0.9
"""Share of a scan above which a mask marks hardly a finding."""

MOVED = 0.8
"""Share of a scan that a mask of its shape covers at least; masks of a scan beside it cover nearly all, too."""

BESIDE = 0.5
"""Share of what is marked above which it lies beside the scan by mistake, not at its border."""

LOOK_AT = 1_000_000
"""Voxels that are looked at: all of a large volume would take seconds."""


@dataclass(frozen=True)
class Doubt:
    """One thing that is probably not meant.

    Attributes:
        kind: what it is; masks of one kind are one line.
        notice: what is said of the first of them.
    """

    kind: str
    notice: Notice


def mask_doubts(case: Case, image: Volume | None, mask: Volume) -> list[Doubt]:
    """Doubts about a mask that marks something.

    Args:
        case: names the files.
        image: the first channel; None where it could not be read.
        mask: as it was read.
    """
    drawn = marked(mask.data, mask.format)
    if not drawn.any():
        return []
    place = None if image is None else _placed(case, image, mask, drawn)
    return [one for one in (_odd(case, image, mask, drawn), place) if one is not None]


def _odd(case: Case, image: Volume | None, mask: Volume, drawn: np.ndarray) -> Doubt | None:
    """Whether the voxels are those of a mask."""
    if case.mask is not None and os.path.realpath(case.mask) in map(os.path.realpath, case.images):
        text = "it is the scan itself; what is above 0 is taken for the finding: name a mask"
        return Doubt("itself", Notice("odd_mask", text))
    if mask.format in GREYS:
        greys = len(np.unique(mask.data))
        if greys > GREYS[mask.format]:
            lossy = mask.format in LOSSY
            taken = "half of its largest value is" if lossy else "0, with faint noise around it, is"
            left = ", a region in a darker grey is not" if lossy else ""
            text = (
                f"it has {greys} grey values, as a lossy picture (JPEG) has; all that is above {taken} taken for the "
                f"finding{left}: save it as PNG, of 0 and one other value"
            )
            return Doubt(mask.format, Notice("odd_mask", text))
    else:
        values = mask.data.reshape(-1)
        greys = len(np.unique(values[:: max(1, len(values) // LOOK_AT)]))
    whole = bool(np.isfinite(mask.data).all()) and not np.any(mask.data % 1)
    share = float(drawn.mean())
    if not whole:
        kind, what = "fractions", "has values that are no whole numbers"
    elif share > NEARLY_ALL and not _cropped(image, mask):
        kind, what = "nearly all", f"marks {share:.0%} of its voxels"
    elif greys > NUMBERS and mask.format not in GREYS:
        kind, what = "many", f"has {greys} different values, as a scan has"
    else:
        return None
    return Doubt(kind, Notice("odd_mask", f"it {what}; what is above 0 is taken for the finding: is it a mask?"))


def _cropped(image: Volume | None, mask: Volume) -> bool:
    """Whether a mask holds a part of the scan alone, all of which may be the finding."""
    return image is not None and not lies_as_shown(mask, image) and covered_share(mask, image) < 1 - BESIDE


def _placed(case: Case, image: Volume, mask: Volume, drawn: np.ndarray) -> Doubt | None:
    """Whether a mask on another grid lies where it was drawn. One cropped to the finding, finer or coarser may well."""
    alike = np.allclose(mask.affine, image.affine, atol=1e-2)
    if lies_as_shown(mask, image) or (mask.shape == image.shape and alike):
        return None
    apart = math.ceil((int(drawn.sum()) / LOOK_AT) ** (1 / 3))
    points = np.argwhere(drawn[::apart, ::apart, ::apart]) * apart
    index = geometry.to_world(np.linalg.inv(image.affine) @ mask.affine, points)
    inside = ((index >= -0.5) & (index <= np.array(image.shape) - 0.5)).all(axis=-1)
    if not inside.any():
        return None  # it covers nothing, which is told by itself
    mine, theirs = (" x ".join(map(str, one.shape)) for one in (mask, image))
    differing = sum(a != b for a, b in zip(mask.shape, image.shape, strict=True))
    if differing > 1 and alike:
        return _elsewhere(
            "corner",
            f"it has {mine} voxels, {case.image} has {theirs}, and both say the same voxel size and corner: was it "
            "drawn at another resolution? It then lies elsewhere; correct its voxel size",
        )
    if not alike and np.allclose(np.abs(mask.affine[:3, :3]), np.eye(3)) and not mask.affine[:3, 3].any():
        return _elsewhere(
            "default",
            "its header says voxels of 1 mm from 0, 0, 0, as that of a mask saved without the header of its scan, and "
            f"{case.image} lies otherwise: copy the geometry of the scan, if the mask was drawn on it",
        )
    share = covered_share(mask, image)
    if differing == 0 and share < MOVED:
        text = f"it has the shape of {case.image}, but covers {share:.0%} of it: compare the geometry of both"
        return _elsewhere("moved", text)
    beside = 1 - float(inside.mean())
    if beside > BESIDE:
        text = f"{beside:.0%} of what it marks lies beside {case.image}: compare the geometry of both"
        return _elsewhere("beside", text)
    return None


def _elsewhere(kind: str, text: str) -> Doubt:
    return Doubt(kind, Notice("mask_geometry", text))
