"""conform: a scan to network input. The one definition of preprocessing: training, prediction, viewer, bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import ModelGrid, plan_grid
from medattn_core.transforms.intensity import apply_intensity
from medattn_core.volumes import Volume


@dataclass(frozen=True, kw_only=True)
class Conformed:
    """Network input and how it lies on the scan.

    Attributes:
        image: ``(1, H, W, D)`` (slicewise, 2D) or ``(1, X, Y, Z)`` (3D), float32.
        grid: the way back.
    """

    image: np.ndarray
    grid: ModelGrid


def conform(volume: Volume, task: TaskSpec) -> Conformed:
    """Resample a scan once to the grid of the task and apply its intensity rule.

    Raises:
        VolumeError: the scan does not fit the task (see :func:`medattn_core.transforms.grid.plan_grid`).
    """
    grid = plan_grid(volume, task)
    image = apply_intensity(grid.conform(volume.data), grid.inside(), task.intensity)
    return Conformed(image=image[None], grid=grid)
