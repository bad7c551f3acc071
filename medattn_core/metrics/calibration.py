"""How far given probabilities are from how often what they are of was so."""

from __future__ import annotations

import numpy as np

BINS = 15
"""Of the calibration errors. Another number gives other errors, so all that are stated have this one."""


def binned(probability: np.ndarray, bins: int) -> list[np.ndarray]:
    """Boolean ``(N,)`` of each equal-width bin of the probability that holds a case, from low to high.

    Args:
        probability: ``(N,)``, 0 to 1.
        bins: number of bins; each holds its lower edge, the last one also 1.
    """
    index = np.clip((probability * bins).astype(int), 0, bins - 1)
    each = [index == b for b in range(bins)]
    return [held for held in each if held.any()]


def expected_calibration_error(probability: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """ECE over equal-width bins of the reported probability (Naeini et al. 2015).

    Args:
        probability: ``(N,)`` of the reported label.
        correct: ``(N,)`` whether it was right.
        bins: number of bins.
    """
    gaps = [abs(probability[held].mean() - correct[held].mean()) * held.mean() for held in binned(probability, bins)]
    return float(sum(gaps))


def calibration_error_by_label(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the labels of the ECE of each label's probability (classwise ECE, Kull et al. 2019).

    Args:
        probabilities: ``(N, K)``.
        targets: ``(N, K)`` one- or multi-hot.
    """
    labels = zip(probabilities.T, targets.T, strict=True)
    return float(np.mean([expected_calibration_error(*one) for one in labels]))
