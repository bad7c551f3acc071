"""Scores of the map of one case, beside those of other methods on the same network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.evaluation import fidelity, localisation
from medattn_core.evaluation.saliency import Peers
from medattn_core.inference import Prediction, Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume

TOP = 0.1
"""Share of the image whose deletion is compared between maps."""


@dataclass
class MapScores:
    """What is collected over cases.

    Attributes:
        located: method to the localisation scores of each case.
        overlaps: overlap curves of the evidence, to choose a threshold from.
        curves: method to the deletion and insertion curves of each case.
        randomised: rank correlation of the evidence with that of a network of random weights, each case.
        repeated: rank correlation with the evidence of another model of the same task, each case.
        froc: see :func:`medattn_core.evaluation.localisation.detections`.
    """

    located: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    overlaps: list[np.ndarray] = field(default_factory=list)
    curves: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)
    randomised: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    froc: list[dict[str, Any]] = field(default_factory=list)

    def summary(self, threshold: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(localisation, fidelity)``, means over cases, for metrics.json."""
        place: dict[str, Any] = {}
        for method, cases in self.located.items():
            place[method] = {name: float(np.mean([c[name] for c in cases])) for name in cases[0]}
            place[method]["cases"] = len(cases)
        if place:
            place["iou_threshold"] = threshold
        if any(case["lesions"] > 1 for case in self.froc):
            place["froc"] = localisation.froc(self.froc)
        faith: dict[str, Any] = {}
        for method, found in self.curves.items():
            mean = {key: np.mean([c[key] for c in found], axis=0) for key in ("deletion", "insertion")}
            faith[method] = {
                **{key: [float(v) for v in curve] for key, curve in mean.items()},
                **{f"{key}_area": fidelity.area(fidelity.SHARES, curve) for key, curve in mean.items()},
                "cases": len(found),
            }
        if faith:
            at = fidelity.SHARES.index(TOP)
            drop = {
                m: np.array([c["deletion"][0] - c["deletion"][at] for c in found]) for m, found in self.curves.items()
            }
            for method, values in drop.items():
                faith[method][f"drop_at_{TOP:g}"] = float(values.mean())
                if method != "evidence":
                    # Where both maps change nothing neither is better: such cases count half.
                    gap = drop["evidence"] - values
                    faith[method]["evidence_drops_more"] = float(((gap > 1e-6) + 0.5 * (np.abs(gap) <= 1e-6)).mean())
            faith["shares"] = list(fidelity.SHARES)
        for name, rho in (("weight_randomisation", self.randomised), ("repeatability", self.repeated)):
            if rho:
                faith[name] = {
                    "rank_correlation": float(np.mean(rho)),
                    "absolute": float(np.mean(np.abs(rho))),
                    "cases": len(rho),
                }
        return place, faith

    def add_location(self, method: str, values: dict[str, float]) -> None:
        """Scores of one more case."""
        self.located.setdefault(method, []).append(values)


def add_case(
    scores: MapScores,
    prediction: Prediction,
    channels: tuple[Volume, ...],
    predictor: Predictor,
    label: str,
    inside: np.ndarray | None,
    *,
    threshold: float | None,
    peers: Peers | None,
    random: AttentionCNN | None,
    others: tuple[Predictor, ...] = (),
    several: bool = True,
) -> dict[str, float]:
    """Score the maps of one case.

    Args:
        scores: to add to.
        prediction: of the case.
        channels: further channels of the case.
        predictor: that made it.
        label: whose map is scored.
        inside: boolean on the scan's voxels, the finding; None where its place is not known.
        threshold: of the overlap.
        peers: other methods; None leaves them and the fidelity out for this case.
        random: the network with random weights.
        others: models of the same task, for repeatability.
        several: whether to count single lesions (FROC).

    Returns:
        Localisation scores of the evidence for the table of cases.
    """
    row: dict[str, float] = {}
    evidence = prediction.evidence(label)
    if inside is not None and inside.any() and not inside.all():
        row = localisation.scores(evidence.data, inside, threshold)
        scores.add_location("evidence", row)
        scores.overlaps.append(localisation.overlaps(evidence.data, inside))
        if several and evidence.spatial_dims == 3:
            from scipy.ndimage import label as parts

            lesions, _ = parts(inside, np.ones((3, 3, 3)))
            scores.froc.append(localisation.detections(prediction.regions(label), lesions))
    for other in others:
        again = other((prediction.volume, *channels)).contributions(label)
        scores.repeated.append(fidelity.rank_correlation(prediction.contributions(label), again))
    if peers is None:
        return row
    conformed = conform(prediction.volume, predictor.task, channels)
    flat = predictor.task.spatial_dims == 2
    if flat and conformed.image.shape[-1] != 1:
        return row  # the other methods know no stack of slices
    image = conformed.image[..., 0] if flat else conformed.image
    within = conformed.grid.inside()
    within = within[..., 0] if flat else within
    index = predictor.task.index(label)
    found = peers.maps(image, index)
    for method, pixels in found.items():
        native = conformed.grid.spread(pixels[..., None] if flat else pixels, 1)
        if row and inside is not None:
            scores.add_location(method, localisation.scores(native, inside, threshold))
    own = fidelity.on_model_grid(prediction.contributions(label), conformed.grid, prediction.stride)
    found = {"evidence": own[..., 0] if flat else own, **found}
    for method, pixels in found.items():
        curves = fidelity.curves(predictor.network, image, pixels, within, index, predictor.task)
        scores.curves.setdefault(method, []).append(curves)
    if random is not None:
        import torch

        with torch.inference_mode():
            out = random.attend(torch.from_numpy(image[None]))
        cells = out.contributions[0, index].numpy().reshape(prediction.head.allowed.shape)
        allowed = prediction.head.allowed
        scores.randomised.append(fidelity.rank_correlation(prediction.contributions(label)[allowed], cells[allowed]))
    return row
