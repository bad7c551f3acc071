"""What single values are, wherever they are checked: numbers, commas in place of points, texts that MONAI would run.

No errors are raised here: what arguments and the lists of a task have to be is in :mod:`medattn_core.arguments` and
:mod:`medattn_core.tasks`.
"""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import Any

PLAIN = "write it without $, @ or % in front (percent for %), and without $ and @ together"
"""What to do where :func:`would_be_code`."""

COMMA = " (a comma between digits? write the decimal point as '.')"


def would_be_code(text: str) -> bool:
    """Whether MONAI would evaluate or look up a text that stood in a configuration, instead of taking it as data.

    A guard of data, and so wider than two other rules: ``@`` names another value of a configuration, and what that one
    runs is found at its own place (:mod:`medattn_core.interop.code`); and MONAI looks at the first character alone,
    without blanks, which is what foretells the objects that it makes (:mod:`medattn_core.interop.workflow`).
    """
    return text.lstrip().startswith(("$", "@", "%")) or ("@" in text and "$" in text)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold, numpy's too; true and false are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def is_json_number(value: Any) -> bool:
    """Whether a value is a finite number as JSON has them: what is stored as it is given."""
    return isinstance(value, (int, float)) and is_number(value)


def comma_hint(key: Any) -> str:
    """What to add to a message about an unknown key that is a number, or a text that begins as one; else nothing.

    Of ``{learning_rate: 0,001}`` YAML makes two keys, ``learning_rate`` and 1.
    """
    number = is_number(key) or (isinstance(key, str) and re.fullmatch(r"\d+([eE][+-]?\d+)?", key))
    return COMMA if number else ""


def comma_hint_of(value: Any) -> str:
    """What to add to a message about a value where a number is needed: nothing, unless a comma is in its way.

    Of ``learning_rate: 0,001`` on a line of its own YAML makes a text. Of lists any item is looked at.
    """
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(comma_hint_of, value)), "")
    text = isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*", value)
    return COMMA if text else ""
