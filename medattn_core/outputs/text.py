"""Numbers and positions as a reader of a report wants them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

MINUS = "\N{MINUS SIGN}"
_AXES = (("R", "L"), ("A", "P"), ("S", "I"))


def percent(probability: float) -> str:
    """``"93.4 %"``; never a false certainty: ``"> 99.9 %"``, ``"< 0.1 %"``."""
    if not math.isfinite(probability):
        return "not known"
    if probability > 0.9995:
        return "> 99.9 %"
    if probability < 0.0005:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def none_of(labels: Sequence[str]) -> str:
    """That none of the labels is there: ``"no aneurysm"``, or ``"none of the labels"`` of several."""
    return f"no {labels[0]}" if len(labels) == 1 else "none of the labels"


def number(value: float, digits: int = 3) -> str:
    """Significant digits, no trailing zeros, no exponent for everyday sizes: ``0.0123``, ``4.5``, ``3310``."""
    if not math.isfinite(value):
        return "not known"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 6:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    text = f"{value:.{max(0, digits - 1 - size)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def numbers(values: Sequence[float]) -> list[str]:
    """Several numbers of one size with as many decimals as the finest of them needs: ``0.30``, ``0.15``; zero is 0."""
    texts = [number(value) for value in values]
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return ["0" if value == 0 else f"{value:.{decimals}f}".replace("-", MINUS) for value in values]


def signed(value: float, digits: int = 2) -> str:
    """Fixed decimals with a sign (a true minus): ``"+2.31"``, ``"-0.40"``; zero has none."""
    if not math.isfinite(value):
        return "not known"
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", MINUS)


def terms(values: Sequence[float], decimals: int) -> list[str]:
    """Parts of one sum without their signs, all to the same decimals: one that rounds to nothing there is ``"0"``."""
    texts = [f"{abs(value):.{decimals}f}" if math.isfinite(value) else "not known" for value in values]
    return ["0" if text.strip("0.") == "" else text for text in texts]


def decimals_of(values: Sequence[float], digits: int = 4) -> int:
    """Decimals with which the largest of several numbers has so many significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return max(0, digits - 1 - math.floor(math.log10(largest))) if largest > 0 else 0


def pretty(unit: str) -> str:
    """A unit with its powers raised, for pages: ``"mm3/mL"`` -> ``"mm³/mL"``. Files keep what the task says."""
    raised = {"2": "\N{SUPERSCRIPT TWO}", "3": "\N{SUPERSCRIPT THREE}"}
    return re.sub(r"\b([cdkmnu\u00b5\u03bc]?m)([23])\b", lambda found: found[1] + raised[found[2]], unit)


def letter_mm(world: float, axis: int) -> str:
    """One world coordinate with the letter of its side: axis 0, ``-12.3`` -> ``"L 12.3"``."""
    return f"{_AXES[axis][0 if world >= 0 else 1]} {abs(world):.1f}"


def position_mm(world: Sequence[float] | np.ndarray) -> str:
    """A RAS position in mm: ``"R 23.1, P 4.0, S 12.5"``."""
    return ", ".join(letter_mm(float(world[axis]), axis) for axis in range(3))


def volume_ml(mm3: float) -> str:
    """A volume in millilitres with three digits, ``"12.4"``."""
    return number(mm3 / 1000.0)
