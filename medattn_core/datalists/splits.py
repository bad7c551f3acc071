"""The lists of one file beside each other: the one that trains, the one that is held out of it, and others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from medattn_core.datalists.case import SPELLINGS, Case, label_names, spelling_of
from medattn_core.datalists.consistency import ATLAS
from medattn_core.datalists.patients import patients_of
from medattn_core.errors import DataListError, Notice

TRAINING_SECTION = "training"
"""List of a JSON object that is read where none is named, and that has to teach something."""

HELD_OUT_SECTION = "validation"
"""List of a JSON object that is held out where no fold is named."""


def check_apart(path: Path, cases: Sequence[Case], held: Sequence[Case], *, section: str = TRAINING_SECTION) -> None:
    """Nothing that is held out may be trained on, and its cases are of the same kind.

    Args:
        path: data list, for the message.
        cases: those that train.
        held: those of the list ``validation``.
        section: the list that trains, for the message.

    Raises:
        DataListError: ``bad_datalist``: a shared image or patient, other channels, no truth, a label spelt otherwise.
    """
    if scans_in_both(cases, held):
        raise DataListError("bad_datalist", f"{path}: an image is in {section!r} and in {HELD_OUT_SECTION!r}; drop one")
    if patients_of(cases) & patients_of(held):
        same = {case.patient for case in cases} & {case.patient for case in held} - {None}
        how = "" if same else f", in another spelling ({SPELLINGS})"
        raise DataListError(
            "bad_datalist",
            f"{path}: a patient is in {section!r} and in {HELD_OUT_SECTION!r}{how}; put all images in one",
        )
    if len(cases[0].images) != len(held[0].images):
        raise DataListError("bad_datalist", f"{path}: {HELD_OUT_SECTION!r} has other channels than {section!r}")
    labelled, valued = (any(getattr(case, what) is not None for case in cases) for what in ("labels", "value"))
    for case in held:
        if (labelled and case.labels is None) or (valued and case.value is None):
            what = "label" if labelled else "value"
            raise DataListError(
                "bad_datalist", f"{path}: {case.image} in {HELD_OUT_SECTION!r} has no {what}; name it, or leave it out"
            )
    # Labels of both are those of one task: `Yes` and `yes` would be two of them.
    spellings = {spelling_of(name): name for name in label_names(cases)}
    for name in label_names(held):
        spelling = spellings.get(spelling_of(name), name)
        if spelling != name:
            raise DataListError(
                "bad_datalist",
                f"{path}: label {name!r} in {HELD_OUT_SECTION!r}, but {spelling!r} in {section!r}; write one of them",
            )


def scans_in_both(first: Sequence[Case], second: Sequence[Case]) -> set[str]:
    """Files of both lists, by where links lead, that are the first image of a case of one and any channel of the other.

    What is a further channel on both sides may be an atlas or a template; the scan itself is none.
    """
    return _images_in_both(first, second) & (_firsts(first) | _firsts(second))


def _images_in_both(first: Sequence[Case], second: Sequence[Case]) -> set[str]:
    """All files of both, further channels too, where links lead."""
    one, other = ({os.path.realpath(image) for case in cases for image in case.images} for cases in (first, second))
    return one & other


def _firsts(cases: Sequence[Case]) -> set[str]:
    return {os.path.realpath(case.image) for case in cases}


def shared(lists: Mapping[str, Sequence[Case]]) -> list[Notice]:
    """Warnings of images, patients and further channels that are in two lists of one file; counted, never named.

    Args:
        lists: name of each list to its cases.
    """
    patients = {name: patients_of(cases) for name, cases in lists.items()}
    found = []
    for first, second in combinations(lists, 2):
        scans = scans_in_both(lists[first], lists[second])
        counts = (
            (len(scans), "image"),
            (len(patients[first] & patients[second]), "patient"),
        )
        what = " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)
        if what:
            text = (
                f"the lists {first!r} and {second!r} share {what}: what is measured on one and learnt or chosen on the "
                "other is too good; put all images of a patient in one list"
            )
            found.append(Notice("shared_cases", text))
        channels = len(_images_in_both(lists[first], lists[second]) - scans)
        if channels:
            number = "1 further channel" if channels == 1 else f"{channels} further channels"
            text = f"the lists {first!r} and {second!r} share {number}: {ATLAS}"
            found.append(Notice("shared_channels", text))
    return found
