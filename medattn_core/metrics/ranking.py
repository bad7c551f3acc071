"""What puts cases in order by a label, and how well that tells those with it from those without."""

from __future__ import annotations

import numpy as np

from medattn_core.tasks import TaskSpec


def mixed(truth: np.ndarray) -> np.ndarray:
    """``(K,)`` boolean: labels that some cases have and some lack, as an order of the cases needs to be measured.

    Args:
        truth: ``(N, K)`` boolean; ``(N,)`` of one label gives one answer.
    """
    return np.asarray(truth.any(axis=0) & ~truth.all(axis=0))


def ranking(outputs: np.ndarray, task: TaskSpec) -> np.ndarray:
    """What ranks cases by each label as their probabilities do, ``(N, K)``, and does not saturate as they do.

    Args:
        outputs: ``(N, K)`` logits.
        task: of the model. One logit of a softmax says nothing without the others: its log-odds do.
    """
    if task.activation != "softmax":
        return outputs
    exact = outputs.astype(np.float64)
    others = [np.logaddexp.reduce(np.delete(exact, label, axis=1), axis=1) for label in range(exact.shape[1])]
    return exact - np.stack(others, axis=1)


def macro_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean area under the ROC curve over the labels of which there are both kinds of cases; NaN if there is none.

    Args:
        scores: ``(N, K)``, of :func:`ranking`.
        targets: ``(N, K)``.
    """
    from sklearn.metrics import roc_auc_score

    truth = targets > 0.5
    areas = [roc_auc_score(truth[:, k], scores[:, k]) for k in np.flatnonzero(mixed(truth))]
    return float(np.mean(areas)) if areas else float("nan")
