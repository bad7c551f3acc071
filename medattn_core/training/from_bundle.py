"""Starting from a bundle: its weights are the first ones, those of labels by their names."""

from __future__ import annotations

import os

import torch

# From the modules themselves: they are copied into exported bundles, where the package's doors do not lead.
from medattn_core.bundles.bundle import Bundle
from medattn_core.bundles.load import load
from medattn_core.bundles.weights import load_network
from medattn_core.errors import BundleError, TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec

HEAD = "pooling."
"""Prefix of the weights of the head."""

BIAS = f"{HEAD}bias"
"""A setting, which :mod:`medattn_core.training.resolve` takes over."""

BY_LABEL = (f"{HEAD}query", f"{HEAD}value.weight")
"""Weights of the head with a row for each label."""

VALUE = f"{HEAD}value.weight"
"""Those of them that are in the unit of a regression."""


def bundle_named(name: str | os.PathLike[str], started_from: dict[str, str] | None = None) -> Bundle:
    """The bundle that a training is to start from.

    Args:
        name: of a shipped bundle, or folder of any.
        started_from: what a bundle says of the one it started from, where that training is to be repeated.

    Raises:
        TrainingError: ``bad_config``: it is no MedAttn bundle, or not that one; or :class:`BundleError`: damaged.
    """
    try:
        bundle = load(name)
    except BundleError as error:
        if error.code not in ("unknown_bundle", "bad_bundle"):
            raise
        why = error.message.partition(", or --trust")[0]
        hint = "; name that bundle's folder with --training#initial_weights FOLDER" if started_from else ""
        raise TrainingError(
            "bad_config",
            f"initial_weights={os.fspath(name)!r}; accepted: imagenet, a bundle ({why}), or empty for chance{hint}",
        ) from error
    if started_from and started_from.get("weights") != bundle.weights_sha256:
        raise TrainingError(
            "bad_config",
            f"initial_weights={os.fspath(name)!r}: the bundle there has other weights than {started_from.get('name')} "
            f"{started_from.get('version')}, from which this training started; give that one's folder as "
            "initial_weights, or an empty started_from to start from this one",
        )
    return bundle


def origin_of(bundle: Bundle) -> dict[str, str]:
    """What a bundle that started from another says of it: name, version and hash of the weights; no path."""
    return {"name": bundle.name, "version": bundle.version, "weights": bundle.weights_sha256}


def known_labels(task: TaskSpec, bundle: Bundle) -> list[str]:
    """Labels of a task that mean the same number to a bundle: a logit of that activation, or a value in that unit.

    Values without a unit may be anything.
    """
    there = bundle.task
    if (there.activation, there.unit) != (task.activation, task.unit) or (task.kind == "regression" and not task.unit):
        return []
    return [label for label in task.labels if label in there.labels]


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
        raise other_network(bundle, other[0])
    for name in trunk:
        own[name].copy_(theirs[name])
    head = {name for name in own if name.startswith(HEAD)} - {BIAS}
    if head != {name for name in theirs if name.startswith(HEAD)} - {BIAS}:
        return []  # another way of pooling: its head says nothing to this one
    for name in head - set(BY_LABEL):
        own[name].copy_(theirs[name])
    known = known_labels(task, bundle)
    for name in head & set(BY_LABEL):
        for label in known:
            row = theirs[name][bundle.task.labels.index(label)]
            own[name][task.labels.index(label)].copy_(row / spread if name == VALUE else row)
    return known


def other_network(bundle: Bundle, differs: str) -> TrainingError:
    """The error of a network that cannot take the weights of a bundle."""
    shown = ("encoder", "encoder_options", "width", "evidence_stride")
    there = ", ".join(f"{name} {bundle.network[name]!r}" for name in shown if name in bundle.network)
    return TrainingError(
        "bad_config",
        f"initial_weights: the network is not that of bundle {bundle.name} ({there}), {differs} differs; leave "
        "encoder, its options, width, evidence_stride and mixing out of the settings",
    )
