"""The words of a colour scale, the same in pictures and pages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medattn_core.outputs.colour import Scale
from medattn_core.outputs.text import number, numbers

_SHORT = (0.01, 1e5)
"""Limits whose ticks are short as they are; others are counted in a power of ten, as on the axis of a plot."""


@dataclass(frozen=True, kw_only=True)
class Legend:
    """Numbers in :attr:`power`, and what they are of.

    Attributes:
        ticks: values of the colour bar, evenly spaced from against to for.
        visible: what is not coloured is weaker than this.
        unit: of the density.
        power: exponent of the power of ten that all numbers are multiplied with; 0 for none.
    """

    ticks: tuple[str, ...]
    visible: str
    unit: str
    power: int = 0

    @classmethod
    def of(cls, scale: Scale) -> Legend:
        """The words of a scale."""
        power = 0 if _SHORT[0] <= scale.limit < _SHORT[1] else math.floor(math.log10(scale.limit) + 1e-9)
        ticks = numbers([value / 10.0**power for value in scale.ticks()])
        signed = tuple(f"+{text}" if value > 0 else text for text, value in zip(ticks, scale.ticks(), strict=True))
        return cls(ticks=signed, visible=number(scale.visible / 10.0**power), unit=scale.unit, power=power)
