"""How a slice is shown: which voxel axes are its rows and columns, and where a picture without a place lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medattn_core.volumes import geometry
from medattn_core.volumes.volume import Volume

# In-plane axes as a reader sees them on the screen: (world axis, direction) of rows, columns and slices.
_PLANES = {
    2: ((1, -1), (0, -1), (2, 1)),  # axial: anterior up, patient's right on the left
    1: ((2, -1), (0, -1), (1, -1)),  # coronal: superior up, patient's right on the left
    0: ((2, -1), (1, -1), (0, -1)),  # sagittal: superior up, facing left
}

PICTURES = ("png", "jpeg", "dicom")
"""Formats whose flat images without a place are rows and columns as a screen shows them."""


def slice_axis(volume: Volume) -> int:
    """Native axis along which a volume was sliced: a single-slice axis, the thickest, else superior-inferior."""
    single = [a for a in range(3) if volume.shape[a] == 1]
    if single:
        return 2 if 2 in single else single[-1]
    spacing = volume.spacing
    thickest = int(np.argmax(spacing))
    others = [spacing[a] for a in range(3) if a != thickest]
    if spacing[thickest] > 1.2 * max(others):
        return thickest
    axes, _ = geometry.axis_order(volume.affine)
    return axes[2]


def is_picture(volume: Volume) -> bool:
    """Whether a flat image does not say how it lies in the body: of those formats NIfTI alone means it, if it states
    it."""
    return volume.spatial_dims == 2 and not (volume.format == "nifti" and volume.orientation_known)


def display_axes(volume: Volume) -> list[tuple[int, bool]]:
    """Voxel axis of the rows, columns and slices of a picture as it is looked at, and whether it runs backwards."""
    if is_picture(volume):  # rows and columns as stored
        return [(1, False), (0, False), (2, False)]
    return laid_out(volume, _PLANES[geometry.axis_order(volume.affine)[0].index(slice_axis(volume))])


def laid_out(volume: Volume, layout: Sequence[tuple[int, int]]) -> list[tuple[int, bool]]:
    """Voxel axis nearest to each world axis of a layout, and whether it runs against the direction asked for."""
    axes, signs = geometry.axis_order(volume.affine)
    return [(axes[world], signs[world] != direction) for world, direction in layout]


def lies_as_shown(picture: Volume, volume: Volume) -> bool:
    """Whether ``picture``, a mask, states no place and ``volume`` does: it then lies as that is shown."""
    placeless = picture.format in PICTURES and is_picture(picture) and not picture.orientation_known
    return placeless and volume.orientation_known and not is_picture(volume)


def size_as_shown(volume: Volume) -> tuple[int, int, int]:
    """Columns, rows and slices of a volume as it is shown."""
    rows, columns, through = (axis for axis, _ in display_axes(volume))
    return volume.shape[columns], volume.shape[rows], volume.shape[through]


def as_shown(picture: Volume, volume: Volume) -> Volume:
    """A picture of :func:`size_as_shown` on the voxels of ``volume``, as the slice is shown and put to the model."""
    axes = display_axes(volume)
    rows, columns, through = (axis for axis, _ in axes)
    backwards = tuple(at for at, (_, back) in zip((1, 0, 2), axes, strict=True) if back)
    return replace(picture, data=np.flip(picture.data, backwards).transpose(np.argsort([columns, rows, through])))
