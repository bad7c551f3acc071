"""Write data lists."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, NO_LABEL, SEPARATOR, Case, bad, label_names
from medattn_core.datalists.entry import NOTHING
from medattn_core.datalists.load import sections
from medattn_core.datalists.splits import TRAINING_SECTION
from medattn_core.errors import DataListError
from medattn_core.files import replacing
from medattn_core.tasks import is_number


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
        DataListError: ``bad_datalist`` for another suffix, other lists in the file, or a label, value, fold or path
            that the format cannot hold; ``unwritable``.
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
        text = json.dumps({"labels": list(label_names(together)), **rows}, indent=1, ensure_ascii=False) + "\n"
    elif path.suffix.lower() == ".csv":
        if len(rows) != 1:
            raise bad(path, f"CSV holds one list, here are {len(rows)}; use .json, or a file for each")
        text = _csv_text(path, *rows.values())
    else:
        raise bad(path, f"suffix {path.suffix!r} is not accepted; use .json or .csv")
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
        raise bad(path, f"it holds {names}, which would be lost; save all lists together, by their names, or delete it")


def _row(path: Path, case: Case) -> dict[str, Any]:
    def relative(file: Path) -> str:
        try:
            return Path(os.path.relpath(file, path.parent)).as_posix()
        except ValueError:  # another drive on Windows
            return file.absolute().as_posix()

    images = [relative(file) for file in case.images]
    row: dict[str, Any] = {"image": images if case.channels else images[0]}
    if case.labels is not None:
        row["label"] = case.label if case.label is not None else list(case.labels)
    for name in ("value", "fold"):
        number = getattr(case, name)
        if number is not None:
            if not is_number(number) or (name == "fold" and number != int(number)):
                wanted = "a finite number" if name == "value" else "a whole number"
                raise bad(path, f"{case.image}: {name} {number!r}; {wanted} is needed, or None")
            row[name] = int(number) if number == int(number) and not isinstance(number, float) else float(number)
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
