"""The networks that a caller gives to a Predictor: held to the task, and copied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medattn_core.errors import PredictionError
from medattn_core.tasks import TaskSpec

if TYPE_CHECKING:
    from medattn_core.networks.attention_cnn import AttentionCNN


def own_networks(networks: Sequence[Any], task: TaskSpec) -> list[AttentionCNN]:
    """Copies of networks, so that those of the caller stay in the mode, on the device and in the layout they are in.

    Args:
        networks: at least one; of an AttentionEnsemble its members.
        task: what they have to take and give, where they say what they do.

    Raises:
        PredictionError: ``bad_argument``: none, one that is no AttentionCNN, or one that does not fit the task or the
            others.
    """
    from medattn_core.networks.attention_cnn import AttentionCNN
    from medattn_core.networks.ensemble import AttentionEnsemble

    found: list[Any] = []
    for network in networks:
        found += network.members if isinstance(network, AttentionEnsemble) else [network]
    if not found:
        raise PredictionError(
            "bad_argument",
            "networks: none was given; accepted: one AttentionCNN or several, Predictor(bundle, network); for the "
            "bundle's own take Predictor.from_bundle",
        )
    for network in found:
        # A compiled network is another class, and passes on what it is asked for.
        if not isinstance(getattr(network, "_orig_mod", network), AttentionCNN):
            raise PredictionError(
                "bad_argument",
                f"networks: a {type(network).__name__}; accepted: AttentionCNN or AttentionEnsemble, whose evidence "
                "sums to the logit",
            )
        _check(network, task, found[0].evidence_stride)
    return [copy.deepcopy(network).float() for network in found]  # images are float32


def _check(network: AttentionCNN, task: TaskSpec, stride: int) -> None:
    wanted = {
        "spatial_dims": (task.spatial_dims, "its dimensions"),
        "in_channels": (len(task.channels), f"its channels: {', '.join(task.channels)}"),
        "out_channels": (len(task.labels), f"its labels: {', '.join(task.labels)}"),
        "evidence_stride": (stride, "as the first of the networks"),
    }
    for name, (number, why) in wanted.items():
        given = getattr(network, name)
        if given != number:
            raise PredictionError(
                "bad_argument",
                f"networks: one has {name}={given}, but {task.name} takes {number} ({why}); give the network that the "
                "bundle describes, or the bundle of this one",
            )
