"""Scores of labels and probabilities, all scikit-learn's."""

from __future__ import annotations

import numpy as np

from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import expected_calibration_error


def decisions(probabilities: np.ndarray, task: TaskSpec, threshold: float | None = None) -> np.ndarray:
    """``(N, K)`` boolean: the labels that are said.

    One label is the most probable one; of two labels a threshold on the second decides; several labels (or one) are
    those from the threshold up, 0.5 where none is given.
    """
    if task.kind == "multiclass" and probabilities.shape[1] > 1:
        said = probabilities.argmax(axis=1)
        if threshold is not None and probabilities.shape[1] == 2:
            said = (_second(probabilities) >= threshold).astype(int)
        return np.eye(probabilities.shape[1], dtype=bool)[said]
    return probabilities >= (0.5 if threshold is None else threshold)


def _second(probabilities: np.ndarray) -> np.ndarray:
    """Probability of the second of two labels; one-against-the-rest probabilities need not sum to one."""
    return probabilities[:, 1] / np.maximum(probabilities.sum(axis=1), 1e-12)


def best_threshold(probabilities: np.ndarray, targets: np.ndarray, task: TaskSpec) -> float | None:
    """Where sensitivity + specificity is highest (Youden 1950), to be chosen on validation cases.

    Only where one number decides: two labels, or one. None otherwise.
    """
    from sklearn.metrics import roc_curve

    if task.kind == "regression" or probabilities.shape[1] > 2 or (task.kind == "multilabel" and len(task.labels) > 1):
        return None
    score, truth = (
        (probabilities[:, 0], targets[:, 0]) if len(task.labels) == 1 else (_second(probabilities), targets[:, 1])
    )
    if truth.min() == truth.max():
        return None
    false, true, edges = roc_curve(truth > 0.5, score, drop_intermediate=False)
    best = int(np.argmax(true - false))
    below = edges[best + 1] if best + 1 < len(edges) else 0.0
    return float((min(edges[best], 1.0) + below) / 2)


def scores(
    probabilities: np.ndarray, targets: np.ndarray, task: TaskSpec, threshold: float | None = None
) -> dict[str, float]:
    """Accuracy and its relatives, AUC and average precision (macro and of each label), calibration.

    Args:
        probabilities: ``(N, K)``.
        targets: ``(N, K)`` one- or multi-hot.
        task: of the model.
        threshold: see :func:`decisions`.

    Returns:
        Metric to value, NaN where the cases do not allow it (a label that none or all of them have).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = targets > 0.5
    said = decisions(probabilities, task, threshold)
    found: dict[str, float] = {}
    one = task.kind == "multiclass" and len(task.labels) > 1
    if one:
        found["accuracy"] = float((said & truth).any(axis=1).mean())
    else:
        found["accuracy"] = float((said == truth).all(axis=1).mean())
    each: dict[str, list[float]] = {"auc": [], "average_precision": [], "sensitivity": [], "specificity": []}
    for k in range(truth.shape[1]):
        mixed = truth[:, k].any() and not truth[:, k].all()
        each["auc"].append(float(roc_auc_score(truth[:, k], probabilities[:, k])) if mixed else np.nan)
        each["average_precision"].append(
            float(average_precision_score(truth[:, k], probabilities[:, k])) if mixed else np.nan
        )
        each["sensitivity"].append(float(said[truth[:, k], k].mean()) if truth[:, k].any() else np.nan)
        each["specificity"].append(float((~said[~truth[:, k], k]).mean()) if not truth[:, k].all() else np.nan)
    found["balanced_accuracy"] = _mean(each["sensitivity"] if one else each["sensitivity"] + each["specificity"])
    for name in ("auc", "average_precision"):
        found[name] = _mean(each[name])
    for name, values in each.items():
        found |= {f"{name}_{label}": v for label, v in zip(task.labels, values, strict=True)}
    return found | calibration(probabilities, truth, task)


def calibration(probabilities: np.ndarray, truth: np.ndarray, task: TaskSpec) -> dict[str, float]:
    """Expected calibration error of the reported label (of every label in multi-label) and the Brier score (1950)."""
    if task.kind == "multiclass" and len(task.labels) > 1:
        best = probabilities.argmax(axis=1)
        reported, right = probabilities.max(axis=1), truth[np.arange(len(truth)), best]
    else:
        reported, right = probabilities.ravel(), truth.ravel()
    return {
        "ece": expected_calibration_error(reported, right.astype(float)),
        "brier": float(((probabilities - truth) ** 2).sum(axis=1).mean()),
    }


def trust_scores(
    sets: list[tuple[str, ...]] | None, abstained: np.ndarray, said: np.ndarray, truth: np.ndarray, task: TaskSpec
) -> dict[str, float]:
    """How often conformal sets hold the truth, how large they are, and what abstaining buys."""
    found: dict[str, float] = {}
    if sets is not None:
        names = [task.labels[int(t)] for t in truth.argmax(axis=1)]
        found["set_coverage"] = float(np.mean([name in s for name, s in zip(names, sets, strict=True)]))
        found["set_size"] = float(np.mean([len(s) for s in sets]))
    if abstained.any():
        found["abstained"] = float(abstained.mean())
        right = (said & truth).any(axis=1)
        found["accuracy_when_decided"] = float(right[~abstained].mean()) if (~abstained).any() else float("nan")
    return found


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
