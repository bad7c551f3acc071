"""What is claimed of a result, and limits in words: nothing that was measured on scans of another kind."""

from __future__ import annotations

import pytest

from medattn_core.bundles.claims import UNMEASURED, Claims, apart, limits, percent_of, whole_volume
from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.errors import CODES, Notice
from medattn_core.tasks import TaskSpec

SLICES = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1.0, 1.0), slicewise=True)
EACH = TaskSpec(name="t", labels=("a", "b"), kind="multilabel", activation="sigmoid")


@pytest.mark.parametrize("code", UNMEASURED)
def test_a_warning_takes_back_every_claim_and_says_why(code: str) -> None:
    claims = Claims(label_set=("a",), interval=(1.0, 2.0), confidence=0.9, calibrated=True)
    assert claims.with_warnings([Notice("turned", "m")]) == claims
    assert claims.to_dict() == {"label_set": ["a"], "interval": [1.0, 2.0], "confidence": 0.9, "calibrated": True}
    left = claims.with_warnings([Notice("turned", "m"), Notice(code, "m")])
    assert left.to_dict() == {"label_set": None, "interval": None, "confidence": None, "calibrated": False}
    assert left.unmeasured == {code: UNMEASURED[code]}
    # An empty set is a claim as well; without a rule there is nothing to take back.
    assert Claims(label_set=()).with_warnings([Notice(code, "m")]).unmeasured
    nothing = Claims().with_warnings([Notice(code, "m")])
    assert not nothing.unmeasured
    assert nothing.calibrated is None


def test_every_reason_is_a_warning_that_scans_can_have() -> None:
    assert set(UNMEASURED) <= set(CODES)


@pytest.mark.parametrize(
    ("task", "measured_on", "slices", "warned"),
    [(SLICES, 1, 2, True), (SLICES, 1, 1, False), (SLICES, 4, 9, False), (SLICES, None, 9, False), (EACH, 1, 9, False)],
)
def test_a_whole_volume_is_warned_of_where_single_slices_were_measured(
    task: TaskSpec, measured_on: int | None, slices: int, *, warned: bool
) -> None:
    notice = whole_volume(task, Trust(slices=measured_on), slices)
    assert (notice is not None and notice.code == "whole_volume") == warned


def test_one_limit_decides_where_one_label_is_said() -> None:
    """The rule to abstain, the threshold, or the higher of both: below either there is no decision."""
    asked = TaskSpec(name="t", labels=("a", "b"), threshold=0.5)
    assert limits(asked, Trust()) == dict.fromkeys("ab", (0.0, 0.5))
    assert limits(asked, Trust(abstain_below=0.9)) == dict.fromkeys("ab", (0.0, 0.9))
    assert limits(asked, Trust(abstain_below=0.3)) == dict.fromkeys("ab", (0.0, 0.5))
    assert limits(TaskSpec(name="t", labels=("a", "b")), Trust()) == {}
    value = TaskSpec(name="t", labels=("v",), kind="regression", activation="identity", threshold=1.0)
    assert limits(value, Trust(half_width=1.0)) == {}


@pytest.mark.parametrize("present_from", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("absent_to", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("said_from", [0.3624, 0.5])
def test_between_the_limits_a_label_is_undecided_and_beyond_them_never(
    present_from: float, absent_to: float, said_from: float
) -> None:
    rule = Undecided(present_from=present_from, absent_to=absent_to)
    open_ = [p for p in (i / 1000 for i in range(1001)) if rule.side(p, said_from) is None]
    task = TaskSpec(name="t", labels=("a", "b"), kind="multilabel", activation="sigmoid", threshold=said_from)
    found = limits(task, Trust(coverage=0.9, undecided={"b": rule, "gone": rule}))
    if not open_:
        assert found == {}
        return
    low, high = found["b"]
    assert list(found) == ["b"]
    assert (low, high) == pytest.approx((open_[0], open_[-1]), abs=1.1e-3)


def test_percent_of_a_limit() -> None:
    shown = [percent_of(x) for x in (0.3624, 0.5, 0.0, 1.0, 0.0004, 0.99996, 0.91586)]
    assert shown == ["36.2 %", "50 %", "0 %", "100 %", "0.04 %", "99.996 %", "91.6 %"]


@pytest.mark.parametrize(
    ("probability", "limit", "said"),
    [
        (0.902, 0.91586, ("90.2 %", "91.6 %")),
        (0.45, 0.5, ("45.0 %", "50 %")),
        (0.9158, 0.91586, ("91.58 %", "91.59 %")),
        (0.0, 0.5, ("< 0.1 %", "50 %")),
    ],
)
def test_a_probability_and_the_limit_that_it_misses_differ(
    probability: float, limit: float, said: tuple[str, str]
) -> None:
    assert apart(probability, limit) == said
