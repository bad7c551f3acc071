"""MONAI dictionary transforms, thin over the functions that prediction uses: for MONAI's own engines and bundles."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medattn_core.errors import VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.conform import checked, network_input
from medattn_core.transforms.loaded import loaded_volume
from medattn_core.volumes import Volume, read


def as_volume(value: Any, modality: tuple[str, ...] = (), *, spatial_dims: int = 3) -> Volume:
    """A scan from what MONAI's engines hold: a path, a Volume, or voxels that some reader has loaded already.

    Voxels come as ``(I, J, K)`` or ``(1, I, J, K)``, with the affine to RAS of a MetaTensor (MONAI Deploy gives that);
    for a 2D task pictures as ``(W, H)`` or ``(1, W, H)`` too, see :func:`medattn_core.transforms.loaded.loaded_volume`.
    Only a picture that is given by its path is turned as its EXIF orientation says: MONAI's reader keeps none.

    Args:
        value: the scan.
        modality: what a DICOM folder is searched for.
        spatial_dims: 2 or 3, of the task.

    Raises:
        MedAttnError: ``bad_argument``: it is none of these; the file cannot be read, or the voxels have another shape.
    """
    if isinstance(value, Volume):
        return value
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return loaded_volume(value, spatial_dims=spatial_dims)
    if not isinstance(value, (str, os.PathLike)):
        raise VolumeError(
            "bad_argument",
            f"the image is a {type(value).__name__}; accepted: a path, a Volume, or voxels as a NumPy array or tensor",
        )
    return read(value, modality=modality)


class ConformD(MapTransform):
    """Read (where the value is a path) and conform to the grid of a task: a tensor ``(C, *spatial)`` replaces it.

    A list is the channels of one case. See :func:`as_volume` for what each may be. Voxels that are loaded already are
    held to what is asked of those of files, as by Predictor.

    Args:
        keys: keys of the images.
        task: a TaskSpec, or its ``to_dict`` data as a bundle's configuration holds it.
        allow_missing_keys: as in MONAI.

    Raises:
        MedAttnError: the scan cannot be read or does not fit the task.
    """

    def __init__(
        self, keys: KeysCollection, task: TaskSpec | Mapping[str, Any], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Conform every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            value = result[key]
            images = list(value) if isinstance(value, (list, tuple)) else [value]
            if not images:
                raise VolumeError(
                    "bad_argument",
                    f"{key}: no image, but {self.task.name} takes {len(self.task.channels)} a case: "
                    f"{', '.join(self.task.channels)}; a case of several channels is a folder with its files",
                )
            dims = self.task.spatial_dims
            first, *others = (
                checked(as_volume(one, () if index else self.task.modality, spatial_dims=dims))
                for index, one in enumerate(images)
            )
            image = torch.from_numpy(network_input(first, self.task, others).image)
            flat = self.task.spatial_dims == 2 and not self.task.slicewise
            result[key] = image[..., 0] if flat else image
        return result
