"""Intervals: over patients, never of no width, around their own value."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.evaluation.bootstrap import FEWEST, _acceleration, _bca, intervals, wilson
from medattn_core.evaluation.measure import Stated, measured
from medattn_core.tasks import TaskSpec

TWO = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


def test_wilson() -> None:
    assert wilson(1.0, 10) == (pytest.approx(0.722, abs=1e-3), 1.0)
    assert wilson(0.5, 20) == (pytest.approx(0.299, abs=1e-3), pytest.approx(0.701, abs=1e-3))


def test_all_right_is_not_certain() -> None:
    """Twelve patients with four images each, all right: as twelve of twelve, not as forty-eight."""
    logits, truth = np.array([[2.0, 0.0], [0.0, 2.0]] * 24), np.eye(2)[[0, 1] * 24]
    patients = [f"p{i // 4}" for i in range(48)]
    found = measured(logits, truth, [Stated()] * 48, patients, TWO, samples=50)
    accuracy = found["classification"]["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == wilson(1.0, 12)
    assert "low" not in found["classification"]["auc"]  # no share, no spread: nothing to say
    assert found["intervals"] == {"patients": 12, "given": True, "fewest_patients": FEWEST}


def test_few_patients_have_no_interval() -> None:
    logits, truth = np.array([[2.0, 0.0], [0.0, 2.0]] * 24), np.eye(2)[[0, 1] * 24]
    found = measured(logits, truth, [Stated()] * 48, [f"p{i // 12}" for i in range(48)], TWO)
    assert "low" not in found["classification"]["accuracy"]
    assert found["intervals"]["given"] is False


def test_measured_draws_patients_and_not_images() -> None:
    rng = np.random.default_rng(0)
    wrong = np.repeat(rng.random(20) < 0.3, 10)
    truth = np.eye(2)[np.tile([0, 1], 100)]
    logits = np.where(wrong[:, None], 1 - truth, truth) * 3.0
    width = {}
    for name, patients in (("images", range(200)), ("patients", [i // 10 for i in range(200)])):
        found = measured(logits, truth, [Stated()] * 200, [str(p) for p in patients], TWO, samples=200)
        width[name] = found["classification"]["accuracy"]["high"] - found["classification"]["accuracy"]["low"]
    assert width["patients"] > 2 * width["images"]


def test_interval_holds_its_own_value() -> None:
    """Average precision of a rare label grows in samples with repeated cases: plain percentiles miss it."""
    rng = np.random.default_rng(3)
    truth = np.eye(3)[rng.choice(3, 60, p=[0.1, 0.3, 0.6])]
    logits = rng.normal(size=(60, 3)) + truth
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    found = measured(logits, truth, [Stated()] * 60, [str(i) for i in range(60)], task, samples=200)["classification"]
    for name, score in found.items():
        if "low" in score:
            assert score["low"] <= score["value"] <= score["high"], name


def test_how_frequent_a_label_is_varies_too() -> None:
    """Right in one label, wrong in the other: the accuracy is as uncertain as the share of each among the patients."""
    truth = np.eye(2)[[0] * 20 + [1] * 40]
    logits = np.tile([3.0, 0.0], (60, 1))
    found = measured(logits, truth, [Stated()] * 60, [str(i) for i in range(60)], TWO, samples=400)["classification"]
    low, high = wilson(1 / 3, 60)
    assert found["accuracy"]["low"] == pytest.approx(low, abs=0.03)
    assert found["accuracy"]["high"] == pytest.approx(high, abs=0.03)


@pytest.mark.parametrize(("positives", "given"), [(3, False), (9, False), (10, True)])
def test_what_compares_kinds_of_cases_needs_patients_of_each(positives: int, given: bool) -> None:
    """Three positives drawn again and again say nothing of a fourth; several images of a patient are one."""
    rng = np.random.default_rng(0)
    task = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=("a",), spatial_dims=2, spacing=(1, 1))
    truth = np.repeat(np.arange(50) < positives, 2)[:, None].astype(float)
    logits = truth + rng.normal(size=truth.shape)
    patients = [str(i // 2) for i in range(100)]
    found = measured(logits, truth, [Stated()] * 100, patients, task, samples=100)["classification"]
    for name in ("auc", "auc_a", "average_precision", "balanced_accuracy"):
        assert ("low" in found[name]) == given, name
    assert "low" in found["accuracy"]
    assert "low" in found["sensitivity_a"]  # Wilson's


def test_a_share_of_few_patients_has_wilsons_interval() -> None:
    has = np.arange(40) < 4
    hits = np.ones(40)
    hits[0] = 0
    found = intervals(lambda chosen: {"x": float(hits[chosen][has[chosen]].mean()) if has[chosen].any() else np.nan},
                      list(range(40)), shares={"x": has}, samples=50)["x"]  # fmt: skip
    assert (found["low"], found["high"]) == wilson(0.75, 4)


@pytest.mark.parametrize(("without", "given"), [(0, True), (2, False), (10, True)])
def test_none_of_the_labels_is_a_kind_of_case(without: int, given: bool) -> None:
    """Two cases without a label are a third of the balanced accuracy, and say as little as two of a label."""
    truth = np.eye(3)[[0] * 10 + [1] * 10 + [2] * without][:, :2]
    outputs = np.random.default_rng(0).normal(size=truth.shape) + 2 * truth - 1
    task = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", spatial_dims=2, spacing=(1, 1))
    patients = [str(i) for i in range(len(truth))]
    found = measured(outputs, truth, [Stated()] * len(truth), patients, task, samples=20)["classification"]
    assert ("low" in found["balanced_accuracy"]) == given


@pytest.mark.parametrize(("middle", "spread", "given"), [
    (0.038, 5e-9, False), (0.0, 1e-17, False), (3e6, 0.01, False), (0.038, 1e-5, True), (1e-9, 1e-10, True),
])  # fmt: skip
def test_rounding_is_no_spread(middle: float, spread: float, given: bool) -> None:
    """Measured by the size of the values: what is small in its unit is not rounding."""
    values = middle + spread * np.random.default_rng(0).normal(size=20)
    found = intervals(lambda chosen: {"x": float(values[chosen].mean())}, list(range(20)), samples=50)["x"]
    assert ("low" in found) == given


def test_draws_that_equal_the_value_count_half() -> None:
    """A metric that moves in steps: as many draws below as above, so the interval is as long on either side."""
    low, high = _bca(np.repeat([0.4, 0.5, 0.6], 100), 0.5, 0.0, 0.8)
    assert low + high == pytest.approx(1.0)


@pytest.mark.parametrize("acceleration", [-0.1, 0.1])
def test_the_ends_of_the_interval_are_those_of_efron(acceleration: float) -> None:
    """BCa (Efron 1987) where a third of the draws lie below the value: both ends move to the side of the tail."""
    from scipy.stats import norm

    drawn = np.arange(1, 30_001) / 30_000
    shift = norm.ppf(1 / 3)
    z = shift + norm.ppf([0.025, 0.975])
    ends = _bca(drawn, 1 / 3, acceleration, 0.95)
    assert ends == pytest.approx(norm.cdf(shift + z / (1 - acceleration * z)), abs=1e-3)
    middle = _bca(drawn, 1 / 3, 0.0, 0.95)
    assert all((end > other) == (acceleration > 0) for end, other in zip(ends, middle, strict=True))


def test_the_acceleration_is_that_of_the_skewness() -> None:
    """Of a mean: the skewness over 6 root n (Efron 1987, section 6)."""
    x = np.random.default_rng(0).lognormal(size=200)
    found = _acceleration(lambda rows: {"mean": float(x[rows].mean())}, [np.array([i]) for i in range(200)], ["mean"])
    gap = x - x.mean()
    assert found["mean"] > 0.01
    assert found["mean"] == pytest.approx((gap**3).sum() / (6 * (gap**2).sum() ** 1.5))


def test_calibration_errors_have_no_interval() -> None:
    """Drawing cases repeatedly makes them larger: the corrected interval collapsed onto the value."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(60, 3))
    truth = np.eye(3)[rng.integers(3, size=60)]
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    stated = [Stated(confidence=float(p)) for p in rng.random(60)]
    found = measured(logits, truth, stated, [str(i) for i in range(60)], task, samples=50)["classification"]
    for name in ("ece", "ece_by_label", "ece_confidence"):
        assert set(found[name]) == {"value"}, name
    assert "low" in found["brier"]
