"""Read data lists, JSON and CSV, checked.

JSON is MONAI's: ``{"labels": [...], "training": [{"image": ..., "label": ..., "fold": 0}, ...]}``, or the bare list.
CSV has a header with columns of :data:`COLUMNS`. Those are the keys of JSON, too, where ``box`` may hold all of a box.
Other columns and keys are left alone, unless they are nearly one of these. Paths are relative to the list.
Text is stripped of white space around it; null, NaN and blank text of JSON are what an empty cell of CSV is.

A label is a name, or in JSON the number of one in ``labels``. Several (multi-label) are a JSON list of names or of
zeros and ones in the order of ``labels``, or names joined by ``|`` in CSV; none of them is ``-``, or ``[]`` in JSON.
Several channels of one case (T1 and FLAIR, PET and CT) are a JSON list of images, or paths joined by ``|`` in CSV.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, NO_LABEL, Case, bad
from medattn_core.datalists.csv_rows import csv_rows, known
from medattn_core.datalists.entry import BOX, check_names, is_empty, tidy
from medattn_core.errors import DataListError


def load(
    path: str | Path,
    *,
    section: str = "training",
    labels: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    check_files: bool = True,
) -> list[Case]:
    """Read and check a data list.

    Args:
        path: ``.json`` or ``.csv``.
        section: the list within a JSON object, such as ``"validation"``. A bare list has none: only the two names that
            configurations of bundles give are passed over there.
        labels: accepted label names; default the ``labels`` of a JSON object, else any.
        columns: other names used in this list, such as ``{"value": "volume_mm3"}``.
        check_files: look whether images and masks exist.

    Raises:
        DataListError: ``bad_datalist``, with the row or entry and what is wrong with it; ``bad_argument``.
    """
    path = Path(path)
    unknown = sorted(set(columns or ()) - set(COLUMNS))
    if unknown:
        raise DataListError("bad_argument", f"columns: {unknown[0]!r} is not known; accepted: {', '.join(COLUMNS)}")
    text = _text(path)
    if path.suffix.lower() == ".json":
        rows, listed = _json_rows(path, text, section, columns or {})
        labels = listed if labels is None else labels
    elif path.suffix.lower() in (".csv", ".tsv"):
        rows = csv_rows(path, text, columns or {})
    else:
        raise bad(path, f"suffix {path.suffix!r} is not accepted; use .json or .csv")
    if not rows:
        raise bad(path, "it lists no case; one row an image is needed")
    cases = []
    for where, row in rows:
        try:
            cases.append(_case(path.parent, tidy(_renamed(row, columns or {})), labels))
        except ValueError as error:
            raise bad(path, f"{where}: {error}") from error
    places = [where for where, _ in rows]
    _check_together(path, places, cases)
    if check_files:
        _check_files(path, places, cases)
    return cases


def check_section(path: str | Path, section: str) -> None:
    """Refuse a list that somebody names within a CSV or a bare JSON list, which have one.

    A training would take all rows, the test's too.

    Raises:
        DataListError: ``bad_argument``; ``bad_datalist``: it cannot be read.
    """
    path = Path(path)
    if section == "training":
        return
    if path.suffix.lower() in (".csv", ".tsv"):
        raise DataListError("bad_argument", f"{path}: section {section!r} is for JSON lists; leave it out for CSV")
    if path.suffix.lower() == ".json" and isinstance(_parsed(path, _text(path)), list):
        raise _no_sections(path, section)


def _no_sections(path: Path, section: str) -> DataListError:
    what = f"section {section!r} is for JSON objects of several lists, and this file is one bare list"
    return DataListError("bad_argument", f"{path}: {what}; leave the section out, or name the list in an object")


def sections(path: str | Path) -> tuple[str, ...]:
    """Names of the lists of cases in a JSON data list, ``labels`` aside; none for a CSV.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    data = _json(Path(path))
    return tuple(key for key, value in data.items() if key != "labels" and isinstance(value, list) and value)


