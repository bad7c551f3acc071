"""Where the finding of a case lies on its scan: from the mask file or the box."""

from __future__ import annotations

import numpy as np

from medattn_core.datalists.case import Case
from medattn_core.errors import DataListError, VolumeError
from medattn_core.volumes import Volume
from medattn_core.volumes.masks import marked, read_mask
from medattn_core.volumes.placement import place_mask
from medattn_core.volumes.shown import as_shown, lies_as_shown, size_as_shown


def is_flat(volume: Volume) -> bool:
    """Whether an image is a single slice, a picture or a volume that is one voxel thick, along whichever axis."""
    return volume.spatial_dims == 2 or min(volume.shape) == 1


def location_of(case: Case, volume: Volume, mask: Volume | None = None) -> np.ndarray | None:
    """Native mask of the finding, from the mask file or the box, float32; None where the case has neither.

    Which voxels of a mask are the finding says :func:`medattn_core.volumes.masks.marked`; one on another
    grid is placed by its world coordinates. A picture states none: on a slice that does it lies as that is shown.

    Args:
        case: entry of a data list.
        volume: its image, the first channel.
        mask: its mask, where it has been read already.

    Raises:
        DataListError: a box for a volume of several slices, or for a slice that is not stored as columns x rows x 1.
        VolumeError: the mask cannot be read, or ``bad_mask``: voxels that are no numbers, or a picture of another size.
    """
    if case.mask is not None:
        mask = read_mask(case.mask) if mask is None else mask
        if lies_as_shown(mask, volume):
            if mask.shape != size_as_shown(volume):
                raise VolumeError(
                    "bad_mask",
                    f"{case.mask}: a picture of shape {mask.shape} states no place, and {case.image} is shown with "
                    f"{size_as_shown(volume)}; give a mask of that shape, or one with a place (NIfTI)",
                )
            mask = as_shown(mask, volume)
            return marked(mask.data, mask.format).astype(np.float32)
        same = mask.shape == volume.shape and np.allclose(mask.affine, volume.affine, atol=1e-2)
        drawn = marked(mask.data, mask.format)
        return (drawn if same else place_mask(drawn, mask.affine, volume)).astype(np.float32)
    if case.box is not None:
        if volume.shape[2] != 1 and is_flat(volume):
            stored = " x ".join(map(str, volume.shape))
            raise DataListError(
                "bad_datalist",
                f"{case.image}: a box counts columns and rows of a 2D image, and which these are of a slice stored as "
                f"{stored} is not known; store it as columns x rows x 1, or give a mask",
            )
        if volume.shape[2] != 1:
            raise DataListError(
                "bad_datalist",
                f"{case.image}: a box belongs to a single 2D image, this has {volume.shape[2]} slices; give a mask",
            )
        x, y, width, height = case.box
        columns, rows = np.arange(volume.shape[0]), np.arange(volume.shape[1])
        # Pixel c covers [c, c + 1) in the box's coordinates, whose origin is the upper left corner of the image.
        along_x = np.clip(np.minimum(columns + 1, x + width) - np.maximum(columns, x), 0, 1)
        along_y = np.clip(np.minimum(rows + 1, y + height) - np.maximum(rows, y), 0, 1)
        return (along_x[:, None, None] * along_y[None, :, None]).astype(np.float32)
    return None
