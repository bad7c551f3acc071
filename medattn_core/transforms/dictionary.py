"""MONAI dictionary transforms, thin over the functions that prediction uses: for MONAI's own engines and bundles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medattn_core.errors import VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume, read


def as_volume(value: Any, modality: tuple[str, ...] = ()) -> Volume:
    """A scan from what MONAI's engines hold: a path, a Volume, or voxels that some reader has loaded already.

    Voxels come as ``(I, J, K)`` or ``(1, I, J, K)``, with the affine to RAS of a MetaTensor (MONAI Deploy gives that).

    Raises:
        MedAttnError: the file cannot be read, or the voxels have another shape.
    """
    if isinstance(value, Volume):
        return value
    if isinstance(value, (np.ndarray, torch.Tensor)):
        affine = getattr(value, "affine", None)
        known = affine is not None and np.asarray(affine).shape == (4, 4)
        data = np.asarray(torch.as_tensor(value).cpu())
        while data.ndim > 3 and data.shape[0] == 1:
            data = data[0]
        return Volume(
            data=data[..., None] if data.ndim == 2 else data,
            affine=np.asarray(affine, np.float64) if known else np.eye(4),
            spatial_dims=2 if data.ndim == 2 else 3,
            spacing_known=known,
        )
    return read(Path(value), modality=modality)


class ConformD(MapTransform):
    """Read (where the value is a path) and conform to the grid of a task: a tensor ``(C, *spatial)`` replaces it.

    A list is the channels of one case. See :func:`as_volume` for what each may be.

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
            first, *others = images
            volume = as_volume(first, self.task.modality)
            image = torch.from_numpy(conform(volume, self.task, [as_volume(other) for other in others]).image)
            flat = self.task.spatial_dims == 2 and not self.task.slicewise
            result[key] = image[..., 0] if flat else image
        return result
