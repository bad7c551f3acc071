"""The numbers of the colour scale, in pictures and pages."""

from __future__ import annotations

import pytest

from medattn_core.outputs.colour import Scale
from medattn_core.outputs.legend import Legend
from medattn_core.outputs.text import numbers


@pytest.mark.parametrize(
    ("limit", "power", "ticks", "visible"),
    [
        (1.5e-4, -4, ["\u22121.50", "\u22120.75", "0", "+0.75", "+1.50"], "0.3"),
        (1e-7, -7, ["\u22121.0", "\u22120.5", "0", "+0.5", "+1.0"], "0.2"),
        (0.008, -3, ["\u22128", "\u22124", "0", "+4", "+8"], "1.6"),
        (0.01, 0, ["\u22120.010", "\u22120.005", "0", "+0.005", "+0.010"], "0.002"),
        (0.3, 0, ["\u22120.30", "\u22120.15", "0", "+0.15", "+0.30"], "0.06"),
        (5.0, 0, ["\u22125.0", "\u22122.5", "0", "+2.5", "+5.0"], "1"),
        (5000.0, 0, ["\u22125000", "\u22122500", "0", "+2500", "+5000"], "1000"),
        (300_000.0, 5, ["\u22123.0", "\u22121.5", "0", "+1.5", "+3.0"], "0.6"),
    ],
)
def test_ticks_are_short_and_of_one_kind(limit: float, power: int, ticks: list[str], visible: str) -> None:
    legend = Legend.of(Scale(limit=limit, visible=limit / 5, unit="logit/pixel"))
    assert (legend.power, list(legend.ticks), legend.visible) == (power, ticks, visible)
    for tick, value in zip(legend.ticks, (-1, -0.5, 0, 0.5, 1), strict=True):
        assert float(tick.replace("\u2212", "-")) * 10.0**legend.power == pytest.approx(value * limit)


def test_numbers_that_stand_together_have_the_same_decimals() -> None:
    assert numbers([0.0, 1.5, -2.25]) == ["0", "1.50", "\u22122.25"]
