"""Learn what the training scans are like, so that a scan of another kind is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medattn_core.bundles.trust import InputCheck

MARGIN = 0.25
"""Ranges of the statistics are widened by this share of themselves on both sides."""


def fit_input_check(
    features: np.ndarray, statistics: Sequence[Mapping[str, float]], quantile: float = 0.99
) -> InputCheck:
    """Distance in feature space and ranges of intensity and geometry.

    Mean and shrunk covariance (Ledoit and Wolf 2004) of the feature vectors; the limit is a quantile of the distances.
    Half of the scans give mean and covariance for the other half's distances, and the other way round: the distances
    of the scans a covariance was made of are too small.

    Args:
        features: ``(N, F)`` of :func:`medattn_core.networks.attention.attended_features`, best of held-out scans.
        statistics: of each scan, see :func:`medattn_core.transforms.statistics.image_statistics`.
        quantile: share of the scans within the limit.
    """
    from sklearn.covariance import LedoitWolf

    features = np.asarray(features, np.float64)
    halves = np.arange(len(features)) % 2 == 0
    distances = np.empty(len(features))
    if min(halves.sum(), (~halves).sum()) >= 2:
        for half in (halves, ~halves):
            model = LedoitWolf().fit(features[half])
            distances[~half] = np.sqrt(model.mahalanobis(features[~half]))
    model = LedoitWolf().fit(features)
    if not np.isfinite(distances).all() or len(features) < 4:
        distances = np.sqrt(model.mahalanobis(features))
    return InputCheck(
        mean=model.location_,
        precision=model.precision_,
        limit=float(np.quantile(distances, quantile)),
        ranges=_ranges(statistics),
        quantile=quantile,
    )


def _ranges(statistics: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest of each statistic that every scan has, widened."""
    names = set(statistics[0]).intersection(*statistics[1:]) if statistics else set()
    found = {}
    for name in sorted(names):
        values = [float(s[name]) for s in statistics]
        low, high = min(values), max(values)
        margin = MARGIN * max(high - low, abs(high), abs(low))
        found[name] = (low - margin, high + margin)
    return found
