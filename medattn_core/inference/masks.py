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


def native_mask(mask: MaskLike, volume: Volume) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The mask on the grid of ``volume``, boolean ``(I, J, K)``, and what was odd; non-zero voxels are inside.

    Volumes and files on another grid are placed by their world coordinates (:func:`place_mask`). One that states no
    place, of the scan's own shape, is taken voxel by voxel.

    Raises:
        PredictionError: an array of another shape, or a mask that touches nothing of the scan.
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
        return _some(mask != 0, name), ()
    notices = tuple(Notice(notice.code, f"mask: {notice.message}") for notice in mask.warnings)
    placeless = not (mask.spacing_known and volume.spacing_known) or "no_geometry" in {n.code for n in mask.warnings}
    if mask.shape == volume.shape and (placeless or np.allclose(mask.affine, volume.affine, atol=1e-3)):
        inside = mask.data != 0
    else:
        inside = place_mask(mask.data != 0, mask.affine, volume)
    return _some(inside, name), notices


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
