"""A region of interest from a file, a volume or an array, on the native grid and on the evidence grid."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, PredictionError, VolumeError
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume
from medattn_core.volumes.masks import LOSSY, marked, not_finite, read_mask
from medattn_core.volumes.placement import place_mask
from medattn_core.volumes.shown import as_shown, lies_as_shown, size_as_shown

MaskLike = str | os.PathLike[str] | Volume | np.ndarray

WHOLE = 1e-3
"""How far a number may be from a whole one and still count as one: files store labels with a slope, in float32."""


def native_mask(mask: MaskLike, volume: Volume) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The mask on the grid of ``volume``, boolean ``(I, J, K)``, and what was odd; which voxels are inside says
    :func:`medattn_core.volumes.masks.marked`.

    Volumes and files on another grid are placed by their world coordinates (:func:`place_mask`). A picture states no
    place: on a scan that does, which has to be a single slice, it lies as that is shown
    (:func:`medattn_core.volumes.shown.display_axes`), with a notice. Others that state no place, of the scan's own
    shape, are taken voxel by voxel.

    Raises:
        PredictionError: an array or picture of another shape, voxels that are no finite numbers, or a mask that touches
            nothing of the scan.
        VolumeError: the file cannot be read.
    """
    if isinstance(mask, (str, os.PathLike)):
        name = str(mask)
        try:
            mask = read_mask(mask)
        except VolumeError as error:
            if error.code != "bad_mask":
                raise
            raise _not_finite(name) from error
    else:
        name = mask.source if isinstance(mask, Volume) and mask.source else "the mask"
    if not isinstance(mask, (np.ndarray, Volume)):
        raise PredictionError(
            "bad_mask", f"the mask is a {type(mask).__name__}; accepted: an array on the scan's grid, a Volume, a file"
        )
    if isinstance(mask, Volume) and lies_as_shown(mask, volume):
        mask = _as_shown(mask, volume, name)
    elif isinstance(mask, Volume) and mask.shape != volume.shape and not (mask.spacing_known and volume.spacing_known):
        raise PredictionError(
            "bad_mask",
            f"{name} has shape {mask.shape}, the scan {volume.shape}, and without pixel size it cannot be placed; "
            "give a mask on the scan's grid",
        )
    if isinstance(mask, np.ndarray):
        if mask.shape != volume.shape:
            raise PredictionError(
                "bad_mask",
                f"{name} has shape {mask.shape}, the scan {volume.shape}; give an array on the scan's grid, or a "
                "Volume or file, which is placed by its world coordinates",
            )
        inside, odd = _marked(mask, name)
        return _some(inside, name), odd
    if any(notice.code == "non_finite_replaced" for notice in mask.warnings):
        raise _not_finite(name)
    drawn, odd = _marked(mask.data, name, mask.format)
    told = ((notice.code, notice.message.replace(name, _short(name))) for notice in mask.warnings)
    notices = (*(Notice(code, f"mask: {message}") for code, message in told), *odd)
    placeless = not (mask.orientation_known and volume.spacing_known)
    if mask.shape == volume.shape and (placeless or np.allclose(mask.affine, volume.affine, atol=1e-3)):
        inside = drawn
    else:
        inside = place_mask(drawn, mask.affine, volume)
    return _some(inside, name), notices


def _as_shown(picture: Volume, volume: Volume, name: str) -> Volume:
    """A picture on the voxels of the one slice of a scan, with a notice.

    Raises:
        PredictionError: ``bad_mask``: several slices, or other rows and columns than the slice is shown with.
    """
    shown = size_as_shown(volume)
    if picture.shape != shown:
        size = f"{shown} as it is shown" if shown[2] == 1 else f"{volume.shape}"
        raise PredictionError(
            "bad_mask",
            f"{name} has shape {picture.shape}, the scan {size}, and without pixel size it cannot be placed; "
            "give a mask on the scan's grid",
        )
    text = f"{_short(name)}: a picture states no place; it lies on the slice as that is shown in the overlay"
    return replace(as_shown(picture, volume), warnings=(*picture.warnings, Notice("no_geometry", text)))


