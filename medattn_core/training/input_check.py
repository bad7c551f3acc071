"""Learn what the training scans are like, so that a scan of another kind is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from medattn_core.bundles.trust import InputCheck

MARGIN = 0.25
"""Ranges of the statistics are widened by this share of themselves on both sides."""

SHARE = "share of"
"""How the names of the statistics begin that are at most one."""

SPLITS = 11
"""Random draws of the halves that measure each other."""


def fit_input_check(
    features: np.ndarray,
    statistics: Sequence[Mapping[str, float]],
    quantile: float = 0.99,
    groups: np.ndarray | None = None,
    new: np.ndarray | None = None,
) -> InputCheck:
    """Distance in feature space and ranges of intensity and geometry.

    Mean and covariance of all feature vectors, each feature in its own standard deviations and the correlations shrunk
    (Ledoit and Wolf 2004); with fewer than two scans a feature the diagonal alone: in directions that so few scans do
    not span, the shrunk matrix of half of them and that of all are not of one scale. The limit is a
    quantile of the distances of scans that neither the network nor the covariance was made of, as they are larger:
    of the scans in ``new``, those of half of the patients, drawn at random, are measured by all other scans, and the
    other way round. The median over :data:`SPLITS` such draws depends neither on the order of the list nor on one
    lucky draw.

    Args:
        features: ``(N, F)`` of :func:`medattn_core.networks.attention.attended_features`.
        statistics: of each scan, see :func:`medattn_core.transforms.statistics.image_statistics`.
        quantile: share of the scans within the limit.
        groups: ``(N,)`` number of the patient of each scan; each by itself by default.
        new: ``(N,)`` whether the network has not been trained on a scan: the limit comes from these. All by default.
    """
    features = np.asarray(features, np.float64)
    groups = np.arange(len(features)) if groups is None else np.asarray(groups)
    new = np.ones(len(features), bool) if new is None else np.asarray(new, bool)
    patients = np.unique(groups[new])
    diagonal = len(features) < 2 * features.shape[1]
    mean, precision = _gaussian(features, diagonal)
    rng = np.random.default_rng(0)
    measured = []
    for _ in range(SPLITS if len(patients) >= 4 else 0):
        half = np.isin(groups, rng.permutation(patients)[: len(patients) // 2])
        parts = half & new, ~half & new
        if min(part.sum() for part in parts) < 2:
            continue
        distances = np.empty(len(features))
        for part in parts:
            distances[part] = _distances(features[part], *_gaussian(features[~part], diagonal))
        measured.append(distances[new])
    distances = np.median(measured, axis=0) if measured else _distances(features[new], mean, precision)
    return InputCheck(
        mean=mean,
        precision=precision,
        limit=_limit(distances, quantile),
        ranges=_ranges(statistics),
        quantile=quantile,
    )


def _gaussian(features: np.ndarray, diagonal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse covariance, shrunk."""
    from sklearn.covariance import LedoitWolf

    spread = features.std(axis=0)
    # A feature that never moved in these scans says nothing about others: it counts as the usual one.
    spread = np.maximum(spread, 1e-3 * max(float(np.median(spread)), 1e-12))
    if diagonal:
        return features.mean(axis=0), np.diag(1 / spread**2)
    model = LedoitWolf().fit(features / spread)
    return model.location_ * spread, model.precision_ / np.outer(spread, spread)


def _distances(features: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Mahalanobis distances ``(N,)``."""
    gap = features - mean
    return cast(np.ndarray, np.sqrt(np.maximum(0.0, ((gap @ precision) * gap).sum(axis=1))))


def _limit(distances: np.ndarray, quantile: float) -> float:
    """Distance that a further scan stays within with probability ``quantile``, from those of ``(N,)`` held-out ones.

    The ``ceil((N + 1) * quantile)``-th smallest, the conformal rank (Vovk 2005): the plain quantile of N scans is
    passed more often by the next. Fewer than 99 scans have no such rank at 0.99, and their largest is passed by one
    scan in N + 1. There the limit is at least the upper end of the prediction interval for one further observation
    (Student's t, N - 1 degrees of freedom) of the cube root of the squared distance: the cube root of a chi-square
    variable, as which the squared distances of normal features are spread, is nearly normal (Wilson and Hilferty 1931).
    """
    from scipy.stats import t

    count, largest = len(distances), float(distances.max())
    rank = int(np.ceil((count + 1) * quantile - 1e-9))
    if rank <= count:
        return float(np.sort(distances)[rank - 1])
    roots = distances ** (2 / 3)
    if count < 2:
        return largest
    end = roots.mean() + t.ppf(quantile, count - 1) * roots.std(ddof=1) * np.sqrt(1 + 1 / count)
    return max(largest, float(end**1.5))


def _ranges(statistics: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest of each statistic that every scan has, widened.

    What is never negative is widened by a factor, so that each end has a margin of its own: taken off the lower end, a
    share of the higher one would leave it below zero, and nothing could ever be too small.
    """
    names = set(statistics[0]).intersection(*statistics[1:]) if statistics else set()
    found = {}
    for name in sorted(names):
        values = [float(s[name]) for s in statistics]
        low, high = min(values), max(values)
        if low >= 0:
            found[name] = low / (1 + MARGIN), high * (1 + MARGIN)
            if name.startswith(SHARE):
                found[name] = found[name][0], min(found[name][1], 1.0)
            continue
        margin = MARGIN * max(high - low, abs(high), abs(low))
        found[name] = (low - margin, high + margin)
    return found
