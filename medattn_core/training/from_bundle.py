"""Starting from a bundle: its grid and network are the defaults, its weights the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

# From the modules themselves: they are copied into exported bundles, where the package's doors do not lead.
from medattn_core.bundles.bundle import Bundle
from medattn_core.bundles.load import load
from medattn_core.bundles.weights import load_network
from medattn_core.datalists import Case, one_of_several
from medattn_core.errors import BundleError, TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec

GRID = ("spatial_dims", "slicewise", "spacing", "slice_spacing", "field_of_view", "intensity")
"""What an image must look like for the weights to know it."""

OF_THE_TASK = ("spatial_dims", "slicewise", "in_channels", "out_channels", "bias")
"""Network settings that follow the new task."""

HEAD = "pooling."
"""Prefix of the weights that belong to labels."""

BY_LABEL = ("query", "value.weight")
"""Weights of the head with a row for each label."""


def bundle_named(name: str) -> Bundle:
    """The bundle that a training is to start from.

    Args:
        name: of a shipped bundle, or folder of any.

    Raises:
        TrainingError: ``bad_config``: there is none; or :class:`BundleError`: it is damaged.
    """
    try:
        return load(name)
    except BundleError as error:
        if error.code != "unknown_bundle":
            raise
        raise TrainingError(
            "bad_config",
            f"initial_weights={name!r}; accepted: imagenet, a bundle ({error.message}), or empty for chance",
        ) from error


def task_defaults(bundle: Bundle, cases: Sequence[Case], given: dict[str, Any]) -> dict[str, Any]:
    """The ``task`` part of a configuration with the bundle's grid and intensity rule where it names none.

    The activation is the bundle's, too, where the kind of task is.

    Raises:
        TrainingError: ``bad_config``: the cases have another number of channels than the bundle takes.
    """
    channels, there = len(cases[0].images), len(bundle.task.channels)
    if channels != there:
        raise TrainingError(
            "bad_config",
            f"initial_weights: bundle {bundle.name} takes {there} channel(s) ({', '.join(bundle.task.channels)}), a "
            f"case of the list has {channels}; start from chance, or from a bundle with {channels}",
        )
    stated = bundle.task.to_dict()
    found = {name: stated[name] for name in GRID if stated[name] is not None} | {"channels": stated["channels"]}
    if all(case.value is not None for case in cases):
        kind = "regression"
    else:
        kind = given.get("kind", "multiclass" if one_of_several(cases) else "multilabel")
    if kind == bundle.task.kind:
        found["activation"] = bundle.task.activation
    if kind == "regression" and given.get("unit", "") == bundle.task.unit:
        found["labels"] = list(bundle.task.labels)
    return found | given


def network_defaults(bundle: Bundle, given: dict[str, Any]) -> dict[str, Any]:
    """The ``network`` part of a configuration with the bundle's settings where it names none.

    Raises:
        TrainingError: ``bad_config``: another encoder, whose options would not be the bundle's either.
    """
    there = bundle.network.get("encoder", "compact")
    if given.get("encoder", there) != there:
        raise _other_network(bundle, f"encoder {given['encoder']!r}")
    return {name: value for name, value in bundle.network.items() if name not in OF_THE_TASK} | given


def bias_of(bundle: Bundle, task: TaskSpec) -> dict[str, Any]:
    """The setting ``bias``, in which a bundle's calibration lies, where it knows all labels of a task; else nothing."""
    known = [bundle.task.labels.index(label) for label in task.labels if label in bundle.task.labels]
    if not _same_question(bundle.task, task) or len(known) < len(task.labels):
        return {}
    bias = cast(Any, load_network(bundle).pooling).bias
    return {"bias": [float(bias[row]) for row in known]}


def origin_of(bundle: Bundle) -> dict[str, str]:
    """What a bundle that started from another says of it: name, version and hash of the weights; no path."""
    return {"name": bundle.name, "version": bundle.version, "weights": bundle.weights_sha256}


@torch.no_grad()
def take_over(network: AttentionCNN, task: TaskSpec, bundle: Bundle, spread: float = 1.0) -> list[str]:
    """Give a network the weights of a bundle, in place: all but those of labels that the bundle does not know.

    A bundle of several networks gives its first. Biases stay what they are: they are settings.

    Args:
        network: of the new task.
        task: of the network.
        bundle: whose encoder and pathway must be the same.
        spread: of the targets of a regression, in units of which the network is trained.

    Returns:
        The labels whose rows were taken over.

    Raises:
        TrainingError: ``bad_config``: a network of other shapes; or :class:`BundleError`: damaged weights.
    """
    own, theirs = network.state_dict(), load_network(bundle).state_dict()
    trunk = {name for name in own if not name.startswith(HEAD)}
    other = sorted(trunk ^ {name for name in theirs if not name.startswith(HEAD)})
    other += [name for name in sorted(trunk) if name in theirs and theirs[name].shape != own[name].shape]
    if other:
        raise _other_network(bundle, other[0])
    for name in trunk:
        own[name].copy_(theirs[name])
    shared = {name for name in own if name.startswith(HEAD) and name != f"{HEAD}bias"}
    if shared != {name for name in theirs if name.startswith(HEAD) and name != f"{HEAD}bias"}:
        return []  # another way of pooling: its head says nothing to this one
    rows = {f"{HEAD}{name}" for name in BY_LABEL}
    for name in shared - rows:
        if own[name].shape == theirs[name].shape:
            own[name].copy_(theirs[name])
    if not _same_question(bundle.task, task):
        return []
    known = [label for label in task.labels if label in bundle.task.labels]
    for label in known:
        for name in shared & rows:
            row = theirs[name][bundle.task.labels.index(label)]
            own[name][task.labels.index(label)].copy_(row / spread if name == f"{HEAD}value.weight" else row)
    return known


def _other_network(bundle: Bundle, differs: str) -> TrainingError:
    shown = ("encoder", "encoder_options", "width", "evidence_stride")
    there = ", ".join(f"{name} {bundle.network[name]!r}" for name in shown if name in bundle.network)
    return TrainingError(
        "bad_config",
        f"initial_weights: the network is not that of bundle {bundle.name} ({there}), {differs} differs; leave "
        "encoder, its options, width, evidence_stride and mixing out of the settings",
    )


def _same_question(there: TaskSpec, here: TaskSpec) -> bool:
    """Whether a label means the same number to both: a logit of the same kind, or a value in the same unit."""
    return (there.kind, there.activation, there.unit) == (here.kind, here.activation, here.unit)
