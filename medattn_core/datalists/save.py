"""Write data lists."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, NO_LABEL, SEPARATOR, Case, bad, label_names
from medattn_core.datalists.entry import NOTHING
from medattn_core.datalists.splits import TRAINING_SECTION
from medattn_core.errors import DataListError
from medattn_core.files import replacing


def save(cases: Iterable[Case], path: str | Path, *, section: str = TRAINING_SECTION) -> None:
    """Write a data list as ``.json`` or ``.csv``; :func:`~medattn_core.datalists.load` reads it back.

    Paths become relative to the list.

    Raises:
        DataListError: ``bad_datalist`` for another suffix or a label that the format cannot hold, ``unwritable``.
    """
    path, cases = Path(path), list(cases)
    if NO_LABEL in label_names(cases):
        raise bad(path, f"label {NO_LABEL!r} would be read as none of the labels; give it a name")
    if any(case.patient in NOTHING for case in cases):
        raise bad(path, "a patient has one of the names of an empty cell (nan, <NA>); give it another one")
    rows = [_row(path.parent, case) for case in cases]
    if path.suffix.lower() == ".json":
        text = json.dumps({"labels": list(label_names(cases)), section: rows}, indent=1, ensure_ascii=False) + "\n"
    elif path.suffix.lower() == ".csv":
        text = _csv_text(path, rows)
    else:
        raise bad(path, f"suffix {path.suffix!r} is not accepted; use .json or .csv")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise DataListError("unwritable", f"{path}: {error.strerror}; choose a folder that may be written") from error


def _row(folder: Path, case: Case) -> dict[str, Any]:
    def relative(file: Path) -> str:
        try:
            return Path(os.path.relpath(file, folder)).as_posix()
        except ValueError:  # another drive on Windows
            return file.absolute().as_posix()

    images = [relative(file) for file in case.images]
    row: dict[str, Any] = {"image": images if case.channels else images[0]}
    if case.labels is not None:
        row["label"] = case.label if case.label is not None else list(case.labels)
    for name in ("value", "fold", "patient"):
        if getattr(case, name) is not None:
            row[name] = getattr(case, name)
    if case.mask is not None:
        row["mask"] = relative(case.mask)
    if case.box is not None:
        row["box"] = list(case.box)
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
        if isinstance(row["image"], list):
            row["image"] = SEPARATOR.join(row["image"])
        row.update(zip(BOX_COLUMNS, row.pop("box", ()), strict=False))
        flat.append(row)
    used = [name for name in COLUMNS if name == "image" or any(name in row for row in flat)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, used, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()
