"""A region of interest from a file, a volume or an array, on the native grid and on the evidence grid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, PredictionError
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume, geometry, read

MaskLike = str | os.PathLike[str] | Volume | np.ndarray


def native_mask(mask: MaskLike, volume: Volume) -> np.ndarray:
    """The mask on the grid of ``volume``, boolean ``(I, J, K)``; non-zero voxels are inside.

    Volumes and files on another grid are placed by their world coordinates (nearest voxel).

    Raises:
        PredictionError: an array of another shape, or a mask that touches nothing of the scan.
        VolumeError: the file cannot be read.
    """
    if isinstance(mask, (str, os.PathLike)):
        name = str(mask)
        mask = read(Path(mask), allow_constant=True)
    else:
        name = mask.source if isinstance(mask, Volume) and mask.source else "the mask"
    if isinstance(mask, np.ndarray):
        if mask.shape != volume.shape:
            raise PredictionError(
                "bad_mask",
                f"{name} has shape {mask.shape}, the scan {volume.shape}; give an array on the scan's grid, or a "
                "Volume or file, which is placed by its world coordinates",
            )
        inside = mask != 0
    elif mask.shape == volume.shape and (
        np.allclose(mask.affine, volume.affine, atol=1e-3) or not (mask.spacing_known and volume.spacing_known)
    ):
        inside = mask.data != 0
    else:
        inside = _place(mask, volume)
    if not inside.any():
        raise PredictionError(
            "empty_mask", f"{name}: no voxel of it lies on the scan; draw it on this scan, or check its geometry"
        )
    return inside


def _place(mask: Volume, volume: Volume) -> np.ndarray:
    """Nearest-voxel sampling of a mask at the world positions of another grid, slab by slab to bound memory."""
    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    inside = np.zeros(volume.shape, bool)
    i, j = np.meshgrid(np.arange(volume.shape[0]), np.arange(volume.shape[1]), indexing="ij")
    source = mask.data != 0
    for k in range(volume.shape[2]):
        index = np.rint(geometry.to_world(to_mask, np.stack([i, j, np.full_like(i, k)], axis=-1))).astype(np.int64)
        valid = ((index >= 0) & (index < np.array(mask.shape))).all(axis=-1)
        inside[:, :, k][valid] = source[tuple(index[valid].T)]
    return inside


def cells_of_mask(mask: np.ndarray, grid: ModelGrid, stride: int) -> tuple[np.ndarray, Notice | None]:
    """Evidence cells that a native mask selects: those it covers at least half.

    A mask smaller than that selects the cell it covers most, with a notice.
    """
    inside = grid.inside(stride)
    coverage = np.where(inside, grid.coverage(mask, stride), 0.0)
    cells = coverage >= 0.5 - 1e-6
    if cells.any():
        return cells, None
    cells = np.zeros_like(inside)
    cells[np.unravel_index(int(np.argmax(coverage)), coverage.shape)] = True
    side = grid.cell_volume_mm3(stride)
    return cells, Notice("small_mask", f"the mask is smaller than an evidence cell ({side:.0f} mm3); one cell is used")
