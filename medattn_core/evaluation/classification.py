"""Scores of labels and probabilities: AUC and average precision are scikit-learn's, shares of cases are counted here.

A share is taken anew for each bootstrap sample, where the checks of scikit-learn would take longer than the counting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medattn_core.datalists.case import NO_LABEL, NO_LABEL_WORDS
from medattn_core.evaluation.decisions import Rule, any_label, can_say_none, decisions
from medattn_core.metrics.calibration import calibration_error_by_label, expected_calibration_error
from medattn_core.metrics.ranking import mixed
from medattn_core.tasks import TaskSpec


def right(said: np.ndarray, truth: np.ndarray, task: TaskSpec) -> np.ndarray:
    """``(N,)`` boolean: whether a case is decided rightly; in multi-label all of its labels."""
    if task.takes_one:
        return np.where(any_label(truth), (said & truth).any(axis=1), ~any_label(said))
    return (said == truth).all(axis=1)


def scores(
    probabilities: np.ndarray,
    targets: np.ndarray,
    task: TaskSpec,
    rule: Rule | None = None,
    *,
    ranks: np.ndarray | None = None,
) -> dict[str, float]:
    """Accuracy and its relatives, AUC and average precision (macro and of each label), calibration.

    Args:
        probabilities: ``(N, K)``.
        targets: ``(N, K)`` one- or multi-hot; a row of zeros is a case that shows none of the labels.
        task: of the model.
        rule: see :func:`medattn_core.evaluation.decisions.decisions`.
        ranks: ``(N, K)``, what AUC and average precision order the cases by, of
            :func:`medattn_core.metrics.ranking.ranking`: probabilities near one are equal as numbers, and so ties.
            None takes the probabilities.

    Returns:
        Metric to value, NaN where the cases do not allow it (a label that none or all of them have). A score of
        none of them has :data:`medattn_core.datalists.case.NO_LABEL_WORDS` where others have the label.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = targets > 0.5
    said = decisions(probabilities, task, rule)
    ranks = probabilities if ranks is None else ranks
    one = task.takes_one
    found: dict[str, float] = {"accuracy": float(right(said, truth, task).mean())}
    each: dict[str, list[float]] = {"auc": [], "average_precision": [], "sensitivity": [], "specificity": []}
    for k, both in enumerate(mixed(truth)):
        each["auc"].append(float(roc_auc_score(truth[:, k], ranks[:, k])) if both else np.nan)
        each["average_precision"].append(float(average_precision_score(truth[:, k], ranks[:, k])) if both else np.nan)
        sensitivity, specificity = _both(said[:, k], truth[:, k])
        each["sensitivity"].append(sensitivity)
        each["specificity"].append(specificity)
    none: dict[str, float] = {}
    if one and can_say_none(task):
        sensitivity, specificity = _both(~any_label(said), ~any_label(truth))
        none = {f"sensitivity_{NO_LABEL_WORDS}": sensitivity, f"specificity_{NO_LABEL_WORDS}": specificity}
        shown = any_label(truth)
        best = truth[np.arange(len(truth)), probabilities.argmax(axis=1)]
        found["accuracy_most_probable"] = float(best[shown].mean()) if shown.any() else float("nan")
    if one:
        found["balanced_accuracy"] = _mean([*each["sensitivity"], none.get(f"sensitivity_{NO_LABEL_WORDS}", np.nan)])
    else:  # a label that none or all of the cases have has one of the two only, and is in no mean
        pairs = zip(each["sensitivity"], each["specificity"], strict=True)
        found["balanced_accuracy"] = _mean([sum(pair) / 2 for pair in pairs])
    for name in ("auc", "average_precision"):
        found[name] = _mean(each[name])
    for name, values in each.items():
        found |= {f"{name}_{label}": v for label, v in zip(task.labels, values, strict=True)}
    if one and rule is not None and rule.each is not None:
        for k, (label, threshold) in enumerate(zip(task.labels, rule.each, strict=True)):
            if threshold is not None:
                sensitivity, specificity = _both(probabilities[:, k] >= threshold, truth[:, k])
                found |= {f"sensitivity_at_threshold_{label}": sensitivity,
                          f"specificity_at_threshold_{label}": specificity}  # fmt: skip
    return found | none | calibration(probabilities, truth, task)


