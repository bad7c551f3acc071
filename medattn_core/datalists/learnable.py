"""Whether the truth of a list can be learnt from its cases."""

from __future__ import annotations

from collections.abc import Sequence

from medattn_core.datalists.case import NO_LABEL, Case, label_names, one_of_several
from medattn_core.datalists.splits import HELD_OUT_SECTION, TRAINING_SECTION

GUESSES = (
    "category", "class", "class_name", "classes", "classification", "diagnoses", "diagnosis", "dx", "finding",
    "findings", "ground_truth", "gt", "outcome", "pathology", "target", "targets", "truth", "y",
)  # fmt: skip
"""Names in small letters of columns that probably are the truth."""


def nothing_to_learn(cases: Sequence[Case], others: Sequence[str] = ()) -> str | None:
    """Why nothing can be learnt from the cases, in words; None where something can.

    One label everywhere can be learnt where a case has a mask or box: it is told from what lies outside of them.

    Args:
        cases: all that are trained on or held out.
        others: columns of the list that have no meaning here; one of them may be the truth.
    """
    values = {case.value for case in cases if case.value is not None}
    labels = label_names(cases)
    if not values and all(case.labels is None for case in cases):
        named = [name for name in others if name.strip().casefold() in GUESSES]
        hint = f"; is {named[0]!r} the label? Call the column `label`, or `value` if it is a quantity" if named else ""
        return f"no column `label` (classification) or `value` (regression); training needs one{hint}"
    if len(values) == 1:
        return "every case has the same value: there is nothing to learn"
    if not values and not labels:
        return f"no case shows a label ({NO_LABEL!r} is none): there is nothing to learn"
    placed = any(case.mask is not None or case.box is not None for case in cases)
    if len(labels) == 1 and all(case.labels for case in cases) and not placed:
        return f"every case has the label {labels[0]!r}: nothing to learn; list cases without it as {NO_LABEL!r}"
    return None


def untaught(
    cases: Sequence[Case], held: Sequence[Case], *, placed: bool, section: str = TRAINING_SECTION
) -> str | None:
    """Which label is never there, or never absent, in the cases that train, in words; None where there is none.

    Args:
        cases: those that train.
        held: those of the list ``validation``, which have no say in what is learnt.
        placed: whether a mask or box covers something: what a label is not is then learnt from outside of it.
        section: the list that trains, for the message.
    """
    together = [*cases, *held]
    taught = label_names(cases)
    for name in label_names(together):
        if name not in taught:
            return (
                f"label {name!r} is in {HELD_OUT_SECTION!r} alone, so training would not learn it; list cases of it in "
                f"{section!r}, or leave them out of {HELD_OUT_SECTION!r}"
            )
        if not placed and not one_of_several(together) and all(name in (case.labels or ()) for case in cases):
            return (
                f"every case of {section!r} has the label {name!r}, so training would not learn what it is not; list "
                f"cases without it ({NO_LABEL!r} is none), or give masks or boxes that cover the finding"
            )
    return None
