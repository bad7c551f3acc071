"""Write data lists."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, NO_LABEL, SEPARATOR, Case, bad, composed, label_names
from medattn_core.datalists.entry import NOTHING
from medattn_core.datalists.load import parse, sections
from medattn_core.datalists.splits import TRAINING_SECTION
from medattn_core.errors import DataListError
from medattn_core.files import replacing
from medattn_core.values import is_number


def save(
    cases: Iterable[Case] | Mapping[str, Iterable[Case]], path: str | Path, *, section: str = TRAINING_SECTION
) -> None:
    """Write a data list as ``.json`` or ``.csv``; :func:`~medattn_core.datalists.load` reads it back.

    Paths become relative to the list.

    Args:
        cases: of one list, or the cases of each of several lists by their names (JSON).
        path: of the file; it is replaced, unless it holds other lists than these.
        section: name of a single list in JSON.

    Raises:
        DataListError: ``bad_datalist`` for another suffix, other lists in the file, or cases that would not be read
            back as they are; ``unwritable``.
    """
    path = Path(path)
    given = cases if isinstance(cases, Mapping) else {section: cases}
    lists = {name: list(some) for name, some in given.items()}
    together = [case for some in lists.values() for case in some]
    if NO_LABEL in label_names(together):
        raise bad(path, f"label {NO_LABEL!r} would be read as none of the labels; give it a name")
    if any(case.patient in NOTHING for case in together):
        raise bad(path, "a patient has one of the names of an empty cell (nan, <NA>); give it another one")
    rows = {name: [_row(path, case) for case in some] for name, some in lists.items()}
    if path.suffix.lower() == ".json":
        _check_others(path, lists)
        names = sorted({composed(name) for name in label_names(together)})
        text = json.dumps({"labels": names, **rows}, indent=1, ensure_ascii=False) + "\n"
    elif path.suffix.lower() == ".csv":
        if len(rows) != 1:
            raise bad(path, f"CSV holds one list, here are {len(rows)}; use .json, or a file for each")
        text = _csv_text(path, *rows.values())
    else:
        raise bad(path, f"suffix {path.suffix!r} is not accepted; use .json or .csv")
    for name, some in lists.items():
        _check_read_back(path, text, name, some)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise DataListError("unwritable", f"{path}: {error.strerror}; choose a folder that may be written") from error


def _check_others(path: Path, lists: Mapping[str, object]) -> None:
    """Refuse to lose lists of a file that are not written anew."""
    if not path.is_file():
        return
    try:
        others = [name for name in sections(path) if name not in lists]
    except DataListError:  # no data list: nothing of it is lost
        return
    if others:
        names = ", ".join(map(repr, others))
        raise bad(
            path,
            f"it holds {names}, which would be lost; save all lists together, by their names, or choose another file",
        )


def _check_read_back(path: Path, text: str, section: str, cases: list[Case]) -> None:
    """Refuse what would be read as something else, a path with a space in front in CSV for example, or not at all."""
    _, read = parse(path, text, section=section) if cases else ([], [])
    for case, back in zip(cases, read, strict=True):
        given, found = _told(case), _told(back)
        wrong = next((name for name in given if given[name] != found[name]), None)
        if wrong is not None:
            # Who the patient is, is said nowhere.
            what = "the patient" if wrong == "patient" else f"{wrong} {given[wrong]!r}"
            back_as = "something else" if wrong == "patient" else repr(found[wrong])
            other = ", or use .json" if path.suffix.lower() == ".csv" else ""
            raise bad(path, f"{case.image}: {what} would be read back as {back_as}; change it{other}")


def _told(case: Case) -> dict[str, Any]:
    """What a case says, in one form: paths from the root, accents as parts of letters."""
    return {
        "images": [os.path.abspath(file) for file in case.images],
        "mask": None if case.mask is None else os.path.abspath(case.mask),
        "labels": None if case.labels is None else [composed(name) for name in case.labels],
        "box": None if case.box is None else [float(side) for side in case.box],
        "value": case.value,
        "fold": case.fold,
        "patient": case.patient,
    }


def _row(path: Path, case: Case) -> dict[str, Any]:
    def relative(file: Path) -> str:
        try:
            return Path(os.path.relpath(file, path.parent)).as_posix()
        except ValueError:  # another drive on Windows
            return file.absolute().as_posix()

    images = [relative(file) for file in case.images]
    row: dict[str, Any] = {"image": images if case.channels else images[0]}
    if case.labels is not None:
        names = [composed(name) for name in case.labels]
        row["label"] = names[0] if len(names) == 1 else names
    for name in ("value", "fold"):
        number = getattr(case, name)
        if number is not None:
            if not is_number(number):
                raise bad(path, f"{case.image}: {name} {number!r}; a finite number is needed, or None")
            row[name] = number.item() if isinstance(number, np.generic) else number
    if case.patient is not None:
        row["patient"] = case.patient
    if case.mask is not None:
        row["mask"] = relative(case.mask)
    if case.box is not None:
        row["box"] = [float(side) for side in case.box]
    return row


def _csv_text(path: Path, rows: list[dict[str, Any]]) -> str:
    flat = []
    for row in rows:
        label = row.get("label")
        parts = label if isinstance(label, list) else [label]
        if any(SEPARATOR in str(part) for part in parts):
            raise bad(path, f"label {label!r} cannot be written in CSV ({SEPARATOR!r} joins labels); use .json")
        if label in NOTHING:
            raise bad(path, f"label {label!r} would be read as an empty cell of CSV; rename it, or use .json")
        if isinstance(label, list):
            row["label"] = SEPARATOR.join(label) or NO_LABEL
        files = row["image"] if isinstance(row["image"], list) else [row["image"]]
        joined = next((file for file in files if SEPARATOR in file), None)
        if joined is not None:
            raise bad(path, f"image {joined!r} cannot be written in CSV ({SEPARATOR!r} joins channels); use .json")
        row["image"] = SEPARATOR.join(files)
        row.update(zip(BOX_COLUMNS, row.pop("box", ()), strict=False))
        flat.append(row)
    used = [name for name in COLUMNS if name == "image" or any(name in row for row in flat)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, used, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()