def denominators(truth: np.ndarray, task: TaskSpec) -> dict[str, np.ndarray]:
    """For each score of :func:`scores` that is a share of cases: which of them it is a share of, ``(N,)`` boolean."""
    every = np.ones(len(truth), bool)
    found = {"accuracy": every, "accuracy_most_probable": any_label(truth)}
    labels = {label: truth[:, k] for k, label in enumerate(task.labels)} | {NO_LABEL_WORDS: ~any_label(truth)}
    for label, has in labels.items():
        for name in ("", "at_threshold_"):
            found |= {f"sensitivity_{name}{label}": has, f"specificity_{name}{label}": ~has}
    return found


def compared(truth: np.ndarray, task: TaskSpec) -> dict[str, list[np.ndarray]]:
    """For each score of :func:`scores` that compares kinds of cases: which cases are of each kind, ``(N,)`` booleans.

    A label that none or all of the cases have is in no mean over labels; where one label is said, neither is an answer
    (a label, or none of them) that no case has.
    """
    sides = {label: [truth[:, k], ~truth[:, k]] for k, label in enumerate(task.labels)}
    kinds = [kind for pair, both in zip(sides.values(), mixed(truth), strict=True) if both for kind in pair]
    found = {f"{name}_{label}": pair for name in ("auc", "average_precision") for label, pair in sides.items()}
    answers = [truth[:, k] for k in range(truth.shape[1])] + [~any_label(truth)] * can_say_none(task)
    balanced = [kind for kind in answers if kind.any()] if task.takes_one else kinds
    return found | {"auc": kinds, "average_precision": kinds, "balanced_accuracy": balanced}


def confusion(said: np.ndarray, truth: np.ndarray, task: TaskSpec) -> dict[str, Any]:
    """Which label was said for which, for metrics.json.

    Returns:
        ``confusion_by_label``: each label against the rest. Where a case has one answer also ``confusion_labels`` and
        ``confusion_matrix`` (rows the truth, columns what was said); ``-`` is none of the labels.
    """
    by_label = {}
    for k, label in enumerate(task.labels):
        yes, no = truth[:, k], ~truth[:, k]
        by_label[label] = {
            "true_positive": int((said[:, k] & yes).sum()), "false_negative": int((~said[:, k] & yes).sum()),
            "false_positive": int((said[:, k] & no).sum()), "true_negative": int((~said[:, k] & no).sum()),
        }  # fmt: skip
    result: dict[str, Any] = {"confusion_by_label": by_label}
    if task.takes_one or len(task.labels) == 1:
        labels = [*task.labels, *([NO_LABEL] if can_say_none(task) else [])]
        matrix = np.zeros((len(labels), len(labels)), int)
        np.add.at(matrix, (_answer(truth), _answer(said)), 1)
        result |= {"confusion_labels": labels, "confusion_matrix": matrix.tolist()}
    return result


def _answer(chosen: np.ndarray) -> np.ndarray:
    """Index of the label; the number of labels where there is none."""
    return np.where(any_label(chosen), chosen.argmax(axis=1), chosen.shape[1])


def calibration(probabilities: np.ndarray, truth: np.ndarray, task: TaskSpec) -> dict[str, float]:
    """Expected calibration error of the reported label (of every label in multi-label) and the Brier score (1950).

    Where one of several labels is reported, also the mean over them of the error of each label's own probability: too
    sure of one and not enough of another cancel in the first. The Brier score is the mean over the cases of a sum over
    the labels, in multi-label too.
    """
    reported, correct = reported_probability(probabilities, truth, task)
    found = {"ece": expected_calibration_error(reported, correct.astype(float))}
    if task.takes_one and len(task.labels) > 1:
        found["ece_by_label"] = calibration_error_by_label(probabilities, truth.astype(float))
    return found | {"brier": float(((probabilities - truth) ** 2).sum(axis=1).mean())}