def bare_cases(path: str | Path, section: str) -> list[Case] | None:
    """Cases of a list that names paths and nothing else, as the Decathlon's ``test``; None where entries are objects.

    A list of other plain values (a spacing, say) names no case.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    path = Path(path)
    entries = _json(path).get(section, [])
    if any(isinstance(entry, (dict, list)) for entry in entries):
        return None
    return [Case(image=path.parent / entry) for entry in entries if isinstance(entry, str) and not is_empty(entry)]


def listed_labels(path: str | Path) -> tuple[str, ...] | None:
    """The ``labels`` of a JSON data list in their order, which is that of the numbers; None where it names none.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    names = _names(Path(path), _json(Path(path)))
    return tuple(names) if names else None


def _json(path: Path) -> dict[str, Any]:
    """The object of a JSON data list; empty for a bare list and for other suffixes."""
    if path.suffix.lower() != ".json":
        return {}
    data = _parsed(path, _text(path))
    return data if isinstance(data, dict) else {}


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise bad(path, f"it is not valid JSON ({error})") from error


def _names(path: Path, data: Mapping[str, Any]) -> list[str] | None:
    listed = data.get("labels")
    if isinstance(listed, dict):  # the Decathlon's {"0": "background", "1": ...}
        listed = [listed[key] for key in sorted(listed, key=lambda key: (len(key), key))]
    if listed is not None and not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise bad(path, "'labels' must be a list of names")
    names = [name.strip() for name in listed or ()]
    for name in names:
        if name in ("", NO_LABEL):
            raise bad(path, f"'labels' has {name!r}, which is none of the labels; give each a name of its own")
        if names.count(name) > 1:
            raise bad(path, f"'labels' has {name!r} twice; give each a name of its own")
    return names or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise bad(path, "it is not UTF-8 text; save it as CSV UTF-8 or JSON") from error
    except FileNotFoundError as error:
        raise bad(path, "there is no such file; give the path of a .json or .csv data list") from error
    except OSError as error:
        raise bad(path, f"it cannot be read ({error.strerror})") from error


def _json_rows(
    path: Path, text: str, section: str, columns: Mapping[str, str]
) -> tuple[list[tuple[str, dict[str, Any]]], list[str] | None]:
    data = _parsed(path, text)
    names = None
    if isinstance(data, list) and section not in ("training", "validation"):
        raise _no_sections(path, section)
    if isinstance(data, dict):
        if section not in data:
            lists = sorted(key for key, value in data.items() if isinstance(value, list) and key != "labels")
            found = ", ".join(lists) or "none"
            raise bad(path, f"it has no list {section!r}; lists found: {found}")
        names, data = _names(path, data), data[section]
    if not isinstance(data, list):
        raise bad(path, f"{section!r} must be a list of objects with the key 'image'")
    rows = [(f"{section}[{index}]", entry) for index, entry in enumerate(data)]
    for where, entry in rows:
        if not isinstance(entry, dict):
            raise bad(path, f"{where}: must be an object with the key 'image', not {type(entry).__name__}")
        try:
            check_names(entry, [*known(columns), BOX], "key")
        except ValueError as error:
            raise bad(path, f"{where}: {error}") from error
    return rows, names


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    ours = {theirs: name for name, theirs in columns.items()}
    return {ours.get(key, key): value for key, value in row.items() if columns.get(key, key) == key or key in ours}


def _case(folder: Path, entry: dict[str, Any], names: Sequence[str] | None) -> Case:
    """One checked case of a tidy entry. Raises ValueError with a message that lacks only the place."""
    image = entry.get("image")
    images: list[Any] = list(image) if isinstance(image, (list, tuple)) else [image]
    if not images or not all(isinstance(one, str) and not is_empty(one) for one in images):
        raise ValueError("no image; give its path relative to the list")
    if len(set(images)) < len(images):
        raise ValueError("the same image twice among the channels")
    labels = _labels(folder, entry.get("label"), names)
    value = None if entry.get("value") is None else _number(entry["value"], "value")
    if labels is not None and value is not None:
        raise ValueError("both label and value; a case has a label (classification) or a value (regression)")
    mask = entry.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise ValueError(f"mask {mask!r}; give its path relative to the list")
    return Case(
        image=folder / images[0],
        channels=tuple(folder / one for one in images[1:]),
        labels=labels,
        value=value,
        mask=None if mask is None else folder / mask,
        box=_box(entry.get("box")),
        fold=_fold(entry.get("fold")),
        patient=_patient(entry.get("patient")),
    )


