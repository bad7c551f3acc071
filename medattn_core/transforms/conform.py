"""conform: a scan to network input. The one definition of preprocessing: training, prediction, viewer, bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import ModelGrid, plan_grid
from medattn_core.transforms.intensity import apply_intensity
from medattn_core.volumes import Volume
from medattn_core.volumes.checks import check_values
from medattn_core.volumes.placement import misplaced, place_image


@dataclass(frozen=True, kw_only=True)
class Conformed:
    """Network input and how it lies on the scan.

    Attributes:
        image: ``(C, H, W, D)`` (slicewise, 2D) or ``(C, X, Y, Z)`` (3D), float32.
        grid: the way back.
        notices: what a reader should know of the further channels.
    """

    image: np.ndarray
    grid: ModelGrid
    notices: tuple[Notice, ...] = ()


def check_modality(volume: Volume, task: TaskSpec) -> None:
    """Refuse a scan that says it is of another modality than those of the task.

    Raises:
        VolumeError: ``wrong_modality``.
    """
    if task.modality and volume.modality and volume.modality not in task.modality:
        raise VolumeError(
            "wrong_modality",
            f"{volume.name}: modality {volume.modality}, but {task.name} takes {', '.join(task.modality)}; "
            "choose another bundle or series",
        )


def checked(volume: Volume) -> Volume:
    """A volume made in memory, held to what is asked of the voxels of files.

    Raises:
        VolumeError: as :func:`medattn_core.volumes.checks.check_values`.
    """
    data, notices = check_values(volume.data, volume.name)
    return replace(volume, data=data, warnings=(*volume.warnings, *notices)) if notices else volume


def check_finite(image: np.ndarray, volumes: Sequence[Volume]) -> None:
    """Refuse network input ``(C, *spatial)`` with NaN or infinite pixels, of which a model says NaN at best.

    Args:
        image: as of :func:`conform`.
        volumes: its channels, for the message.

    Raises:
        VolumeError: ``non_finite_voxels``.
    """
    for volume, channel in zip(volumes, image, strict=True):
        if not np.isfinite(channel).all():
            raise VolumeError(
                "non_finite_voxels",
                f"{volume.name}: NaN, infinite or enormous voxels; export the scan again",
            )


def conform(volume: Volume, task: TaskSpec, channels: Sequence[Volume] = ()) -> Conformed:
    """Resample a scan once to the grid of the task and apply its intensity rules.

    Args:
        volume: the first channel; it gives the grid.
        task: of the model.
        channels: the others, placed on the grid of the first by world coordinates. Each has its own intensity
            statistics, from where it lies; elsewhere it is zero.

    Raises:
        VolumeError: the scan does not fit the task (see :func:`medattn_core.transforms.grid.plan_grid`), there are
            fewer or more channels than it wants, or one does not lie where the first does.
    """
    if 1 + len(channels) != len(task.channels):
        raise VolumeError(
            "bad_argument",
            f"{volume.name}: {1 + len(channels)} image(s), but {task.name} takes {len(task.channels)} a case: "
            f"{', '.join(task.channels)}; give all of them, in this order: a list in Python, --channel FILE for each "
            "further one on the command line, joined by '|' in a data list",
        )
    grid = plan_grid(volume, task)
    inside = grid.inside()
    rules = task.intensities
    image = [apply_intensity(grid.conform(volume.data), inside, rules[0])]
    notices = []
    for name, rule, channel in zip(task.channels[1:], rules[1:], channels, strict=True):
        notice = misplaced(channel, volume, name)
        notices += [notice] if notice else []
        data, covered = place_image(channel, volume)
        if covered is None:
            image.append(apply_intensity(grid.conform(data), inside, rule))
            continue
        # At the border of the channel a pixel is the mean of what is known of it, not of that and zeros.
        share = grid.conform(covered.astype(np.float32))
        image.append(apply_intensity(grid.conform(data) / np.maximum(share, 0.5), inside & (share >= 0.5), rule))
    return Conformed(image=np.stack(image), grid=grid, notices=tuple(notices))


def network_input(volume: Volume, task: TaskSpec, channels: Sequence[Volume] = ()) -> Conformed:
    """:func:`conform`, held to what a network can take; arguments as there.

    Raises:
        VolumeError: as :func:`conform` and :func:`check_finite`.
    """
    conformed = conform(volume, task, channels)
    check_finite(conformed.image, (volume, *channels))
    return conformed
