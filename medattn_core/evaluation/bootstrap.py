"""Intervals that know that the images of one patient are no independent cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import numpy as np

Metrics = Mapping[str, float]

FEWEST = 10
"""Patients below which no interval is given: so few say nothing of the spread among others."""

BINNED = ("ece", "ece_by_label", "ece_confidence")
"""Without an interval: cases that are drawn repeatedly make the gap of a bin larger, so the draws lie above the value,
and an interval that is corrected for it has next to no width."""

ROUNDING = 1e-6
"""Spread, as a share of the largest value that was drawn, up to which values differ by rounding only."""

JACKKNIFE = 500
"""Patients up to which the skewness is estimated; with more of them it hardly moves an interval."""


def intervals(
    measure: Callable[[np.ndarray], Metrics],
    groups: Sequence[object],
    *,
    shares: Mapping[str, np.ndarray] | None = None,
    needs: Mapping[str, Sequence[np.ndarray]] | None = None,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Metrics of all cases with intervals of a bootstrap over patients.

    Whole patients are drawn (Efron 1979), whatever they have: how frequent a label is among others is not known either,
    and with the frequencies of the list held fixed intervals of what mixes labels would be too narrow. The ends are
    bias-corrected and accelerated (BCa, Efron 1987): average precision grows with repeated cases, and plain percentiles
    can miss the very value they belong to. Where the bootstrap has no spread (all right, or all wrong) or a share rests
    on few patients, a share has Wilson's interval (1927) with the patients as the count; for other metrics there is
    none then. Calibration errors (:data:`BINNED`) never have one.

    Args:
        measure: metrics of the cases that an index array selects; NaN where one cannot be computed.
        groups: patient of each case.
        shares: name of each metric that is a share of cases, to the ``(N,)`` boolean of the cases it is a share of.
        needs: name of each metric that compares kinds of cases (those with a label and those without), to the ``(N,)``
            booleans of these: with fewer than :data:`FEWEST` patients of one of them there is no interval.
        samples: bootstrap samples; 0 gives no intervals.
        level: of the interval.
        seed: of the draws.

    Returns:
        For each metric ``value``, and ``low`` and ``high`` where at least :data:`FEWEST` patients are there and at
        least half of the samples could be measured.
    """
    _, number = np.unique([str(g) for g in groups], return_inverse=True)
    members = [np.flatnonzero(number == g) for g in range(number.max() + 1)]
    found: dict[str, dict[str, float]] = {
        name: {"value": float(value)} for name, value in measure(np.arange(len(number))).items()
    }
    if samples <= 0 or len(members) < FEWEST:
        return found
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(samples):
        chosen = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        for name, value in measure(chosen).items():
            if name in drawn and np.isfinite(value):
                drawn[name].append(float(value))
    acceleration = _acceleration(measure, members, list(found))
    for name, values in drawn.items():
        value = found[name]["value"]
        kinds = () if needs is None else needs.get(name, ())
        if name in BINNED or not np.isfinite(value) or any(len(np.unique(number[kind])) < FEWEST for kind in kinds):
            continue
        patients = None
        if shares is not None and name in shares:
            patients = len(np.unique(number[shares[name]]))
        spread = _spreads(values)
        if patients is not None and patients > 0 and (patients < FEWEST or not spread):
            low, high = wilson(value, patients, level)
        elif 2 * len(values) >= samples and spread:
            low, high = _bca(np.array(values), value, acceleration[name], level)
        else:
            continue
        found[name] |= {"low": low, "high": high}
    return found


def _spreads(values: Sequence[float]) -> bool:
    """Whether values differ by more than rounding does: of what they are made of (around zero), and of themselves."""
    return bool(values) and float(np.ptp(values)) > max(1e-12, ROUNDING * float(np.abs(values).max()))


def wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of ``count`` independent cases (Wilson 1927): never of no width."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)))
    # Rounding must not leave the share outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def _acceleration(
    measure: Callable[[np.ndarray], Metrics], members: Sequence[np.ndarray], names: Sequence[str]
) -> dict[str, float]:
    """Skewness of each metric when one patient is left out (the `a` of BCa)."""
    if len(members) > JACKKNIFE:
        return dict.fromkeys(names, 0.0)
    left = [measure(np.concatenate([*members[:g], *members[g + 1 :]])) for g in range(len(members))]
    result = {}
    for name in names:
        values = np.array([one.get(name, np.nan) for one in left])
        gap = np.nanmean(values) - values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
        spread = float((gap**2).sum()) ** 1.5
        result[name] = float((gap**3).sum()) / (6 * spread) if spread > 0 else 0.0
    return result


def _bca(drawn: np.ndarray, value: float, acceleration: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2  # ties count half: many metrics are steps
    shift = normal.inv_cdf(float(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn))))
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = shift + normal.inv_cdf(tail)
        ends.append(normal.cdf(shift + z / (1 - acceleration * z)))
    low, high = np.quantile(drawn, ends)
    # With a strong bias even corrected ends can miss the value by a step.
    return min(float(low), value), max(float(high), value)
