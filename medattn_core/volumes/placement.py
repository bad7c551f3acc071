"""A mask on one grid placed on another by world coordinates."""

from __future__ import annotations

import numpy as np

from medattn_core.volumes import geometry
from medattn_core.volumes.volume import Volume


def place_mask(mask: Volume, volume: Volume) -> np.ndarray:
    """Nearest-voxel sampling of a mask at the voxels of another grid, boolean ``volume.shape``.

    Slab by slab, so that memory stays small.
    """
    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    inside = np.zeros(volume.shape, bool)
    i, j = np.meshgrid(np.arange(volume.shape[0]), np.arange(volume.shape[1]), indexing="ij")
    source = mask.data != 0
    for k in range(volume.shape[2]):
        index = np.rint(geometry.to_world(to_mask, np.stack([i, j, np.full_like(i, k)], axis=-1))).astype(np.int64)
        valid = ((index >= 0) & (index < np.array(mask.shape))).all(axis=-1)
        inside[:, :, k][valid] = source[tuple(index[valid].T)]
    return inside
