"""Read data lists, JSON and CSV, checked.

JSON is MONAI's: ``{"labels": [...], "training": [{"image": ..., "label": ..., "fold": 0}, ...]}``, or the bare list.
CSV has a header with columns of :data:`COLUMNS`. Those are the keys of JSON, too, where ``box`` may hold all of a box.
Other columns and keys are left alone, unless they are nearly one of these. Paths are relative to the list.
Text is stripped of white space around it; null, NaN and blank text of JSON are what an empty cell of CSV is, and so are
the words for it that are no name (`nan`, `<NA>`) of a label or patient.

A label is a name, or in JSON the number of one in ``labels``. Several (multi-label) are a JSON list of names or of
zeros and ones in the order of ``labels``, or names joined by ``|`` in CSV; none of them is ``-``, or ``[]`` in JSON.
Several channels of one case (T1 and FLAIR, PET and CT) are a JSON list of images, or paths joined by ``|`` in CSV.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medattn_core.arguments import path_of, several
from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, Case, bad
from medattn_core.datalists.consistency import check_files as check_exist
from medattn_core.datalists.consistency import check_together
from medattn_core.datalists.csv_rows import csv_rows, known
from medattn_core.datalists.entry import BOX, check_names, is_empty, tidy, without_nothing
from medattn_core.datalists.labels import check_numbers, stated_names, true_labels
from medattn_core.datalists.splits import HELD_OUT_SECTION, TRAINING_SECTION
from medattn_core.errors import DataListError

MOST_FOLDS = 10_000
"""Numbers of folds from here on are something else: a date, an identifier."""

LARGEST = 1e15
"""Largest value of a regression. The squares of larger ones leave what training counts with (float32, up to 3e38)."""


def load(
    path: str | Path,
    *,
    section: str = TRAINING_SECTION,
    labels: str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    check_files: bool = True,
) -> list[Case]:
    """Read and check a data list.

    Args:
        path: ``.json`` or ``.csv``.
        section: the list within a JSON object, such as ``"validation"``. CSV and a bare list have none: only the two
            names that configurations of bundles give are passed over there.
        labels: accepted label names, or one; default the ``labels`` of a JSON object, else any.
        columns: other names used in this list, such as ``{"value": "volume_mm3"}``.
        check_files: look whether images and masks exist.

    Raises:
        DataListError: ``bad_datalist``, with the row or entry and what is wrong with it; ``bad_argument``.
    """
    path = path_of("path", path)
    labels = None if labels is None else several("labels", labels, of="names")
    unknown = sorted(set(columns or ()) - set(COLUMNS))
    if unknown:
        raise DataListError("bad_argument", f"columns: {unknown[0]!r} is not known; accepted: {', '.join(COLUMNS)}")
    places, cases = parse(path, _text(path), section=section, labels=labels, columns=columns)
    if check_files:
        check_exist(path, places, cases)
    return cases


def parse(
    path: Path,
    text: str,
    *,
    section: str,
    labels: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[list[str], list[Case]]:
    """Where each entry stands and the cases of a list that is in memory, as :func:`load` reads them from ``path``.

    Raises:
        DataListError: as :func:`load`, but for files that are not there.
    """
    if path.suffix.lower() == ".json":
        rows, listed = _json_rows(path, text, section, columns or {})
        labels = listed if labels is None else labels
    elif path.suffix.lower() in (".csv", ".tsv"):
        if section not in (TRAINING_SECTION, HELD_OUT_SECTION):
            raise _no_sections_in_csv(path, section)
        rows = csv_rows(path, text, columns or {})
    else:
        raise bad(path, f"suffix {path.suffix!r} is not accepted; use .json or .csv")
    if not rows:
        raise bad(path, "it lists no case; one row an image is needed")
    cases, entries = [], []
    for where, row in rows:
        try:
            entry = without_nothing(tidy(_renamed(row, columns or {})), labels)
            cases.append(_case(path.parent, entry, labels))
        except ValueError as error:
            raise bad(path, f"{where}: {error}") from error
        entries.append((where, entry))
    try:
        check_numbers(entries, labels)
    except ValueError as error:
        raise bad(path, str(error)) from error
    places = [where for where, _ in rows]
    check_together(path, places, cases)
    return places, cases


def check_section(path: str | Path, section: str) -> None:
    """Refuse a list that somebody names within a CSV or a bare JSON list, which have one.

    A training would take all rows, the test's too.

    Raises:
        DataListError: ``bad_argument``; ``bad_datalist``: it cannot be read.
    """
    path = path_of("path", path)
    if section == TRAINING_SECTION:
        return
    if path.suffix.lower() in (".csv", ".tsv"):
        raise _no_sections_in_csv(path, section)
    if path.suffix.lower() == ".json" and isinstance(_parsed(path, _text(path)), list):
        raise _no_sections(path, section)


def _no_sections_in_csv(path: Path, section: str) -> DataListError:
    return DataListError("bad_argument", f"{path}: section {section!r} is for JSON lists; leave it out for CSV")


def _no_sections(path: Path, section: str) -> DataListError:
    what = f"section {section!r} is for JSON objects of several lists, and this file is one bare list"
    return DataListError("bad_argument", f"{path}: {what}; leave the section out, or name the list in an object")


def sections(path: str | Path, *, objects: bool = False) -> tuple[str, ...]:
    """Names of the lists of cases in a JSON data list, ``labels`` aside; none for a CSV or a bare list.

    Args:
        path: ``.json`` or ``.csv``.
        objects: only those whose entries are all objects with an image, which alone have a truth: not the paths of
            the Decathlon's ``test``, nor other plain values (a spacing, say).

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    lists = {key: value for key, value in _json(Path(path)).items() if isinstance(value, list) and value}
    return tuple(
        key
        for key, value in lists.items()
        if key != "labels" and not (objects and any(not isinstance(row, dict) or "image" not in row for row in value))
    )


