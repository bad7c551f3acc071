"""Letters of pictures: those of DejaVu Sans where matplotlib brings it, else the few of Pillow's own font."""

from __future__ import annotations

import importlib.util
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from medattn_core.outputs.text import MINUS

FOUND_WITH_MATPLOTLIB = Path("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
"""A font of most scripts; it comes with the extra ``train``."""

SPELT = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "μ": "u",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
}  # fmt: skip
"""Letters that are no accented ones, in those of Pillow's own font; capitals alike."""

KEPT = "\N{DEGREE SIGN}\N{MIDDLE DOT}\N{PLUS-MINUS SIGN}"
"""What Pillow's own font has beside ASCII."""


@cache
def font_file() -> Path | None:
    """DejaVu Sans, which matplotlib brings; None without it. matplotlib itself is not loaded."""
    try:
        found = importlib.util.find_spec("matplotlib")
    except (ImportError, ValueError):  # half installed
        return None
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / FOUND_WITH_MATPLOTLIB
    return path if path.is_file() else None


@cache
def font(size: int) -> Any:
    """Pillow's font of a size in pixels."""
    from PIL import ImageFont

    path = font_file()
    return ImageFont.load_default(size=size) if path is None else ImageFont.truetype(str(path), size=size)


def drawable(text: str) -> str:
    """A text in letters that :func:`font` has; ``?`` for those that it has not (pages in HTML keep them)."""
    if font_file() is None:
        return in_ascii(text)
    return "".join(c if _has(c) else "?" for c in unicodedata.normalize("NFC", text))


def in_ascii(text: str) -> str:
    """A text in the letters of Pillow's own font: accents dropped, further Latin ones spelt, other scripts as ``?``."""
    text = text.replace(MINUS, "-").replace("\N{EN DASH}", "-")
    kept = [c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)]
    spelt = (SPELT[c] if c in SPELT else SPELT[c.lower()].capitalize() if c.lower() in SPELT else c for c in kept)
    return "".join(c if all(" " <= one <= "~" for one in c) or c in KEPT else "?" for c in spelt)


@cache
def _has(letter: str) -> bool:
    """Whether the font has a letter: others are all drawn as the same box. What breaks or steers lines is none."""
    if unicodedata.category(letter)[0] == "C" or unicodedata.category(letter) in ("Zl", "Zp"):
        return False
    one, box = font(20).getmask(letter), font(20).getmask("\uffff")
    return letter == " " or one.size != box.size or bytes(one) != bytes(box)
