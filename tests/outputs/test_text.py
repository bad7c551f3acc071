"""Numbers and units as a reader wants them."""

from __future__ import annotations

import pytest

from medattn_core.outputs.text import decimals_of, pretty, terms


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("mm3", "mm\u00b3"),
        ("mm3/mL", "mm\u00b3/mL"),
        ("logit/cm2", "logit/cm\u00b2"),
        ("kg/m2", "kg/m\u00b2"),
        ("mL", "mL"),
        ("years", "years"),
        ("", ""),
        ("mm\u00b3", "mm\u00b3"),
        ("gram3", "gram3"),
    ],
)
def test_powers_of_lengths_are_raised(unit: str, shown: str) -> None:
    assert pretty(unit) == shown


def test_parts_of_a_sum_have_the_decimals_of_its_largest() -> None:
    values = (0.0, 292.13, -7.023e-7, 292.13)
    assert decimals_of(values) == 1
    assert terms(values, 1) == ["0", "292.1", "0", "292.1"]
    assert terms((12.5, -3.25), 2) == ["12.50", "3.25"]
    assert terms((100.0, 0.04), 1) == ["100.0", "0"]
    assert decimals_of((0.0, 0.0)) == 0
    assert decimals_of((3310.4, 1.0)) == 0
    assert terms((float("nan"),), 1) == ["not known"]
