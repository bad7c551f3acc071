"""Accepted ranges of numbers: what settings are checked against, and what messages and docs/settings.md say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

SEEDS = 2**32 - 1
"""The highest seed that scikit-learn takes."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``; ``str()`` is for a person. What is no number lies in none.

    Attributes:
        low: the lowest, itself accepted unless ``above``.
        high: the highest, itself accepted unless ``below``; infinite for any finite number.
        above: whether ``low`` itself is refused.
        below: whether ``high`` itself is refused.
        off: whether ``low`` switches off what the number is of.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    off: bool = False

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        try:
            value = float(value)
        except OverflowError:  # a whole number that no float holds
            return False
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below or self.high == math.inf else value <= self.high
        return bool(over and under)

    def __str__(self) -> str:
        low, high = (str(int(end)) if float(end).is_integer() else f"{end:g}" for end in (self.low, self.finite))
        low += " (off)" if self.off else ""
        if self.high == math.inf:
            return f"above {low}" if self.above else f"{low} or more"
        if self.above:
            return f"above {low}, {'below' if self.below else 'up to'} {high}"
        return f"from {low} to below {high}" if self.below else f"{low} to {high}"

    @property
    def finite(self) -> float:
        """The highest end that is a number."""
        return self.low if self.high == math.inf else self.high
