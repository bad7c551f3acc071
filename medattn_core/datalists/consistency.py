"""What no entry of a list shows by itself: duplicates, mixed truths, patients that would leak between folds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medattn_core.datalists.case import SPELLINGS, Case, bad, spelling_of
from medattn_core.datalists.patients import person_of
from medattn_core.errors import Notice

ATLAS = "right for an atlas or an earlier scan of the same patient; else name the channel that belongs to each"
"""What to think of a further channel that is used twice."""


def check_together(path: Path, places: list[str], cases: list[Case]) -> None:
    """Refuse what would be learnt wrongly or measured too well.

    Args:
        path: data list, for the message.
        places: where each case lies in it.
        cases: of one list.

    Raises:
        DataListError: ``bad_datalist``.
    """
    for name, stated in (
        ("label", [case.labels is not None for case in cases]),
        ("value", [case.value is not None for case in cases]),
        ("fold", [case.fold is not None for case in cases]),
    ):
        if any(stated) and not all(stated):
            raise bad(path, f"{places[stated.index(False)]}: no {name}, but {places[stated.index(True)]} has one")
    different = [i for i, case in enumerate(cases) if len(case.channels) != len(cases[0].channels)]
    if different:
        counts = len(cases[different[0]].images), len(cases[0].images)
        raise bad(path, f"{places[different[0]]}: {counts[0]} image(s), but {places[0]} has {counts[1]} channels")
    images: dict[str, str] = {}
    patients: dict[str, tuple[str, int | None, str]] = {}
    spellings: dict[str, tuple[str, str]] = {}
    for where, case in zip(places, cases, strict=True):
        first = images.setdefault(os.path.realpath(case.image), where)  # links are followed
        if first != where:
            raise bad(path, f"{where}: image {case.image.name} is already in {first}")
        for name in case.labels or ():
            spelling, first = spellings.setdefault(spelling_of(name), (name, where))
            if spelling != name:
                raise bad(path, f"{where}: label {name!r}, but {spelling!r} in {first}; write one of them")
        person = person_of(case)
        if case.patient is not None and person is not None:
            known = patients.setdefault(person, (case.patient, case.fold, where))
            spelling, fold, first = known
            if spelling != case.patient and fold != case.fold:  # the name is not said
                what = f"the same patient in two spellings ({SPELLINGS}) in another fold"
                raise bad(path, f"{where}: {what}, the other in {first}; write one of them")
            if fold != case.fold:
                raise bad(path, f"{where}: fold {case.fold}, but {first} is the same patient in fold {fold}")


def check_files(path: Path, places: list[str], cases: list[Case]) -> None:
    """Refuse a list that names files which are not there.

    Raises:
        DataListError: ``bad_datalist``.
    """
    missing = [
        (where, file)
        for where, case in zip(places, cases, strict=True)
        for file in (*case.images, case.mask)
        if file is not None and not os.path.exists(file)  # a name that is too long is of no file, too
    ]
    if missing:
        where, file = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        hint = "paths are relative to the list"
        if "\\" in str(file) and Path(str(file).replace("\\", "/")).exists():
            hint = "write / for \\ in paths: it is found then"
        raise bad(path, f"{where}: {file} does not exist{more}; {hint}")


def shared_channels(cases: Sequence[Case]) -> Notice | None:
    """Warning of images that are a further channel of one case and belong to another case, too; None without any.

    An atlas is such a channel, and so is the scan of the same patient a year before: it is no error.

    Args:
        cases: of one list.
    """
    users: dict[str, set[int]] = {}
    channels: dict[str, Path] = {}
    for number, case in enumerate(cases):
        for file in case.images if case.channels else ():
            users.setdefault(os.path.realpath(file), set()).add(number)
        channels |= {os.path.realpath(file): file for file in case.channels}
    several = [file for real, file in channels.items() if len(users[real]) > 1]
    if not several:
        return None
    what = "1 further channel is" if len(several) == 1 else f"{len(several)} further channels are"
    return Notice("shared_channels", f"{what} in several cases, the first {several[0]}: {ATLAS}")
