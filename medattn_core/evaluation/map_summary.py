"""Localisation and fidelity over all maps, with intervals over patients and differences on the same maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medattn_core.evaluation import fidelity, localisation
from medattn_core.evaluation.bootstrap import intervals
from medattn_core.evaluation.maps import Key, MapScores

TOP = 0.1
"""Share of the image whose deletion is compared between maps."""

DROP = f"drop_at_{TOP:g}"
"""Key in metrics.json: what the output loses with it."""

RANDOM_LIMIT = 0.2
"""Rank correlation up to which the map of a network with random weights counts as another map."""

MEASURES = ("pointing", "energy", "iou", "auprc")
"""Those of :func:`medattn_core.evaluation.localisation.scores`, in the order in which they are shown."""


def summary(
    scores: MapScores, chosen: Mapping[str, float], *, samples: int = 1000, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(localisation, fidelity)`` for metrics.json.

    Args:
        scores: of all maps.
        chosen: method to the threshold of its overlap, where one was chosen.
        samples: of the bootstrap over patients.
        seed: of its draws.
    """
    return _place(scores, chosen, samples, seed), _faith(scores, samples, seed)


def _place(scores: MapScores, chosen: Mapping[str, float], samples: int, seed: int) -> dict[str, Any]:
    place: dict[str, Any] = {}
    for method, cases in scores.located.items():
        place[method] = _means(cases, list(cases), scores, samples, seed)
    peers = [method for method in place if method != "evidence"]
    if peers:
        # The evidence of all cases and a peer's of some are not comparable: here both are of the same maps.
        own = scores.located["evidence"]
        sample = [key for key in own if key in scores.located[peers[0]]]
        place["evidence_on_sample"] = _means(own, sample, scores, samples, seed)
        place["evidence_minus"] = {}
        for method in peers:
            other = scores.located[method]
            # A map at its best threshold beside one at half of its peak would compare the thresholds.
            alike = ("evidence" in chosen) == (method in chosen)
            names = [name for name in MEASURES if name != "iou" or alike]
            gaps = {key: {name: own[key][name] - other[key][name] for name in names} for key in sample}
            found = _bootstrap(gaps, sample, scores, samples, seed, shares=())
            place["evidence_minus"][method] = {**found, "cases": len(sample)}
    if place:
        place["iou_threshold"] = {method: chosen.get(method) for method in scores.located}
    if any(case["lesions"] for case in scores.froc.values()):
        place["froc"] = {**localisation.froc(list(scores.froc.values())), "scans_undrawn": len(scores.undrawn)}
    return place


def _means(
    cases: Mapping[Key, Mapping[str, float]], keys: Sequence[Key], scores: MapScores, samples: int, seed: int
) -> dict[str, Any]:
    found = _bootstrap(cases, keys, scores, samples, seed, shares=("pointing",))
    return {
        **{name: one["value"] for name, one in found.items()},
        "cases": len(keys),
        "intervals": {name: [one["low"], one["high"]] for name, one in found.items() if "low" in one},
    }


def _bootstrap(
    cases: Mapping[Key, Mapping[str, float]],
    keys: Sequence[Key],
    scores: MapScores,
    samples: int,
    seed: int,
    shares: Sequence[str],
) -> dict[str, dict[str, float]]:
    names = list(cases[keys[0]])
    table = np.array([[cases[key][name] for name in names] for key in keys])
    patients = [scores.patients.get(key[0], f"\0{key[0]}") for key in keys]

    def measure(chosen: np.ndarray) -> dict[str, float]:
        return dict(zip(names, (float(v) for v in table[chosen].mean(axis=0)), strict=True))

    every = dict.fromkeys(shares, np.ones(len(keys), bool))
    return intervals(measure, patients, shares=every, samples=samples, seed=seed)


def _faith(scores: MapScores, samples: int, seed: int) -> dict[str, Any]:
    faith: dict[str, Any] = {}
    at = fidelity.SHARES.index(TOP)
    for method, found in scores.curves.items():
        faith[method] = {"cases": len(found)}
        for key in ("deletion", "insertion"):
            several = np.array([pair[key] for pair in found.values()])
            mean = several.mean(axis=0)
            faith[method] |= {
                key: [float(v) for v in mean],
                f"{key}_quartiles": [[float(v) for v in q] for q in np.percentile(several, [25, 75], axis=0)],
                f"{key}_area": fidelity.area(fidelity.SHARES, mean),
            }
    if faith:
        drop = {
            method: {key: float(pair["deletion"][0] - pair["deletion"][at]) for key, pair in found.items()}
            for method, found in scores.curves.items()
        }
        for method, drops in drop.items():
            faith[method][DROP] = float(np.mean(list(drops.values())))
            if method == "evidence":
                continue
            keys = list(drops)
            gaps = {key: drop["evidence"][key] - drops[key] for key in keys}
            # Where both maps change nothing neither is better: such cases count half.
            more = {k: {"more": float(g > 1e-6) + 0.5 * float(abs(g) <= 1e-6)} for k, g in gaps.items()}
            paired = _bootstrap(more, keys, scores, samples, seed, shares=("more",))["more"]
            faith[method]["evidence_drops_more"] = paired["value"]
            if "low" in paired:
                faith[method]["evidence_drops_more_interval"] = [paired["low"], paired["high"]]
        faith["shares"] = list(fidelity.SHARES)
    for name, rho in (("weight_randomisation", scores.randomised), ("repeatability", scores.repeated)):
        values = [value for one in rho.values() for value in one]
        if values:
            faith[name] = {
                "rank_correlation": float(np.mean(values)),
                "absolute": float(np.mean(np.abs(values))),
                "cases": len(rho),
                "networks": max(len(one) for one in rho.values()),
            }
    if "weight_randomisation" in faith:
        faith["weight_randomisation"]["limit"] = RANDOM_LIMIT
    return faith
