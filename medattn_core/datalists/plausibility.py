"""What is allowed in a list and probably not meant, as far as the list alone tells: check and training say the same."""

from __future__ import annotations

from collections.abc import Sequence

from medattn_core.datalists.case import NO_LABEL, Case, label_names
from medattn_core.datalists.patients import person_of, spelt_alike
from medattn_core.errors import Notice

DOUBTFUL = ("na", "n/a", "none", "null", "nan")
"""Names, in small letters, that may mean that nothing is known, and may be a class or somebody's initials."""


def slips(cases: Sequence[Case]) -> list[Notice]:
    """One notice of each kind of slip, with the number of cases.

    Args:
        cases: all that are trained on or held out.
    """
    spelt = spelt_alike(cases)
    found = (
        Notice("patient_spelling", spelt) if spelt is not None else None,
        _empty_words(cases),
        _tiny_boxes(cases),
    )
    return [notice for notice in found if notice is not None]


def _empty_words(cases: Sequence[Case]) -> Notice | None:
    """Labels and patients that are called as an empty cell is written by many programs; no patient is named."""
    parts = []
    for name in label_names(cases):
        if name.casefold() in DOUBTFUL:
            count = sum(name in (case.labels or ()) for case in cases)
            parts.append(f"{name!r} is taken for a label, of {count} case{'' if count == 1 else 's'}")
    count = sum(person_of(case) in DOUBTFUL for case in cases)
    if count:
        parts.append(f"NA, None or the like is taken for who somebody is, in {count} case{'' if count == 1 else 's'}")
    if not parts:
        return None
    text = f"{'; '.join(parts)}: leave the cell empty where nothing is known; {NO_LABEL!r} says that no label is true"
    return Notice("empty_word", text)


def _tiny_boxes(cases: Sequence[Case]) -> Notice | None:
    tiny = [case for case in cases if case.box is not None and case.mask is None and min(case.box[2:]) < 1]
    if not tiny:
        return None
    what = "1 box covers" if len(tiny) == 1 else f"{len(tiny)} boxes cover"
    return Notice(
        "tiny_box",
        f"{what} less than a pixel in width or height, such as that of {tiny[0].image}: it looks like fractions of the "
        "image, and boxes are in pixels",
    )
