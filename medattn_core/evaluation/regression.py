"""Scores of predicted quantities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medattn_core.metrics.regression import regression_metrics


def scores(
    values: np.ndarray, targets: np.ndarray, intervals: Sequence[tuple[float, float]] | None = None
) -> dict[str, float]:
    """Mean absolute error, root mean square error, mean error (unit of the target), R2, coverage of the intervals.

    Args:
        values, targets: ``(N,)``.
        intervals: of each case, where the model states them.
    """
    error = values - targets
    usual = regression_metrics(values, targets)
    found = {
        "mae": usual["mae"],
        "rmse": float(np.sqrt((error**2).mean())),
        "mean_error": float(error.mean()),
        "r2": usual.get("r2", float("nan")),
        "mae_of_the_mean": float(np.abs(targets - targets.mean()).mean()),
    }
    if intervals is not None:
        inside = [low <= t <= high for (low, high), t in zip(intervals, targets, strict=True)]
        found["interval_coverage"] = float(np.mean(inside))
    return found
