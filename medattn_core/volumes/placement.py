"""A mask or an image on one grid placed on another by world coordinates."""

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


def place_image(image: Volume, volume: Volume) -> np.ndarray:
    """Linear interpolation of an image at the voxels of another grid, float32 ``volume.shape``; zero outside it.

    Slab by slab, so that memory stays small.
    """
    if image.shape == volume.shape and np.allclose(image.affine, volume.affine, atol=1e-4):
        return image.data.astype(np.float32)
    to_image = np.linalg.inv(image.affine) @ volume.affine
    placed = np.zeros(volume.shape, np.float32)
    limit = np.array(image.shape)
    i, j = np.meshgrid(np.arange(volume.shape[0]), np.arange(volume.shape[1]), indexing="ij")
    for k in range(volume.shape[2]):
        position = geometry.to_world(to_image, np.stack([i, j, np.full_like(i, k)], axis=-1))
        valid = ((position >= -0.5) & (position <= limit - 0.5)).all(axis=-1)
        position = np.clip(position[valid], 0, limit - 1)
        low = np.minimum(np.floor(position).astype(np.int64), np.maximum(limit - 2, 0))
        share = position - low
        total = np.zeros(len(position))
        for corner in np.ndindex(2, 2, 2):
            step = np.array(corner)
            weight = np.where(step, share, 1 - share).prod(axis=-1)
            total += weight * image.data[tuple(np.minimum(low + step, limit - 1).T)]
        placed[:, :, k][valid] = total
    return placed
