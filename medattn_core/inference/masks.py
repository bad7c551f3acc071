"""A region of interest from a file, a volume or an array, on the native grid and on the evidence grid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, PredictionError
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume, read
from medattn_core.volumes.placement import place_mask

MaskLike = str | os.PathLike[str] | Volume | np.ndarray

WHOLE = 1e-3
"""How far a number may be from a whole one and still count as one: files store labels with a slope, in float32."""


def native_mask(mask: MaskLike, volume: Volume) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The mask on the grid of ``volume``, boolean ``(I, J, K)``, and what was odd; non-zero voxels are inside.

    Of a JPEG those above half of its largest value are: compression leaves faint noise around all that is drawn.
    Volumes and files on another grid are placed by their world coordinates (:func:`place_mask`). One that states no
    place, of the scan's own shape, is taken voxel by voxel.

    Raises:
        PredictionError: an array of another shape, voxels that are no finite numbers, or a mask that touches nothing of
            the scan.
        VolumeError: the file cannot be read.
    """
    if isinstance(mask, (str, os.PathLike)):
        name = str(mask)
        mask = read(Path(mask), allow_constant=True)
    else:
        name = mask.source if isinstance(mask, Volume) and mask.source else "the mask"
    if not isinstance(mask, (np.ndarray, Volume)):
        raise PredictionError(
            "bad_mask", f"the mask is a {type(mask).__name__}; accepted: an array on the scan's grid, a Volume, a file"
        )
    if isinstance(mask, Volume) and mask.shape != volume.shape and not (mask.spacing_known and volume.spacing_known):
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
    marked, odd = _marked(mask.data, name, lossy=mask.format == "jpeg")
    told = ((notice.code, notice.message.replace(name, _short(name))) for notice in mask.warnings)
    notices = (*(Notice(code, f"mask: {message}") for code, message in told), *odd)
    placeless = not (mask.spacing_known and volume.spacing_known) or "no_geometry" in {n.code for n in mask.warnings}
    if mask.shape == volume.shape and (placeless or np.allclose(mask.affine, volume.affine, atol=1e-3)):
        inside = marked
    else:
        inside = place_mask(marked, mask.affine, volume)
    return _some(inside, name), notices


def _marked(data: np.ndarray, name: str, *, lossy: bool = False) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Which voxels of a mask are inside, boolean, and a notice where it was not clear.

    Raises:
        PredictionError: ``bad_mask``: they are no finite numbers.
    """
    if data.dtype.kind not in "biuf":
        raise PredictionError("bad_mask", f"{name} has voxels of type {data.dtype}; a mask holds plain numbers")
    if not np.isfinite(data).all():
        raise _not_finite(name)
    inside = data != 0
    if lossy:
        cut = data > data.max() / 2
        faint = int(inside.sum()) - int(cut.sum())
        text = (
            f"{_short(name)}: {faint} pixels of at most half of its largest value, {data.max():g}, are left out as the "
            "noise of a JPEG; save masks as PNG"
        )
        return cut, (Notice("soft_mask", text),) if faint else ()
    if data.dtype.kind != "f":
        return inside, ()
    values = data[inside]
    fractions = values[np.abs(values - np.rint(values)) > WHOLE]
    if not fractions.size:
        return inside, ()
    text = (
        f"{_short(name)}: {fractions.size} of the {values.size} voxels that are not zero hold fractions, such as "
        f"{fractions[0]:.3g}; all that is not zero counts: cut a soft mask where you mean, such as mask > 0.5"
    )
    return inside, (Notice("soft_mask", text),)


def _short(name: str) -> str:
    """A file's own name: its folders may name a patient, and pages with the notice are passed on."""
    return Path(name).name


def _not_finite(name: str) -> PredictionError:
    return PredictionError(
        "bad_mask",
        f"{name} holds NaN or infinite voxels; a mask has 0 outside and another number inside: replace them",
    )


def _some(inside: np.ndarray, name: str) -> np.ndarray:
    if not inside.any():
        raise PredictionError(
            "empty_mask", f"{name}: no voxel of it lies on the scan; draw it on this scan, or check its geometry"
        )
    return inside


def cells_of_mask(mask: np.ndarray, grid: ModelGrid, stride: int) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Evidence cells that a native mask selects: those it covers at least half.

    A mask too small or thin for that selects the cells it covers at least half as well as the best, with a notice.

    Raises:
        PredictionError: the mask lies outside what the model sees of the scan.
    """
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
