"""Tables that are opened in spreadsheets: texts that would be taken for formulas."""

from __future__ import annotations

import re

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and their full-width forms


def safe_text(text: str) -> str:
    """A text of one line that no spreadsheet takes for a formula: before = + - @ at its beginning is an apostrophe."""
    text = re.sub(r"[\t\r\n]+", " ", text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
