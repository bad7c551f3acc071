"""What to train when the user does not say: task and network from the data list and the first images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medattn_core.datalists import Case
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.volumes import Volume, geometry, read

PRIOR = 0.1
"""Probability that a one-against-the-rest model starts from before it has seen anything."""

LOOK_AT = 20
"""Images that are opened to choose spacing and size."""


def plan_task(cases: Sequence[Case], given: dict[str, Any], name: str) -> tuple[TaskSpec, tuple[int, ...]]:
    """Task and training size.

    Args:
        cases: the data list.
        given: the ``task`` part of the configuration; its keys win. ``size`` there is the training size.
        name: name of the task where none is given.

    Returns:
        The task, and the model grid of the training batches.

    Raises:
        MedAttnError: an image cannot be read, or a given value is invalid.
    """
    step = max(1, len(cases) // LOOK_AT)
    volumes = [read(case.image) for case in cases[::step][:LOOK_AT]]
    flat = all(v.spatial_dims == 2 or v.shape[2] == 1 for v in volumes)
    regression = all(case.value is not None for case in cases)
    settings: dict[str, Any] = {"name": name, "spatial_dims": 2 if flat else 3}
    if cases[0].channels:
        settings["channels"] = [f"channel {i + 1}" for i in range(len(cases[0].images))]
    if regression:
        settings |= {"kind": "regression", "activation": "identity", "labels": ["value"]}
    else:
        labels = sorted({label for case in cases for label in (case.labels or ((case.label,) if case.label else ()))})
        several = any(len(case.labels or ()) > 1 for case in cases)
        settings |= {
            "kind": "multilabel" if several else "multiclass",
            "activation": "softmax" if len(labels) > 1 and not several else "sigmoid",
            "labels": labels,
        }
    settings |= given
    dims = int(settings["spatial_dims"])
    extent = np.median([_extent(v, dims) for v in volumes], axis=0)
    known = all(v.spacing_known for v in volumes)
    limit = 224 if dims == 2 else 96
    if "spacing" not in given:
        native = np.median([v.spacing[_model_axes(v, dims)] for v in volumes], axis=0)
        settings["spacing"] = [round(float(max(n, e / limit)), 4) for n, e in zip(native, extent, strict=True)]
    if dims == 2 and not known and "field_of_view" not in given:
        settings["field_of_view"] = float(max(extent))
    size = settings.get("size") or [
        max(1, math.ceil(e / s / 32 - 1e-3)) * 32 for e, s in zip(extent, settings["spacing"], strict=True)
    ]
    if settings.get("slicewise"):
        settings["size"] = None  # the trained model takes slices and volumes of any size
    else:
        settings["size"] = list(size)
    return TaskSpec.from_dict(settings), tuple(int(n) for n in size)


def _extent(volume: Volume, dims: int) -> np.ndarray:
    """Millimetres (or pixels) along the model axes."""
    return (np.array(volume.shape) * volume.spacing)[_model_axes(volume, dims)]


def _model_axes(volume: Volume, dims: int) -> list[int]:
    """Voxel axes that run along the axes of the model: rows and columns of a picture, or R, A, S."""
    return [1, 0] if dims == 2 else geometry.axis_order(volume.affine)[0]


def plan_network(task: TaskSpec, given: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of AttentionCNN; ``given`` wins."""
    settings: dict[str, Any] = {
        "spatial_dims": task.spatial_dims,
        "in_channels": len(task.channels),
        "out_channels": len(task.labels),
        "encoder": "compact",
        "evidence_stride": 8,
        "width": 128,
        "pooling": "evidence",
        "dropout": 0.1,
        "slicewise": task.slicewise,
    }
    if task.activation == "sigmoid":
        settings["bias"] = [math.log(PRIOR / (1 - PRIOR))] * len(task.labels)
    return settings | given


def describe(task: TaskSpec, size: tuple[int, ...], network: dict[str, Any], settings: TrainingConfig) -> list[str]:
    """What will be trained, in lines for a person; each can be overruled in the configuration."""
    spacing, grid = (" x ".join(f"{n:g}" for n in numbers) for numbers in (task.spacing, size))
    what = f"{task.labels[0]} in {task.unit or 'its unit'}" if task.kind == "regression" else ", ".join(task.labels)
    rule = task.intensity
    options = "".join(f", {name} {value}" for name, value in dict(network.get("encoder_options") or {}).items())
    return [
        f"task: {task.kind} ({task.activation}) of {what}",
        f"grid: {grid} at {spacing} mm{', slice by slice' if task.slicewise else ''}; intensity {rule.rule} "
        f"{rule.lower:g} to {rule.upper:g}",
        f"network: {network['encoder']}{options}, {network['pooling']} pooling, "
        f"an evidence cell is {network['evidence_stride']} pixels wide",
        f"training: {settings.epochs} epochs, batches of {settings.batch_size}, learning rate "
        f"{settings.learning_rate:g}, {settings.precision}, seed {settings.seed}",
    ]
