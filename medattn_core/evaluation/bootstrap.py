"""Intervals that know that the images of one patient are no independent cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Metrics = Mapping[str, float]


def intervals(
    measure: Callable[[np.ndarray], Metrics],
    groups: Sequence[object],
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Metrics of all cases with percentile intervals of a bootstrap over patients (Efron 1979; clusters are drawn).

    Args:
        measure: metrics of the cases that an index array selects; NaN where one cannot be computed.
        groups: patient of each case.
        samples: bootstrap samples; 0 gives no intervals.
        level: of the interval.
        seed: of the draws.

    Returns:
        For each metric ``value``, and ``low`` and ``high`` where at least half of the samples could be measured.
    """
    _, number = np.unique([str(g) for g in groups], return_inverse=True)
    members = [np.flatnonzero(number == g) for g in range(number.max() + 1)]
    found: dict[str, dict[str, float]] = {
        name: {"value": float(value)} for name, value in measure(np.arange(len(number))).items()
    }
    if samples <= 0 or len(members) < 2:
        return found
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(samples):
        chosen = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        for name, value in measure(chosen).items():
            if np.isfinite(value):
                drawn[name].append(float(value))
    tail = 100 * (1 - level) / 2
    for name, values in drawn.items():
        if 2 * len(values) >= samples:
            low, high = np.percentile(values, [tail, 100 - tail])
            found[name] |= {"low": float(low), "high": float(high)}
    return found
