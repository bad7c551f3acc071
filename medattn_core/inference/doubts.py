"""What a prediction has to be doubted for, by its own numbers and the rules of its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from medattn_core.bundles.claims import apart, percent_of, whole_volume
from medattn_core.errors import Notice
from medattn_core.inference.prediction import Prediction
from medattn_core.inference.regions import MIN_CONTRIBUTION

OUTSIDE = 0.2
"""Share of the evidence outside the scan from which a warning says so."""


def doubts(prediction: Prediction) -> tuple[Notice, ...]:
    """Warnings of a result, in the order of tables.

    ``whole_volume``: the model was measured on single slices; ``outside_evidence``: much of what decides lies outside
    the scan; ``below_threshold``: the best label is not probable enough; ``abstained``: some cannot be decided.
    """
    whole = whole_volume(prediction.task, prediction.trust, prediction.grid.shape[2])
    return tuple(filter(None, (whole, _outside(prediction), *_undecided(prediction))))


def _outside(prediction: Prediction) -> Notice | None:
    cells = np.abs(prediction.contributions())
    if not cells.size:  # an exported bundle that gives logits alone
        return None
    outside = float(cells[~prediction.grid.inside(prediction.stride)].sum())
    share = outside / max(float(cells.sum()), 1e-12)
    if share <= OUTSIDE or outside < MIN_CONTRIBUTION:
        return None
    return Notice(
        "outside_evidence",
        f"{prediction.volume.name}: {share:.0%} of the evidence for {prediction.label} lies in the padding up to the "
        "size that the model takes, where no map can show it; give scans that fill it, or train with a smaller size",
    )


def _undecided(prediction: Prediction) -> Iterator[Notice]:
    if prediction.undecided:
        said = ", ".join(_between(prediction, label) for label in prediction.undecided)
        yield Notice("abstained", f"not decided: {said}; too close to tell whether it is there")
        return
    if prediction.task.kind != "multiclass":
        return
    threshold, trust = prediction.task.threshold, prediction.trust
    best = prediction.probabilities[prediction.label]
    if threshold is not None and best < threshold:
        found, least = apart(best, threshold)
        what = f"no label reaches the {least} that the task asks for; the most likely, {prediction.label}, has {found}"
        yield Notice("below_threshold", what)
    if prediction.abstained:
        found, least = apart(best, cast(float, trust.abstain_below))
        yield Notice("abstained", f"not decided: {prediction.label} has {found}, and the model decides from {least} on")


def _between(prediction: Prediction, label: str) -> str:
    """A label that is left open, with its probability and the limits that it lies between."""
    low, high = (percent_of(end) for end in prediction.limits[label])
    return f"{label} ({percent_of(prediction.probabilities[label])}, undecided from {low} to {high})"
