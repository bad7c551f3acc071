"""A mask or an image on one grid placed on another by world coordinates."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import geometry
from medattn_core.volumes.volume import Volume

LITTLE = 0.5
"""Share of the first channel that a further one should cover: below it the result carries a warning."""


def place_mask(marked: np.ndarray, affine: np.ndarray, volume: Volume) -> np.ndarray:
    """A mask at the voxels of another grid, boolean ``volume.shape``.

    Each voxel is what the mask is at its centre, slab by slab. A part of the mask that lies between all centres, such
    as a small lesion between thick slices, is marked in the voxels that hold it: nothing that was drawn on the scan is
    lost. The parts take 4 bytes a voxel of the mask's bounding box, where there can be such ones at all.

    Args:
        marked: boolean ``(I, J, K)``, the mask on its own grid.
        affine: ``(4, 4)`` of that grid, voxel index to RAS millimetres.
        volume: has the other grid.
    """
    import SimpleITK as sitk

    to_mask = np.linalg.inv(affine) @ volume.affine
    placed = np.zeros(volume.shape, bool)
    if not marked.any():
        return placed
    box = [np.flatnonzero(marked.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    first = np.array([low for low, _ in box])
    parts = marked[tuple(slice(low, high + 1) for low, high in box)].astype(np.uint8)
    # A voxel of the mask that is as wide as the box of a voxel of the scan, along each axis, holds a centre.
    if np.abs(to_mask[:3, :3]).sum(axis=1).max() > 1 + 1e-6:
        parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(parts), True))
    lost = np.ones(int(parts.max()) + 1, bool)
    i, j = np.meshgrid(np.arange(volume.shape[0]), np.arange(volume.shape[1]), indexing="ij")
    for k in range(volume.shape[2]):
        index = np.rint(geometry.to_world(to_mask, np.stack([i, j, np.full_like(i, k)], axis=-1))).astype(np.int64)
        index -= first
        valid = ((index >= 0) & (index < np.array(parts.shape))).all(axis=-1)
        part = parts[tuple(index[valid].T)]
        placed[:, :, k][valid] = part > 0
        lost[part] = False
    lost[0] = False
    if lost.any():
        index = np.rint(geometry.to_world(np.linalg.inv(to_mask), np.argwhere(lost[parts]) + first)).astype(np.int64)
        index = index[((index >= 0) & (index < np.array(volume.shape))).all(axis=-1)]
        placed[tuple(index.T)] = True
    return placed


class Grid(Protocol):
    """Where voxels lie: a :class:`Volume`, or what is left of one."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def affine(self) -> np.ndarray: ...
    @property
    def spacing_known(self) -> bool: ...


def same_grid(image: Grid, volume: Grid) -> bool:
    """Whether the voxels of two images are the same places; pictures of one size that state none are."""
    known = image.spacing_known and volume.spacing_known
    return image.shape == volume.shape and (not known or np.allclose(image.affine, volume.affine, atol=1e-4))


def covered_share(image: Volume, volume: Volume, points: int = 32) -> float:
    """Share of the voxels of another grid that lie in an image, from ``points`` of them along each axis."""
    if same_grid(image, volume):
        return 1.0
    to_image = np.linalg.inv(image.affine) @ volume.affine
    along = [np.unique(np.linspace(0, n - 1, points).round()) for n in volume.shape]
    position = geometry.to_world(to_image, np.stack(np.meshgrid(*along, indexing="ij"), axis=-1))
    return float(((position >= -0.5) & (position <= np.array(image.shape) - 0.5)).all(axis=-1).mean())


def place_image(image: Volume, volume: Volume) -> tuple[np.ndarray, np.ndarray | None]:
    """Linear interpolation of an image at the voxels of another grid.

    Slab by slab, so that memory stays small.

    Returns:
        float32 ``volume.shape``, zero outside the image, and boolean which voxels lie in it; None for all of them.
    """
    if same_grid(image, volume):
        return image.data.astype(np.float32), None
    to_image = np.linalg.inv(image.affine) @ volume.affine
    placed, covered = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, bool)
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
        covered[:, :, k] = valid
    return placed, None if covered.all() else covered


def misplaced(channel: Volume, volume: Volume, name: str) -> Notice | None:
    """A warning where a further channel covers less than :data:`LITTLE` of the first; None where it lies well.

    ``name`` is that of the channel in the task.

    Raises:
        VolumeError: ``channel_elsewhere``: it covers nothing, or neither says where it lies and the sizes differ.
    """
    known = channel.spacing_known and volume.spacing_known
    if not known and channel.shape != volume.shape:
        sizes = [" x ".join(map(str, one.shape[: one.spatial_dims])) for one in (channel, volume)]
        raise VolumeError(
            "channel_elsewhere",
            f"{channel.source or name}: {sizes[0]} pixels, but the first image of the case has {sizes[1]}, and no "
            "pixel size says how they lie on each other; give channels of one size",
        )
    share = covered_share(channel, volume)
    # A thin channel can lie between the points of the first that were asked; then its own points lie in the first.
    if share == 0 and covered_share(volume, channel) == 0:
        raise VolumeError(
            "channel_elsewhere",
            f"{channel.source or name}: lies nowhere on the first image of the case ({volume.name}); are they of one "
            "patient and examination? register them, or correct the geometry",
        )
    if share >= LITTLE:
        return None
    return Notice(
        "channel_elsewhere", f"{name} covers {share:.0%} of the first image; it is empty elsewhere: compare the two"
    )
