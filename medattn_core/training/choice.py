"""What a training runs with: the configuration, a bundle to start from, and the plan for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core import datalists
from medattn_core.bundles import Bundle
from medattn_core.errors import TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.from_bundle import bias_of, network_defaults, task_defaults
from medattn_core.training.plan import cells_of, describe, plan_growth, plan_network, plan_start_size, plan_task


def choose(
    data: Path,
    cases: Sequence[datalists.Case],
    name: str,
    parts: dict[str, Any],
    settings: TrainingConfig,
    *,
    start: Bundle | None,
    held_out: np.ndarray,
    say: Callable[[str], None],
) -> tuple[TaskSpec, tuple[int, ...], dict[str, Any], TrainingConfig]:
    """Choose task, size of the batches, network settings and training settings, and say them.

    Args:
        data: the data list.
        cases: of it.
        name: of the task where none is given.
        parts: the configuration; what it names wins.
        settings: of the training, so far.
        start: the bundle to start from.
        held_out: cases that do not train, ``(N,)`` booleans.
        say: called with lines for a person.

    Raises:
        MedAttnError: an image cannot be read, or a given value is invalid or does not fit the list.
    """
    given, network_given, training_given = (dict(parts.get(key, {})) for key in ("task", "network", "training"))
    if start is not None:
        given, network_given = task_defaults(start, cases, given), network_defaults(start, network_given)
    try:
        task, size = plan_task(
            cases, given, name, labels=datalists.listed_labels(data), multiple=cells_of(network_given), say=say
        )
    except (TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"task settings: {error}; see TaskSpec for what each key takes") from error
    settings = plan_growth(settings, task, training_given)
    settings = plan_start_size(settings, task, size, training_given)
    if start is not None:
        network_given = bias_of(start, task) | network_given
    network = plan_network(task, network_given, size=size, cases=int((~held_out).sum()))
    for line in describe(task, size, network, settings):
        say(line)
    if start is not None:
        say(
            f"start: the weights of bundle {start.name} {start.version}, with its grid, intensity rule and network "
            "where the settings name no other; held-out cases that it was trained on measure nothing"
        )
    return task, size, network, settings
