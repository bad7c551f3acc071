"""What a training runs with: the configuration, a bundle to start from, and the plan for the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core import datalists
from medattn_core.bundles import Bundle, load_network
from medattn_core.bundles.bundle import NETWORK_SETTINGS
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.from_bundle import known_labels, other_network
from medattn_core.training.plan import cells_of, describe, kind_of, plan_growth, plan_task
from medattn_core.training.plan_network import plan_network, plan_start_size
from medattn_core.training.preflight import network_settings_of

GRID = ("spatial_dims", "slicewise", "spacing", "slice_spacing", "field_of_view", "intensity")
"""What an image must look like for the weights to know it."""

OF_THE_TASK = ("spatial_dims", "slicewise", "in_channels", "out_channels", "bias", "null_score")
"""Network settings that follow the new task."""


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
        start: the bundle to start from; what it knows comes next.
        held_out: cases that do not train, ``(N,)`` booleans.
        say: called with lines for a person.

    Raises:
        MedAttnError: an image cannot be read, or a given value is invalid or does not fit the list or the bundle.
    """
    given, network_given, training_given = (dict(parts.get(key, {})) for key in ("task", "network", "training"))
    network_given = network_settings_of(network_given)
    named = set(given)
    if start is not None:
        given, network_given = _task_of(start, cases, given), _network_of(start, network_given)
    try:
        task, size = plan_task(
            cases, given, name, labels=datalists.listed_labels(data), multiple=cells_of(network_given), say=say
        )
    except (TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"task settings: {error}; see TaskSpec for what each key takes") from error
    except TrainingError as error:
        of_the_bundle = [key for key in ("spatial_dims", "spacing") if key not in named and key in error.message]
        if start is None or not of_the_bundle:
            raise
        what = f"of bundle {start.name}, which it is to start from"
        raise TrainingError(error.code, f"{error.message} ({what})") from error
    settings = plan_growth(settings, task, training_given)
    known = known_labels(task, start) if start is not None else []
    if start is not None and known and "null_score" in start.network:
        network_given = {"null_score": start.network["null_score"]} | network_given
    network = plan_network(task, network_given, size=size, cases=int((~held_out).sum()))
    settings = plan_start_size(settings, task, size, network, training_given)
    if start is not None and known and "bias" not in network_given:
        network["bias"] = _biases(start, task, known, network.get("bias"))
    for line in describe(task, size, network, settings):
        say(line)
    if start is not None:
        for line in _described(start, task, network, known):
            say(line)
    return task, size, network, settings


def _task_of(bundle: Bundle, cases: Sequence[datalists.Case], given: dict[str, Any]) -> dict[str, Any]:
    """The ``task`` part of a configuration with the bundle's grid and intensity rule where it names none.

    The activation is the bundle's, too, where the kind of task can have it; so is the name of a value of the same unit.
    """
    channels, there = len(cases[0].images), len(bundle.task.channels)
    if channels != there:
        raise TrainingError(
            "bad_config",
            f"initial_weights: bundle {bundle.name} takes {there} channel(s) ({', '.join(bundle.task.channels)}), a "
            f"case of the list has {channels}; start from chance, or from a bundle with {channels}",
        )
    dims = bundle.task.spatial_dims
    if given.get("spatial_dims", dims) != dims:
        raise TrainingError(
            "bad_config",
            f"task settings: spatial_dims is {given['spatial_dims']!r}, but bundle {bundle.name}, which it is to start "
            f"from, has {dims}; leave it out",
        )
    stated = bundle.task.to_dict()
    found = {name: stated[name] for name in GRID if stated[name] is not None} | {"channels": stated["channels"]}
    kind = given.get("kind", kind_of(cases))
    regression = bundle.task.kind == "regression"
    if kind == "multiclass" and not regression:
        found["activation"] = bundle.task.activation
    if kind == "regression" and regression and bundle.task.unit and given.get("unit") == bundle.task.unit:
        found["labels"] = list(bundle.task.labels)
    return found | given


def _network_of(bundle: Bundle, given: dict[str, Any]) -> dict[str, Any]:
    """The ``network`` part of a configuration with the bundle's settings where it names none.

    What the bundle leaves out is what a network has by default, and not what would be planned for these cases.
    """
    defaults = {name: p.default for name, p in inspect.signature(AttentionCNN).parameters.items()}
    found = {name: bundle.network.get(name, defaults[name]) for name in NETWORK_SETTINGS if name not in OF_THE_TASK}
    if given.get("encoder", found["encoder"]) != found["encoder"]:
        raise other_network(bundle, f"encoder {given['encoder']!r}")
    return found | given


def _biases(bundle: Bundle, task: TaskSpec, known: Sequence[str], planned: Sequence[float] | None) -> list[float]:
    """Frozen biases: of labels that the bundle knows its own, in which its calibration lies; else what was planned."""
    there = load_network(bundle).bias
    return [
        float(there[bundle.task.labels.index(label)]) if label in known else planned[row] if planned else 0.0
        for row, label in enumerate(task.labels)
    ]


def _described(bundle: Bundle, task: TaskSpec, network: dict[str, Any], known: Sequence[str]) -> list[str]:
    """What is taken over, in lines for a person."""
    lines = [
        f"start: the weights of bundle {bundle.name} {bundle.version}, with its grid, intensity rule and network where "
        "the settings name no other; held-out cases that it was trained on are measured too well"
    ]
    same = all(network.get(name) == bundle.network.get(name, network.get(name)) for name in ("pooling", "null_token"))
    new = [label for label in task.labels if not same or label not in known]
    if new:
        numbers = [f"{spec.activation}{f' in {spec.unit}' if spec.unit else ''}" for spec in (bundle.task, task)]
        why = (
            "it pools otherwise" if not same
            else f"its numbers are others: {numbers[0]}, here {numbers[1]}" if numbers[0] != numbers[1]
            else "values without a `unit` may be other numbers" if task.kind == "regression" and not task.unit
            else f"it knows {', '.join(bundle.task.labels)}"
        )  # fmt: skip
        lines.append(f"start: from chance, with its encoder: {', '.join(new)} ({why})")
    return lines
