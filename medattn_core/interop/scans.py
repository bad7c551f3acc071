"""The data set of an exported ``inference.json``: a scan that cannot be used is an item that says why, not the end.

What is refused, and what a result carries as a warning, is what ``Predictor`` refuses and warns of. The transforms
themselves still raise: MONAI Label shows a person who sent one scan what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import Dataset

from medattn_core.errors import MedAttnError, Notice, known_error
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.conform import check_finite, check_modality, checked
from medattn_core.transforms.dictionary import as_volume
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import misplaced


class Scans(Dataset):
    """Scans of a list, each prepared when its turn comes.

    An item has, besides its own keys and the prepared ``image``, three texts: ``warnings`` (codes, ``;`` between them),
    ``error_code`` and ``error_message`` (empty where all is well). An input that cannot be used has an image of NaN,
    from which no network can make a number that passes for a result.

    Args:
        data: dictionaries with ``image`` (a path, or a list of them, one a channel) and ``source``.
        transform: prepares ``image``, which it gets as Volumes.
        task: of the model, or its ``to_dict`` data.
    """

    def __init__(
        self, data: Sequence[Any], transform: Callable[..., Any] | None = None, *, task: TaskSpec | Mapping[str, Any]
    ) -> None:
        super().__init__(data, transform)
        self.task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))

    def _transform(self, index: int) -> dict[str, Any]:
        item = dict(self.data[index])
        try:
            return self._prepared(item)
        except Exception as error:  # whatever is wrong with one scan, the next one is not to pay for it
            found = cause(error, str(item.get("source", item["image"])))
            said = {"error_code": found.code, "error_message": " ".join(found.message.split())}
            return {**item, "image": self._nothing(), "warnings": "", **said}

    def _prepared(self, item: dict[str, Any]) -> dict[str, Any]:
        given = item["image"]
        images = list(given) if isinstance(given, (list, tuple)) else [given]
        dims = self.task.spatial_dims
        volumes = [
            checked(as_volume(one, () if index else self.task.modality, spatial_dims=dims))
            for index, one in enumerate(images)
        ]
        if volumes:  # without any, the transform says what is missing
            check_modality(volumes[0], self.task)
        prepared = self.transform({**item, "image": volumes if isinstance(given, (list, tuple)) else volumes[0]})
        check_finite(torch.as_tensor(prepared["image"]).numpy(), volumes)
        codes = dict.fromkeys(notice.code for notice in self._notices(volumes))
        return {**prepared, "warnings": ";".join(codes), "error_code": "", "error_message": ""}

    def _notices(self, volumes: Sequence[Volume]) -> list[Notice]:
        """What a reader of the result should know of the scan, in Predictor's order."""
        first, *others = volumes
        notices = [*first.warnings, *plan_grid(first, self.task).notices]
        placed = (misplaced(one, first, name) for name, one in zip(self.task.channels[1:], others, strict=True))
        notices += [notice for notice in placed if notice is not None]
        return [*notices, *(notice for one in others for notice in one.warnings)]

    def _nothing(self) -> torch.Tensor:
        """An image of NaN of a size that the network takes, the smallest where it takes several."""
        spatial = self.task.size or (32,) * self.task.spatial_dims
        slices = (1,) if self.task.slicewise else ()
        return torch.full((len(self.task.channels), *spatial, *slices), float("nan"))


def cause(error: BaseException, source: str) -> MedAttnError:
    """What lies behind MONAI's "applying transform ...", as an error with a code."""
    while not isinstance(error, MedAttnError) and error.__cause__ is not None:
        error = error.__cause__
    return known_error(error, source, trace="`medattn predict --verbose` on it shows the trace")
