"""Scores of a whole list from what was predicted: arrays in, the numbers of metrics.json out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core.bundles.trust import Undecided
from medattn_core.evaluation import classification, regression
from medattn_core.evaluation.bootstrap import FEWEST, intervals
from medattn_core.evaluation.decisions import Rule, any_label, decisions, thresholds
from medattn_core.metrics.calibration import expected_calibration_error
from medattn_core.metrics.ranking import ranking
from medattn_core.tasks import TaskSpec

if TYPE_CHECKING:
    from medattn_core.inference import Prediction


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a prediction says of its own reliability; the scan itself is not kept: a list may be larger than memory.

    Attributes:
        label_set, interval, confidence, abstained: as in :class:`medattn_core.inference.Prediction`; None where the
            bundle has no rule.
        undecided: rules of labels that are judged by themselves; None where the bundle has none.
    """

    label_set: tuple[str, ...] | None = None
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    abstained: bool | None = None
    undecided: Mapping[str, Undecided] | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> Stated:
        """Of one prediction."""
        return cls(
            label_set=prediction.label_set,
            interval=prediction.interval,
            confidence=prediction.confidence,
            abstained=prediction.abstained,
            undecided=None if prediction.sides is None else prediction.trust.undecided,
        )


def measured(
    outputs: np.ndarray,
    targets: np.ndarray,
    stated: Sequence[Stated],
    patients: Sequence[str],
    task: TaskSpec,
    *,
    rule: Rule | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores with intervals over patients.

    Args:
        outputs: ``(N, K)`` logits, or values.
        targets: ``(N, K)`` one- or multi-hot, or values.
        stated: of each case.
        patients: of each case.
        task: of the model.
        rule: thresholds of the decision.
        samples: of the bootstrap.
        seed: of its draws.

    Returns:
        ``regression``, or ``classification`` with the confusion; ``intervals``: over how many patients, or why not;
        ``labels_with_a_rule``: which labels sets and abstaining are measured of, where each is judged by itself.
    """
    count = len(set(patients))
    given = samples > 0 and count >= FEWEST
    notes: dict[str, Any] = {"intervals": {"patients": count, "given": given, "fewest_patients": FEWEST}}
    if task.kind == "regression":
        bounds = _all([s.interval for s in stated])

        def measure_values(chosen: np.ndarray) -> dict[str, float]:
            some = None if bounds is None else [(float(bounds[i][0]), float(bounds[i][1])) for i in chosen]
            return regression.scores(outputs[chosen, 0], targets[chosen, 0], some)

        shares = {"interval_coverage": np.ones(len(outputs), bool)}
        found = intervals(measure_values, patients, shares=shares, samples=samples, seed=seed)
        return {"regression": found, **notes}
    probabilities, ranks, truth = task.probabilities(outputs), ranking(outputs, task), targets > 0.5
    said = decisions(probabilities, task, rule)
    shown = any_label(truth)
    sets, abstained, confidence, rules = (
        _all([getattr(s, name) for s in stated]) for name in ("label_set", "abstained", "confidence", "undecided")
    )
    sides = None if rules is None or task.takes_one else _sides(probabilities, rules, thresholds(task, rule), task)

    def measure(chosen: np.ndarray) -> dict[str, float]:
        found = classification.scores(probabilities[chosen], targets[chosen], task, rule, ranks=ranks[chosen])
        found |= classification.trust_scores(
            None if sets is None else [sets[i] for i in chosen],
            None if abstained is None else np.array(abstained)[chosen],
            said[chosen], truth[chosen], task,
        )  # fmt: skip
        if sides is not None:
            found |= classification.side_scores([sides[i] for i in chosen], said[chosen], truth[chosen], task)
        if confidence is not None and task.takes_one:
            some = chosen[shown[chosen]]  # fitted on cases that have a label
            if len(some):
                right = truth[some, probabilities[some].argmax(axis=1)]
                found["ece_confidence"] = expected_calibration_error(np.array(confidence)[some], right)
        return found

    shares = classification.denominators(truth, task)
    if sides is not None:
        shares |= classification.side_denominators(sides, truth, task)
    else:
        shares |= {"set_coverage": shown, "abstained": shown}
        if abstained is not None:
            shares["accuracy_when_decided"] = shown & ~np.array(abstained)
    if sides is not None:
        notes["labels_with_a_rule"] = list(sides[0])
    needs = classification.compared(truth, task)
    found = intervals(measure, patients, shares=shares, needs=needs, samples=samples, seed=seed)
    return {"classification": found, **classification.confusion(said, truth, task), **notes}


def _sides(
    probabilities: np.ndarray, rules: Sequence[Mapping[str, Undecided]], said_from: np.ndarray, task: TaskSpec
) -> list[dict[str, bool | None]]:
    """:attr:`medattn_core.inference.Prediction.sides` at the thresholds that decide here, which may be chosen ones."""
    return [
        {
            label: own[label].side(float(p), float(least))
            for label, p, least in zip(task.labels, row, said_from, strict=True)
            if label in own
        }
        for row, own in zip(probabilities, rules, strict=True)
    ]


def left_open(
    probabilities: np.ndarray, rules: Mapping[str, Undecided], said_from: np.ndarray, task: TaskSpec
) -> dict[str, Any]:
    """Columns of one case: ``label_set``, ``undecided`` and ``abstained`` at the thresholds that decide here.

    Args:
        probabilities: ``(K,)``.
        rules: of the labels that have one.
        said_from: ``(K,)`` thresholds.
        task: of the model.
    """
    (sides,) = _sides(probabilities[None], [rules], said_from, task)
    ranked = [task.labels[k] for k in np.argsort(-probabilities, kind="stable")]
    left = [label for label in ranked if sides.get(label, True) is None]
    credible = [label for label in ranked if sides.get(label) is not False]
    return {"label_set": "|".join(credible), "undecided": "|".join(left), "abstained": ranked[0] in left}


def _all(values: list[Any]) -> list[Any] | None:
    """The values, or None where one of them is missing."""
    return None if any(value is None for value in values) else values
