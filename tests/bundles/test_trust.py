"""Rules and input check of a bundle: numbers that are none are refused, and what the shipped ones call too small."""

from __future__ import annotations

import pytest

from medattn_core.bundles import load, shipped_names
from medattn_core.bundles.trust import InputCheck, Trust
from medattn_core.errors import BundleError


@pytest.mark.parametrize("change", [
    {"limit": 10**400}, {"quantile": 10**400}, {"mean": [10**400]}, {"precision": [[10**400]]},
    {"ranges": {"extent (mm)": [0, 10**400]}},
])  # fmt: skip
def test_a_number_too_large_for_any_float_is_no_input_check(change: dict) -> None:
    data = {"mean": [0.0], "precision": [[1.0]], "limit": 1.0, "ranges": {}, "quantile": 0.99}
    with pytest.raises(BundleError, match=r"check\.json") as caught:
        InputCheck.from_dict(data | change, "check.json")
    assert caught.value.code == "bad_bundle"


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_bundle_warns_of_a_scan_that_is_nearly_empty(name: str) -> None:
    check = load(name).input_check
    assert check is not None
    assert all(low >= 0 for low, _ in check.ranges.values())
    middle = {key: (low + high) / 2 for key, (low, high) in check.ranges.items()}
    assert check.notice(check.mean, middle) is None
    said = check.notice(check.mean, middle | {"share of foreground": 1 / 64**3})
    assert said is not None
    assert "share of foreground is 3.81e-06" in said.message


def test_the_slices_that_the_rules_are_from_are_a_number_of_slices() -> None:
    assert Trust.from_calibration({"slices": 1}, "here").slices == 1
    assert Trust.from_calibration({}, "here").slices is None
    for wrong in (0, -1, 1.0, True, "1", [1]):
        with pytest.raises(BundleError, match="calibration slices") as caught:
            Trust.from_calibration({"slices": wrong}, "here")
        assert caught.value.code == "bad_bundle"


def test_a_probability_at_the_limit_is_in_the_set() -> None:
    assert Trust(coverage=0.9, quantile=0.25).label_set({"a": 0.75, "b": 0.25}) == ("a",)
