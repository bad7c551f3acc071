"""The intensity rule of a task: statistics of the image itself to network input."""

from __future__ import annotations

import numpy as np

from medattn_core.tasks import IntensityRule


def apply_intensity(image: np.ndarray, inside: np.ndarray, rule: IntensityRule) -> np.ndarray:
    """Normalise a conformed image.

    Args:
        image: ``(H, W, D)`` float32 on the model grid.
        inside: boolean, same shape: pixels that belong to the scan; the others become zero.
        rule: the rule.

    Returns:
        float32, same shape.
    """
    if not inside.any():  # a channel that lies beside what the model sees
        return np.zeros(image.shape, np.float32)
    if rule.rule == "window":
        low, high = rule.lower, rule.upper
        result = np.clip((image - low) / (high - low), 0.0, 1.0)
    elif rule.rule == "percentile":
        low, high = np.percentile(image[inside], [rule.lower, rule.upper])
        result = np.clip((image - low) / max(float(high - low), 1e-12), 0.0, 1.0)
    else:
        values = image[inside]
        foreground = values[values > rule.lower * np.percentile(values, 99.5)]
        mean = float(foreground.mean(dtype=np.float64)) if foreground.size else 0.0
        result = np.clip(image.astype(np.float64) / (mean if mean > 0 else 1.0), 0.0, rule.upper)
    return np.where(inside, result, 0.0).astype(np.float32)