def _labels(folder: Path, given: Any, names: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    several = isinstance(given, (list, tuple))
    parts = [part.strip() if isinstance(part, str) else part for part in (given if several else [given])]
    if NO_LABEL in parts:
        if len(parts) > 1:
            raise ValueError(f"label {NO_LABEL!r} beside others; it says that none is true: drop it, or the others")
        return ()
    if several and names and len(parts) == len(names) and all(type(part) is int and part in (0, 1) for part in parts):
        return tuple(name for name, part in zip(names, parts, strict=True) if part)
    found = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)) or part == "":
            raise ValueError(f"label {part!r}; give a name, or the number of one in 'labels'")
        if isinstance(part, int) and names:
            if not 0 <= part < len(names):
                raise ValueError(f"label {part}; 'labels' has the numbers 0 to {len(names) - 1}")
            part = names[part]
        name = str(part)
        if names and name not in names:
            raise ValueError(f"label {name!r} is not known; accepted: {', '.join(names)}")
        if ("/" in name or name.endswith((".nii", ".nii.gz", ".nrrd"))) and (folder / name).is_file():
            raise ValueError(f"label {name!r} is a file; list segmentations as 'mask'")
        found.append(name)
    if len(set(found)) < len(found):
        raise ValueError(f"label {max(found, key=found.count)!r} twice")
    return tuple(found)


def _number(given: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        hint = "; write the decimal point as '.'" if isinstance(given, str) and "," in given else ""
        raise ValueError(f"{what} {given!r} is not a finite number{hint}")
    return number


def _box(given: Any) -> tuple[float, ...] | None:
    if given is None:
        return None
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        raise ValueError(f"box {given!r}; give x, y, width, height in pixels (volumes take a mask instead)")
    x, y, width, height = (_number(side, name) for side, name in zip(given, BOX_COLUMNS, strict=True))
    if width <= 0 or height <= 0:
        raise ValueError(f"box {width:g} x {height:g} px is empty; width and height must be positive")
    return x, y, width, height


def _fold(given: Any) -> int | None:
    if given is None:
        return None
    number = _number(given, "fold")
    if number != int(number) or number < 0:
        raise ValueError(f"fold {given!r}; give a whole number from 0")
    return int(number)


def _patient(given: Any) -> str | None:
    if isinstance(given, bool) or not isinstance(given, (str, int, float, type(None))):
        # Of the kind alone, as the value may be a name.
        raise ValueError(f"patient is of the kind {type(given).__name__}; give text or a number")
    if isinstance(given, float) and given.is_integer():  # pandas makes 7 of some rows 7.0 where others have none
        given = int(given)
    return None if given is None else str(given)


def _check_together(path: Path, places: list[str], cases: list[Case]) -> None:
    """What no row shows by itself: duplicates, mixed truths, patients that would leak between folds."""
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
    folds: dict[str, tuple[int | None, str]] = {}
    spellings: dict[str, tuple[str, str]] = {}
    for where, case in zip(places, cases, strict=True):
        first = images.setdefault(os.path.abspath(case.image), where)
        if first != where:
            raise bad(path, f"{where}: image {case.image.name} is already in {first}")
        for name in case.labels or ():
            spelling, first = spellings.setdefault(name.casefold(), (name, where))
            if spelling != name:
                raise bad(path, f"{where}: label {name!r}, but {spelling!r} in {first}; write one of them")
        if case.patient is not None:
            fold, first = folds.setdefault(case.patient, (case.fold, where))
            if fold != case.fold:
                raise bad(path, f"{where}: fold {case.fold}, but {first} is the same patient in fold {fold}")


def _check_files(path: Path, places: list[str], cases: list[Case]) -> None:
    missing = [
        (where, file)
        for where, case in zip(places, cases, strict=True)
        for file in (*case.images, case.mask)
        if file is not None and not file.exists()
    ]
    if missing:
        where, file = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise bad(path, f"{where}: {file} does not exist{more}; paths are relative to the list")