def reported_probability(probabilities: np.ndarray, truth: np.ndarray, task: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """What a reader is told, and whether it was so: the most probable label, or each label by itself."""
    if task.takes_one:
        return probabilities.max(axis=1), truth[np.arange(len(truth)), probabilities.argmax(axis=1)]
    return probabilities.ravel(), truth.ravel()


def trust_scores(
    sets: list[tuple[str, ...]] | None,
    abstained: np.ndarray | None,
    said: np.ndarray,
    truth: np.ndarray,
    task: TaskSpec,
) -> dict[str, float]:
    """How often conformal sets hold the truth, how large they are, and what abstaining buys.

    All rules were fitted on cases that have a label, and say something of such cases only: the others are left out.

    Args:
        sets: label set of each case, None without a rule.
        abstained: of each case, None without a rule.
        said, truth: ``(N, K)`` boolean.
        task: of the model.
    """
    shown = any_label(truth)
    if not task.takes_one or not shown.any():
        return {}
    found: dict[str, float] = {}
    if sets is not None:
        held = [task.labels[int(t.argmax())] in s for s, t in zip(sets, truth, strict=True) if t.any()]
        found["set_coverage"] = float(np.mean(held))
        found["set_size"] = float(np.mean([len(s) for s, yes in zip(sets, shown, strict=True) if yes]))
    if abstained is not None:
        found["abstained"] = float(abstained[shown].mean())
        decided = shown & ~abstained
        hits = right(said, truth, task)
        found["accuracy_when_decided"] = float(hits[decided].mean()) if decided.any() else float("nan")
    return found


def side_scores(
    sides: Sequence[Mapping[str, bool | None]], said: np.ndarray, truth: np.ndarray, task: TaskSpec
) -> dict[str, float]:
    """Of labels that are judged by themselves: how often the truth is credible, and what leaving them open buys.

    Every label with a rule counts once a case.

    Args:
        sides: of each case, see :attr:`medattn_core.inference.Prediction.sides`.
        said, truth: ``(N, K)`` boolean.
        task: of the model.
    """
    columns = [task.index(label) for label in sides[0]]
    said, truth = said[:, columns].ravel(), truth[:, columns].ravel()
    side = [one for case in sides for one in case.values()]
    open_ = np.array([one is None for one in side])
    held = open_ | (np.array([bool(one) for one in side]) == truth)
    return {
        "set_coverage": _share(held),
        "set_coverage_present": _share(held[truth]),
        "set_coverage_absent": _share(held[~truth]),
        "abstained": _share(open_),
        "accuracy_when_decided": _share((said == truth)[~open_]),
    }


def side_denominators(
    sides: Sequence[Mapping[str, bool | None]], truth: np.ndarray, task: TaskSpec
) -> dict[str, np.ndarray]:
    """As :func:`denominators`, for :func:`side_scores`; of several labels they are no shares of cases."""
    if len(sides[0]) != 1:
        return {}
    (label,) = sides[0]
    has, every = truth[:, task.index(label)], np.ones(len(truth), bool)
    decided = np.array([case[label] is not None for case in sides])
    return {"set_coverage": every, "set_coverage_present": has, "set_coverage_absent": ~has, "abstained": every,
            "accuracy_when_decided": decided}  # fmt: skip


def _share(some: np.ndarray) -> float:
    return float(some.mean()) if len(some) else float("nan")


def _both(said: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Sensitivity and specificity of one label; NaN where no case has it, or all."""
    return (
        float(said[truth].mean()) if truth.any() else float("nan"),
        float((~said[~truth]).mean()) if not truth.all() else float("nan"),
    )


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
