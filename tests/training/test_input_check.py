"""Limit and ranges of the input check: what is too small is found, and false alarms are as rare as stated."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.training.input_check import MARGIN, fit_input_check

FEATURES = np.random.default_rng(0).normal(size=(40, 4))


def ranges(name: str, *values: float) -> tuple[float, float]:
    return fit_input_check(FEATURES, [{name: value} for value in values]).ranges[name]


def test_what_is_never_negative_can_be_too_small() -> None:
    """A vessel fills 0.0003 to 0.07 of its cube; the margin of the higher end is none for the lower."""
    low, high = ranges("share of foreground", 0.0003, 0.02, 0.07)
    assert (low, high) == pytest.approx((0.0003 / (1 + MARGIN), 0.07 * (1 + MARGIN)))
    check = fit_input_check(FEATURES, [{"share of foreground": value} for value in (0.0003, 0.07)])
    said = check.notice(FEATURES.mean(axis=0), {"share of foreground": 1 / 64**3})
    assert said is not None
    assert "share of foreground" in said.message
    assert check.notice(FEATURES.mean(axis=0), {"share of foreground": 0.00027}) is None


def test_a_share_is_at_most_one_and_what_may_be_negative_has_the_margin_of_its_size() -> None:
    assert ranges("share of foreground of channel 2", 0.5, 0.9)[1] == 1.0
    assert ranges("extent (mm)", 50.0, 90.0) == pytest.approx((40.0, 112.5))
    assert ranges("mean", -1.0, 3.0) == pytest.approx((-2.0, 4.0))
    assert ranges("spread of intensity", 0.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize(("cases", "held_out", "features"), [(100, 20, 64), (400, 40, 64), (1000, 200, 32)])
def test_new_scans_pass_the_limit_as_often_as_stated(cases: int, held_out: int, features: int) -> None:
    """One in a hundred; the largest of twenty alone would be passed by five in a hundred."""
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(12):
        mixing = rng.normal(size=(features, features)) / 8
        new = np.arange(cases) < held_out
        check = fit_input_check(rng.normal(size=(cases, features)) @ mixing, [], new=new)
        scans = rng.normal(size=(200, features)) @ mixing
        alarms.append(np.mean([check.distance(scan) > check.limit for scan in scans]))
        assert check.distance(5 * scans[0]) > check.limit
    assert np.mean(alarms) < 0.018


def test_the_limit_is_that_of_the_conformal_rank() -> None:
    """Of 199 scans the 198th; the quantile of 200 * 0.99 is not rounded up to the 199th by floating point."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 3))
    few = fit_input_check(features, [], new=np.arange(600) < 199, groups=np.zeros(600, int))  # all by the whole
    distances = np.sort([few.distance(one) for one in features[:199]])
    assert few.limit == pytest.approx(distances[197])