def _marked(data: np.ndarray, name: str, kind: str = "") -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Which voxels of a mask are inside, boolean, and a notice where it was not clear.

    Raises:
        PredictionError: ``bad_mask``: they are no finite numbers.
    """
    if data.dtype.kind not in "biuf":
        raise PredictionError("bad_mask", f"{name} has voxels of type {data.dtype}; a mask holds plain numbers")
    if not np.isfinite(data).all():
        raise _not_finite(name)
    inside = marked(data, kind)
    said = []
    if kind in LOSSY:
        faint = np.count_nonzero(data) - np.count_nonzero(inside)
        if faint:
            said.append(
                f"{faint} pixels of at most half of its largest value, {data.max():g}, are left out: the noise of a "
                "JPEG, or a region in a darker grey; save masks as PNG"
            )
        return inside, _told(said, name)
    below = np.count_nonzero(data < 0) if data.dtype.kind in "if" else 0
    if below:
        said.append(f"{below} voxels are below zero and do not count: a mask has 0 outside and more inside")
    if data.dtype.kind == "f":
        values = data[inside]
        whole = np.rint(values)
        # No number above zero rounds to zero but a fraction: what a sigmoid leaves far from the finding, above all.
        fractions = values[(np.abs(values - whole) > WHOLE) | (whole == 0)]
        if fractions.size:
            said.append(
                f"{fractions.size} of the {values.size} voxels above zero hold fractions, such as {fractions[0]:.3g}; "
                "all that is above zero counts: cut a soft mask where you mean, such as mask > 0.5"
            )
    return inside, _told(said, name)


def _told(said: list[str], name: str) -> tuple[Notice, ...]:
    return tuple(Notice("soft_mask", f"{_short(name)}: {text}") for text in said)


def _short(name: str) -> str:
    """A file's own name: its folders may name a patient, and pages with the notice are passed on."""
    return Path(name).name


def _not_finite(name: str) -> PredictionError:
    return PredictionError("bad_mask", not_finite(name))


def _some(inside: np.ndarray, name: str) -> np.ndarray:
    if not inside.any():
        raise PredictionError(
            "empty_mask",
            f"{name}: no voxel of it above zero lies on the scan; draw it on this scan, or check its geometry",
        )
    return inside


def cells_of_mask(mask: np.ndarray, grid: ModelGrid, stride: int) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Evidence cells that a native mask selects, boolean ``(*cells)``: those it covers by more than half.

    A cell that is covered by exactly half goes with its middle voxel: what a mask leaves is what its complement
    selects. Where voxels are about as coarse as cells, those nearest to a cell stand for it, so that the mask of a
    region selects the region; where they are coarser, the cells that lie in one go together (:meth:`ModelGrid.taken`).

    A mask too small or thin for that selects the cells it covers by half or, with a notice, at least half as well as
    the best; its complement does then not leave out the same.

    Raises:
        PredictionError: the mask lies outside what the model sees of the scan.
    """
    cells = grid.taken(mask, stride)
    if (cells & grid.owners(stride)).any():
        return cells, ()
    coverage = np.where(grid.inside(stride), grid.coverage(mask, stride), 0.0)
    best = float(coverage.max())
    if best <= 0:
        raise PredictionError(
            "empty_mask", "the mask lies outside the part of the scan that this model sees; draw it further inside"
        )
    if best >= 0.5 - 1e-6:
        return coverage >= 0.5 - 1e-6, ()
    cells = coverage >= 0.5 * best
    volume = grid.cell_volume_mm3(stride)
    text = (
        f"the mask covers no evidence cell ({volume:.0f} mm3) by half; the {int(cells.sum())} it covers best are used"
    )
    return cells, (Notice("small_mask", text),)
