"""The cases that are measured: which part of a list, and that none of them helped to choose a threshold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.datalists.patients import patients_of, person_of
from medattn_core.datalists.splits import scans_in_both
from medattn_core.datalists.targets import targets_of
from medattn_core.errors import DataListError
from medattn_core.tasks import TaskSpec


def load_cases(
    data: str | os.PathLike[str],
    task: TaskSpec,
    *,
    section: str | None = None,
    fold: int | None = None,
    option: str = "section",
) -> list[Case]:
    """Cases of a list, with a truth that the task knows.

    Args:
        data: data list.
        task: of the model.
        section: list within a JSON object; None takes the only one there is.
        fold: only the cases of this fold.
        option: how the section is named in messages.

    Raises:
        DataListError: the list is wrong, has several sections and none is named, or no case in that fold.
    """
    path = Path(data)
    if section is None:
        found = datalists.sections(path, objects=True)
        if len(found) > 1:
            names = ", ".join(found)
            raise DataListError("bad_argument", f"{path}: it has the lists {names}; name one of them as {option}")
        section = found[0] if found else datalists.TRAINING_SECTION
    elif path.suffix.lower() != ".json":
        raise DataListError("bad_argument", f"{path}: {option} {section!r} is for JSON lists; leave it out for CSV")
    else:
        datalists.check_section(path, section)
    cases = datalists.load(path, section=section)
    if fold is not None:
        listed = sorted({case.fold for case in cases if case.fold is not None})
        cases = [case for case in cases if case.fold == fold]
        if not cases:
            raise DataListError("bad_argument", f"{data}: no case in fold {fold}; folds listed: {listed or 'none'}")
    for case in cases:
        targets_of(case, task)  # a wrong label is an error of the list, not of one image
    return cases


def check_apart(chosen_on: Sequence[Case], measured: Sequence[Case], where: str, data: str) -> None:
    """Refuse to choose thresholds on what they are then measured on.

    Args:
        chosen_on: cases of the validation list.
        measured: cases of the data list.
        where, data: the two lists, for the message.

    Raises:
        DataListError: ``bad_argument``, images (see :func:`scans_in_both`) or patients are in both; patients are
            counted, never named.
    """
    same = len(scans_in_both(chosen_on, measured))
    shared = len(patients_of(chosen_on) & patients_of(measured))
    if same or shared:
        what = f"{same} image{'s' if same != 1 else ''}" if same else f"{shared} patient{'s' if shared != 1 else ''}"
        raise DataListError(
            "bad_argument",
            f"{where}: {what} of the validation list are also in {data}; thresholds chosen on what is measured flatter "
            "it, give a list of other patients",
        )


def patient_of(case: Case, index: int) -> str:
    """The patient in one spelling; an image without one counts as a patient of its own."""
    return person_of(case) or f"\0{index}"
