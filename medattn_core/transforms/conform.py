"""conform: a scan to network input. The one definition of preprocessing: training, prediction, viewer, bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medattn_core.errors import VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import ModelGrid, plan_grid
from medattn_core.transforms.intensity import apply_intensity
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import place_image


@dataclass(frozen=True, kw_only=True)
class Conformed:
    """Network input and how it lies on the scan.

    Attributes:
        image: ``(C, H, W, D)`` (slicewise, 2D) or ``(C, X, Y, Z)`` (3D), float32.
        grid: the way back.
    """

    image: np.ndarray
    grid: ModelGrid


def conform(volume: Volume, task: TaskSpec, channels: Sequence[Volume] = ()) -> Conformed:
    """Resample a scan once to the grid of the task and apply its intensity rules.

    Args:
        volume: the first channel; it gives the grid.
        task: of the model.
        channels: the others, placed on the grid of the first by world coordinates. Each has its own intensity
            statistics.

    Raises:
        VolumeError: the scan does not fit the task (see :func:`medattn_core.transforms.grid.plan_grid`), or there are
            fewer or more channels than it wants.
    """
    if 1 + len(channels) != len(task.channels):
        raise VolumeError(
            "bad_argument",
            f"{volume.source}: {1 + len(channels)} image(s), but {task.name} takes {len(task.channels)} a case: "
            f"{', '.join(task.channels)}; give all of them, in this order (medattn predict: the first, and --channel "
            "for each further one, or a data list)",
        )
    grid = plan_grid(volume, task)
    data = [volume.data, *(place_image(channel, volume) for channel in channels)]
    image = [
        apply_intensity(grid.conform(one), grid.inside(), rule)
        for one, rule in zip(data, task.intensities, strict=True)
    ]
    return Conformed(image=np.stack(image), grid=grid)
