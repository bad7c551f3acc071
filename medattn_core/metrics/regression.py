"""Scores of predicted quantities that bundles state."""

from __future__ import annotations

import numpy as np


def regression_metrics(values: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean absolute error, and R2 where the true values differ at all (by more than their rounding), ``(N,)`` each."""
    residuals, gaps = values - truth, truth - truth.mean()
    found = {"mae": float(np.abs(residuals).mean())}
    if np.abs(gaps).max() > 1e-6 * np.abs(truth).max():
        found["r2"] = 1 - float((residuals**2).sum()) / float((gaps**2).sum())
    return found
