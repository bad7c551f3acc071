"""Which network fits the images and their number, and at what size its training starts, when the user does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.plan import plan_zoom_power

PRIOR = 0.1
"""Probability that a one-against-the-rest model starts from before it has seen anything."""

LITTLE = 300
"""Training cases below which a narrower network is chosen: a wide one knows them by heart."""

NULL_SCORE = 9.0
"""The least ``null_score`` at which regions hardly compete, so that a sum can grow with the extent of what is found."""

START_SIZE = 0.6
"""Share of the size at which training on large pictures starts: a fifth of the time less, no worse on T1CE."""

MANY_PIXELS = 128
"""Shortest side, in pixels of the model, from which pictures are worth starting small."""

FEW_PIXELS = 48
"""Shortest side, in pixels of the model, up to which the network strides more gently."""

FEW_VOXELS = 320_000
"""Voxels of the model grid up to which the stem of a network on volumes halves once: it costs several times the work of
one that halves twice, with which fine shapes are found late or never (docs/benchmarks.md, "Aneurysms")."""

VOLUME_START_SIZE = 0.5
"""Share of the size at which training on such volumes starts. The planned network needs 48 voxels a side, so that 64
start at 48, and have their size from half of the epochs on."""


def plan_network(
    task: TaskSpec, given: dict[str, Any], *, size: Sequence[int] = (), cases: int | None = None
) -> dict[str, Any]:
    """Keyword arguments of AttentionCNN; ``given`` wins.

    Args:
        task: what the network takes and gives.
        given: the ``network`` part of the configuration.
        size: of the training batches: images of a few dozen pixels get a network that strides more gently.
        cases: number of cases: few of them, or volumes, get a narrower one.
    """
    settings: dict[str, Any] = {
        "spatial_dims": task.spatial_dims,
        "in_channels": len(task.channels),
        "out_channels": len(task.labels),
        "encoder": "compact",
        "evidence_stride": 8,
        "width": 128,
        "pooling": "evidence",
        # The evidence for a value far from the bias is a large sum: a share of it left out is an error in every step.
        "dropout": 0.0 if task.kind == "regression" else 0.1,
        "slicewise": task.slicewise,
    }
    if given.get("encoder", "compact") == "compact" and "encoder_options" not in given:
        options: dict[str, Any] = {}
        if cases is not None and (cases < LITTLE or task.spatial_dims == 3):
            options["widths"] = [16, 32, 64, 128]
            settings["width"] = 64
        if size and min(size) <= FEW_PIXELS:
            # Three stages: a fourth would halve what is left to a cell or two, on which a kernel sees its padding.
            options |= {"stem_stride": 2, "widths": options.get("widths", [32, 64, 128, 256])[:3], "blocks": [2, 2, 2]}
            settings["evidence_stride"] = 4
        elif size and fine_volume(task, size):
            options["stem_stride"] = 2
        if options:
            settings["encoder_options"] = options
    if plan_zoom_power(task) > 1 and given.get("pooling") != "average" and given.get("null_token", True):
        # An area or a volume is a sum over all that there is.
        stride = given.get("evidence_stride", settings["evidence_stride"])
        cells = math.prod(max(1, n // stride) for n in size)
        settings["null_score"] = max(NULL_SCORE, round(math.log(max(1, cells)) + 2, 1))
    if task.activation == "sigmoid":
        settings["bias"] = [math.log(PRIOR / (1 - PRIOR))] * len(task.labels)
    return settings | given


def plan_start_size(
    settings: TrainingConfig, task: TaskSpec, size: Sequence[int], network: dict[str, Any], given: dict[str, Any]
) -> TrainingConfig:
    """Large pictures, and fine volumes, start small, unless that is settled, a value grows with what is seen of it, or
    every epoch counts: with early stopping, or few of them.

    Args:
        settings: of the training.
        task: what is asked for.
        size: of the training batches.
        network: its settings, of :func:`plan_network`.
        given: the ``training`` part of the configuration; its keys win.
    """
    if "start_size" in given or settings.patience > 0 or settings.zoom_power:
        return settings
    # With another stem most sizes in between would have too few cells at the coarsest stride.
    fine = fine_volume(task, size) and dict(network.get("encoder_options") or {}).get("stem_stride") == 2
    large = task.spatial_dims == 2 and min(size) >= MANY_PIXELS
    growing = math.ceil(0.7 * settings.epochs) < settings.epochs  # the last epochs have the whole size
    if not growing or not (fine or large):
        return settings
    return replace(settings, start_size=VOLUME_START_SIZE if fine else START_SIZE)


def fine_volume(task: TaskSpec, size: Sequence[int]) -> bool:
    """Whether batches are volumes of many voxels a side, and of not too many for a stem that halves once."""
    return task.spatial_dims == 3 and min(size) > FEW_PIXELS and math.prod(size) <= FEW_VOXELS
