"""MONAI dictionary transforms, thin over the functions that prediction uses: for MONAI's own engines and bundles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medattn_core.tasks import TaskSpec
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume, read


class ConformD(MapTransform):
    """Read (where the value is a path) and conform to the grid of a task: a tensor ``(C, *spatial)`` replaces it.

    A list of paths is the channels of one case.

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
            first, *others = value if isinstance(value, (list, tuple)) else [value]
            volume = first if isinstance(first, Volume) else read(Path(first), modality=self.task.modality)
            channels = [other if isinstance(other, Volume) else read(Path(other)) for other in others]
            image = torch.from_numpy(conform(volume, self.task, channels).image)
            flat = self.task.spatial_dims == 2 and not self.task.slicewise
            result[key] = image[..., 0] if flat else image
        return result
