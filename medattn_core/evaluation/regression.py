"""Scores of predicted quantities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def scores(
    values: np.ndarray, targets: np.ndarray, intervals: Sequence[tuple[float, float]] | None = None
) -> dict[str, float]:
    """Mean absolute error, root mean square error, mean error (unit of the target), R2, coverage of the intervals.

    Args:
        values, targets: ``(N,)``.
        intervals: of each case, where the model states them.
    """
    error = values - targets
    gaps = targets - targets.mean()
    differ = np.abs(gaps).max() > 1e-6 * np.abs(targets).max()  # by more than their rounding
    found = {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "mean_error": float(error.mean()),
        "r2": 1 - float((error**2).sum()) / float((gaps**2).sum()) if differ else float("nan"),
        "mae_of_the_mean": float(np.abs(gaps).mean()),
    }
    if intervals is not None:
        inside = [low <= t <= high for (low, high), t in zip(intervals, targets, strict=True)]
        found["interval_coverage"] = float(np.mean(inside))
    return found