def other_names(path: str | Path, section: str) -> list[str]:
    """Columns or keys of a list that have no meaning here, in their order.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    path = path_of("path", path)
    text = _text(path)
    rows = _json_rows(path, text, section, {})[0] if path.suffix.lower() == ".json" else csv_rows(path, text, {})
    return list(dict.fromkeys(key for _, row in rows for key in row if key not in (*COLUMNS, BOX)))


def bare_cases(path: str | Path, section: str) -> list[Case] | None:
    """Cases of a list that names paths and nothing else, as the Decathlon's ``test``; None where entries are objects.

    A list of other plain values (a spacing, say) names no case.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    path = path_of("path", path)
    entries = _json(path).get(section, [])
    if any(isinstance(entry, (dict, list)) for entry in entries):
        return None
    return [Case(image=path.parent / entry) for entry in entries if isinstance(entry, str) and not is_empty(entry)]


def listed_labels(path: str | Path) -> tuple[str, ...] | None:
    """The ``labels`` of a JSON data list in their order, which is that of the numbers; None where it names none.

    Raises:
        DataListError: ``bad_datalist``: it cannot be read.
    """
    names = stated_names(Path(path), _json(Path(path)))
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
    except RecursionError as error:
        raise bad(path, "it is no data list: objects lie in objects hundreds of times") from error


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
    if isinstance(data, list) and section not in (TRAINING_SECTION, HELD_OUT_SECTION):
        raise _no_sections(path, section)
    if isinstance(data, dict):
        try:
            _check_keys(data, section)
        except ValueError as error:
            raise bad(path, str(error)) from error
        if section not in data:
            lists = sorted(key for key, value in data.items() if isinstance(value, list) and key != "labels")
            found = ", ".join(lists) or "none"
            raise bad(path, f"it has no list {section!r}; lists found: {found}")
        names, data = stated_names(path, data), data[section]
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


def _check_keys(data: Mapping[str, Any], section: str) -> None:
    """Refuse a list that is nearly ``labels``, the asked-for one or ``validation``, which would be lost in silence.

    Only what holds cases is compared with a list of cases: a count (``numTraining``) or identifiers are left alone.

    Raises:
        ValueError: the message lacks only the file.
    """
    # `validation_2` and `labels_de` say that they are others.
    suffixed = re.compile(rf"({'|'.join(map(re.escape, ('labels', section, HELD_OUT_SECTION)))})[\W\d_].*", re.DOTALL)
    named = [key for key, value in data.items() if isinstance(value, (list, dict)) and not suffixed.fullmatch(key)]
    check_names(named, ["labels"], "list")
    holding = [key for key in named if any(isinstance(entry, dict) for entry in data[key])]
    lists = {section, HELD_OUT_SECTION} if section == TRAINING_SECTION else {section}
    check_names([*holding, *(lists & set(data))], sorted(lists), "list")


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
    labels = true_labels(folder, entry.get("label"), names)
    value = None if entry.get("value") is None else _number(entry["value"], "value")
    if value is not None and abs(value) > LARGEST:
        raise ValueError(
            f"value {entry['value']!r} is beyond {LARGEST:g}, the largest that is accepted; give it in another unit"
        )
    if labels is not None and value is not None:
        raise ValueError("both label and value; a case has a label (classification) or a value (regression)")
    mask = entry.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise ValueError(f"mask {mask!r}; give its path relative to the list")
    if not all(_is_path(one) for one in (*images, mask or "")):
        raise ValueError("a path holds a character that no file name has (a zero byte or half of a character)")
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


def _is_path(given: str) -> bool:
    """Whether the system could have a file of that name; one that is no UTF-8 has half characters in Python, too."""
    try:
        return b"\0" not in os.fsencode(given)
    except UnicodeEncodeError:
        return False


def _number(given: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
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
    try:
        number = _number(given, "fold")
    except ValueError:
        number = math.nan
    if number != number // 1 or not 0 <= number < MOST_FOLDS:  # NaN is not itself
        raise ValueError(f"fold {given!r}; give a whole number from 0, below {MOST_FOLDS}")
    return int(number)


def _patient(given: Any) -> str | None:
    if isinstance(given, bool) or not isinstance(given, (str, int, float, type(None))):
        # Of the kind alone, as the value may be a name.
        raise ValueError(f"patient is of the kind {type(given).__name__}; give text or a number")
    if isinstance(given, float) and given.is_integer():  # pandas makes 7 of some rows 7.0 where others have none
        given = int(given)
    return None if given is None else str(given)
