"""Scores of the map of one case, beside those of other methods on the same network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.evaluation import fidelity, localisation
from medattn_core.evaluation.ensemble import Mean
from medattn_core.evaluation.saliency import Peers
from medattn_core.inference import Prediction, Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.transforms.conform import Conformed, conform
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume

Key = tuple[int, str]
"""A map: number of the case, label it speaks for."""

RANDOM_NETWORKS = 5
"""Networks of random weights: a single one may agree or disagree by chance."""


@dataclass
class MapScores:
    """What is collected over maps.

    Attributes:
        patients: patient of each case, by its number.
        located: method to the localisation scores of each map.
        overlaps: method to the overlap curves of its maps, to choose a threshold from.
        curves: method to the deletion and insertion curves of each map.
        randomised: rank correlations of the evidence with those of networks of random weights.
        repeated: rank correlations with the evidence of other models of the same task.
        froc: of each case by its number, all labels together: see
            :func:`medattn_core.evaluation.localisation.detections`.
        undrawn: cases that show a lesion whose outline is not known, or whose mask or box could not be used; they are
            not in ``froc``.
    """

    patients: dict[int, str] = field(default_factory=dict)
    located: dict[str, dict[Key, dict[str, float]]] = field(default_factory=dict)
    overlaps: dict[str, list[np.ndarray]] = field(default_factory=dict)
    curves: dict[str, dict[Key, dict[str, np.ndarray]]] = field(default_factory=dict)
    randomised: dict[Key, list[float]] = field(default_factory=dict)
    repeated: dict[Key, list[float]] = field(default_factory=dict)
    froc: dict[int, dict[str, Any]] = field(default_factory=dict)
    undrawn: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the evidence of a model is compared with.

    Attributes:
        peers: other methods.
        whole: the network, of an ensemble the mean of its members.
        random: networks of random weights.
    """

    peers: Peers
    whole: Mean
    random: tuple[AttentionCNN, ...]

    @classmethod
    def of(cls, networks: Sequence[AttentionCNN], names: tuple[str, ...], seed: int) -> Comparison:
        """For one network or the members of an ensemble."""
        random = tuple(fidelity.randomised(networks[0], seed + i) for i in range(RANDOM_NETWORKS))
        return cls(peers=Peers(networks, names), whole=Mean(networks).eval(), random=random)


def add_place(
    scores: MapScores, key: Key, prediction: Prediction, inside: np.ndarray, chosen: Mapping[str, float]
) -> dict[str, float]:
    """Score where the evidence of one map lies.

    Args:
        scores: to add to.
        key: of the map.
        prediction: of the case.
        inside: boolean on the scan's voxels, the finding; neither empty nor all of the scan.
        chosen: method to the threshold of its overlap, where one was chosen.

    Returns:
        The scores, for the table of cases.
    """
    evidence = prediction.evidence(key[1]).data
    overlaps = localisation.overlaps(evidence, inside)
    row = localisation.scores(evidence, inside, chosen.get("evidence"), overlaps)
    scores.located.setdefault("evidence", {})[key] = row
    scores.overlaps.setdefault("evidence", []).append(overlaps)
    return row


def add_repeats(
    scores: MapScores,
    key: Key,
    prediction: Prediction,
    channels: tuple[Volume, ...],
    others: Sequence[Predictor],
) -> None:
    """How much other models of the same task and grid agree with the evidence, over the cells that may be looked at."""
    allowed = prediction.head.allowed  # the others hold nothing, in every model, and so would agree
    own = prediction.contributions(key[1])[allowed]
    again = [other((prediction.volume, *channels)).contributions(key[1])[allowed] for other in others]
    scores.repeated[key] = [fidelity.rank_correlation(own, other) for other in again]


def is_stack(prediction: Prediction) -> bool:
    """Whether a slicewise model has pooled several slices: the other methods know no stack of them."""
    return prediction.task.spatial_dims == 2 and prediction.grid.shape[2] != 1


def add_overlaps(
    scores: MapScores,
    key: Key,
    prediction: Prediction,
    channels: tuple[Volume, ...],
    peers: Peers,
    inside: np.ndarray,
) -> None:
    """Overlap curves of the maps of other methods: each has a best threshold of its own.

    Args:
        scores: to add to.
        key: of the map.
        prediction: of the case, no stack of slices, see :func:`is_stack`.
        channels: further channels of the case.
        peers: other methods.
        inside: the finding on the scan's voxels.
    """
    conformed, image = _model_image(prediction, channels)
    for method, pixels in peers.maps(image, prediction.task.index(key[1])).items():
        curve = localisation.overlaps(_on_scan(pixels, conformed.grid), inside)
        scores.overlaps.setdefault(method, []).append(curve)


def _model_image(prediction: Prediction, channels: tuple[Volume, ...]) -> tuple[Conformed, np.ndarray]:
    """The scan as the network sees it, and its pixels ``(C, *spatial)``."""
    conformed = conform(prediction.volume, prediction.task, channels)
    return conformed, conformed.image[..., 0] if prediction.task.spatial_dims == 2 else conformed.image


def _on_scan(pixels: np.ndarray, grid: ModelGrid) -> np.ndarray:
    """A map of the model's pixels on the scan's voxels."""
    return grid.spread(pixels[..., None] if pixels.ndim == 2 else pixels, 1)


def add_comparison(
    scores: MapScores,
    key: Key,
    prediction: Prediction,
    channels: tuple[Volume, ...],
    comparison: Comparison,
    inside: np.ndarray | None,
    chosen: Mapping[str, float],
) -> None:
    """Score the maps of other methods, the fidelity of all, and networks of random weights.

    Everything is computed before anything is added: a method that fails leaves no half case behind.

    Args:
        scores: to add to.
        key: of the map.
        prediction: of the case, no stack of slices, see :func:`is_stack`.
        channels: further channels of the case.
        comparison: with what.
        inside: the finding on the scan's voxels; None where its place is not known.
        chosen: method to the threshold of its overlap, where one was chosen.
    """
    task = prediction.task
    conformed, image = _model_image(prediction, channels)
    flat = task.spatial_dims == 2
    within = conformed.grid.inside()
    within = within[..., 0] if flat else within
    index = task.index(key[1])
    found = comparison.peers.maps(image, index)
    located = {}
    if inside is not None:
        for method, pixels in found.items():
            located[method] = localisation.scores(_on_scan(pixels, conformed.grid), inside, chosen.get(method))
    own = fidelity.on_model_grid(prediction.contributions(key[1]), conformed.grid, prediction.stride)
    maps = {"evidence": own[..., 0] if flat else own, **found}
    allowed = prediction.head.allowed
    regions = allowed[..., 0] if flat else allowed
    curves = {
        name: fidelity.curves(comparison.whole, image, pixels, within, index, task, allowed=regions)
        for name, pixels in maps.items()
    }
    cells = prediction.contributions(key[1])[allowed]
    drawn = [fidelity.random_contributions(network, image, index, regions) for network in comparison.random]
    rho = [fidelity.rank_correlation(cells, other.reshape(allowed.shape)[allowed]) for other in drawn]
    for method, row in located.items():
        scores.located.setdefault(method, {})[key] = row
    for method, pair in curves.items():
        scores.curves.setdefault(method, {})[key] = pair
    scores.randomised[key] = rho
