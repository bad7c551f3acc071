"""One entry of a data list, from whichever file: the names it may use, and what an empty value is."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from medattn_core.datalists.case import BOX_COLUMNS

BOX = "box"
"""Key of JSON that holds the four numbers of a box; they may have their keys each, as in CSV."""

NOTHING = ("nan", "NaN", "NAN", "-nan", "<NA>", "NaT", "#N/A", "#NA")
"""How programs write an empty cell, which is neither a label nor a patient. `NA`, `None` and `null` may be one."""

_FILES = ("image", "mask")


def check_names(names: Collection[str], known: Collection[str], what: str) -> None:
    """Refuse a name that is nearly a known one: a misspelt one would be a truth or a patient lost in silence.

    Other names are accepted and left alone, and so is one beside the known name that it is near to.

    Args:
        names: of the columns or keys.
        known: names that have a meaning.
        what: ``"column"`` or ``"key"``, for the message.

    Raises:
        ValueError: the message lacks only the place.
    """
    for name in names:
        # Folded, as `Label` and `IMAGE` differ from the known names by their case alone.
        near = [] if name in known else difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.8)
        if near and near[0] not in names:
            raise ValueError(f"{what} {name!r} is not known; is {near[0]!r} meant? Names are written as here")


def tidy(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry without empty values, text stripped and the columns of the box as one ``box``.

    Paths are left as they are: a file name may begin or end with a space.

    Raises:
        ValueError: part of a box; the message lacks only the place.
    """
    row = {
        key: value.strip() if isinstance(value, str) and key not in _FILES else value
        for key, value in entry.items()
        if not is_empty(value)
    }
    if isinstance(row.get(BOX), list) and row[BOX] and all(map(is_empty, row[BOX])):
        del row[BOX]
    sides = [name for name in BOX_COLUMNS if name in row]
    if sides and BOX in row:
        raise ValueError(f"both {BOX} and {sides[0]}; give one of them")
    if sides and len(sides) < len(BOX_COLUMNS):
        missing = next(name for name in BOX_COLUMNS if name not in row)
        raise ValueError(f"the box has no {missing}; give {', '.join(BOX_COLUMNS)} or none of them")
    if sides:
        row[BOX] = [row.pop(name) for name in BOX_COLUMNS]
    return row


def without_nothing(entry: Mapping[str, Any], names: Collection[str] | None) -> dict[str, Any]:
    """A tidy entry without a label or patient that is one of :data:`NOTHING`.

    Args:
        entry: see :func:`tidy`.
        names: accepted labels; one that is called so is a label.
    """
    kept = {"label": names or (), "patient": ()}
    return {
        key: value
        for key, value in entry.items()
        if key not in kept or not isinstance(value, str) or value not in NOTHING or value in kept[key]
    }


def is_empty(value: Any) -> bool:
    """Whether a value says nothing, as an empty cell of CSV: null, blank text, or the NaN that pandas writes."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())
