"""What a model says: one label, several, or none of them; and thresholds chosen on validation cases.

One rule for every table, matrix and score, that of :meth:`medattn_core.tasks.TaskSpec.said`, which predictions follow
too; here other thresholds may take the place of the task's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.metrics.ranking import mixed
from medattn_core.tasks import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Thresholds of the decision; what is None was not chosen.

    Attributes:
        second: of two labels, the share of the second from which it is said.
        none: the probability of the most probable label below which none is said (one-against-the-rest outputs).
        each: of every label against the rest. In multi-label they decide; elsewhere only sensitivity and specificity
            are measured at them.
    """

    second: float | None = None
    none: float | None = None
    each: tuple[float | None, ...] | None = None

    @property
    def single(self) -> float | None:
        """The one number that decides, where it is one: two labels, or one."""
        if self.second is not None:
            return self.second
        return self.each[0] if self.each is not None and len(self.each) == 1 else None


def can_say_none(task: TaskSpec) -> bool:
    """Whether none of the labels is an answer: of the cases, where each is against the rest (sigmoid), or of the model,
    which says none below its threshold."""
    return task.kind != "regression" and (task.activation == "sigmoid" or task.threshold is not None)


def any_label(chosen: np.ndarray) -> np.ndarray:
    """``(N,)`` boolean: cases of which a ``(N, K)`` boolean names a label."""
    return np.asarray(chosen.any(axis=1))


def decisions(probabilities: np.ndarray, task: TaskSpec, rule: Rule | None = None) -> np.ndarray:
    """``(N, K)`` boolean: the labels that are said; a row without any says none of them.

    Args:
        probabilities: ``(N, K)``.
        task: of the model.
        rule: chosen thresholds; where one is missing, that of the task stands in.
    """
    rule = rule or Rule()
    if not task.takes_one:
        return task.said(probabilities, least=thresholds(task, rule))
    best = None
    if rule.second is not None and probabilities.shape[1] == 2:
        best = (_second(probabilities) >= rule.second).astype(int)
    return task.said(probabilities, best=best, least=rule.none)


def thresholds(task: TaskSpec, rule: Rule | None = None) -> np.ndarray:
    """``(K,)`` probabilities from which labels that are judged by themselves are said."""
    each = (rule.each if rule is not None else None) or (None,) * len(task.labels)
    return np.array([task.said_from if t is None else t for t in each])


def choose(probabilities: np.ndarray, targets: np.ndarray, task: TaskSpec) -> Rule:
    """Thresholds where sensitivity + specificity is highest (Youden 1950), on validation cases.

    Args:
        probabilities: ``(N, K)`` of cases that are measured nowhere else.
        targets: ``(N, K)`` one- or multi-hot.
        task: of the model.
    """
    truth = targets > 0.5
    each = tuple(_youden(probabilities[:, k], truth[:, k]) for k in range(truth.shape[1]))
    if not task.takes_one:
        return Rule(each=each)
    shown = any_label(truth)
    two = truth.shape[1] == 2
    return Rule(
        each=each,
        second=_youden(_second(probabilities)[shown], truth[shown, 1]) if two else None,
        none=_youden(probabilities.max(axis=1), shown) if can_say_none(task) else None,
    )


def _second(probabilities: np.ndarray) -> np.ndarray:
    """Share of the second of two labels; one-against-the-rest probabilities need not sum to one."""
    return probabilities[:, 1] / np.maximum(probabilities.sum(axis=1), 1e-12)


def _youden(score: np.ndarray, truth: np.ndarray) -> float | None:
    """Half way between the two scores that the best line lies between; None where all or none are true."""
    from sklearn.metrics import roc_curve

    if not mixed(truth):
        return None
    false, true, edges = roc_curve(truth, score, drop_intermediate=False)
    best = int(np.argmax(true - false))
    below = edges[best + 1] if best + 1 < len(edges) else 0.0
    return float((min(edges[best], 1.0) + below) / 2)
