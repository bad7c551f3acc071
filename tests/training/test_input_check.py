"""Limit and ranges of the input check: what is too small is found, and false alarms are as rare as stated."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.training import reliability
from medattn_core.training.data import TrainingData
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


def test_what_the_held_out_cases_lack_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of 1 and 3 mm train, and the held-out fold happens to be all of 1 mm."""
    rng = np.random.default_rng(0)
    thick, held_out = np.arange(120) % 2 == 1, (np.arange(120) % 2 == 0) & (np.arange(120) < 60)

    def draw(thick: np.ndarray) -> np.ndarray:
        return rng.normal(size=(len(thick), 4)) + np.where(thick, 5.0, -5.0)[:, None]

    features = draw(thick)
    monkeypatch.setattr(reliability, "features_of", lambda _, data: features[data.patients])
    empty = np.zeros((120, 1))
    data = TrainingData(
        images=empty, targets=empty, masks=empty, located=empty[:, 0], folds=empty[:, 0], patients=np.arange(120),
        statistics=tuple({"finest spacing (mm)": 3.0 if t else 1.0} for t in thick),
    )  # fmt: skip
    check = reliability.learn_input_check(None, data, held_out)  # type: ignore[arg-type]
    assert check is not None
    assert check.ranges["finest spacing (mm)"][1] >= 3.0
    for kind in (False, True):
        noticed = [check.notice(f, {"finest spacing (mm)": 3.0 if kind else 1.0}) for f in draw(np.full(200, kind))]
        assert np.mean([notice is not None for notice in noticed]) < 0.1
    assert check.notice(np.array([5.0, -5.0, 5.0, -5.0]), {}) is not None


def test_the_limit_of_the_input_check_is_that_of_new_cases() -> None:
    """What was trained on lies closer together."""
    rng = np.random.default_rng(0)
    new = np.arange(200) >= 100
    features = rng.normal(size=(200, 4)) * np.where(new, 1.0, 0.3)[:, None]
    check = fit_input_check(features, [], new=new)
    assert check.limit > 1.2 * fit_input_check(features, [], new=~new).limit
    assert np.mean([check.distance(f) > check.limit for f in rng.normal(size=(500, 4))]) < 0.05


def test_features_that_never_move_make_no_input_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that a wild learning rate has ended says the same of every scan; no scan is unlike the others then."""
    empty = np.zeros((40, 1))
    data = TrainingData(
        images=empty, targets=empty, masks=empty, located=empty[:, 0], folds=empty[:, 0], patients=np.arange(40),
        statistics=({},) * 40,
    )  # fmt: skip
    monkeypatch.setattr(reliability, "features_of", lambda network, data: np.zeros((len(data), 8)))
    assert reliability.learn_input_check(None, data, np.arange(40) % 2 == 0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [8, 200])
def test_the_limit_of_the_input_check_does_not_depend_on_the_order(features: int) -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 4)
    # Two machines alternate in the list: halves of even and odd places would each know one of them only.
    machine = np.where(np.arange(80) % 2 == 0, 4.0, -4.0)
    found = rng.normal(size=(80, features)) + machine[:, None]
    ordered = fit_input_check(found, [], groups=patients)
    shuffled = rng.permutation(80)
    mixed = fit_input_check(found[shuffled], [], groups=patients[shuffled])
    assert ordered.limit == pytest.approx(mixed.limit, rel=0.1)
    own = rng.normal(size=(200, features)) + np.where(np.arange(200) % 2 == 0, 4.0, -4.0)[:, None]
    assert np.mean([ordered.distance(one) > ordered.limit for one in own]) < 0.25
    assert ordered.distance(np.full(features, 40.0)) > ordered.limit
