"""Rows of a CSV data list, as spreadsheets of all countries write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medattn_core.datalists.case import COLUMNS, SEPARATOR, bad
from medattn_core.datalists.entry import check_names

MARKS = ",;\t"
"""What may separate cells."""

_STATED = re.compile(r'\s*"?sep=(?P<mark>\\t|[^"\r\n]?)"?[ ,;\t]*(?:\r?\n|$)', re.IGNORECASE)
"""The line before the header by which Excel is told the separator."""


def csv_rows(path: Path, text: str, columns: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Where each row lies and its cells by column, those of :func:`known` and others; empty cells are left out.

    Args:
        path: for messages.
        text: of the file.
        columns: other names used in this list.

    Raises:
        DataListError: ``bad_datalist``.
    """
    stated, mark = _STATED.match(text), ""
    if stated:
        mark = stated["mark"].replace("\\t", "\t")
        if mark and mark not in MARKS:
            raise bad(path, f"its first line states the separator {mark!r}; accepted: comma, semicolon, tab")
        text = "\n" * stated[0].count("\n") + text[stated.end() :]  # rows keep their numbers
    if not text.strip():
        raise bad(path, f"it is empty; the first line names the columns: {', '.join(COLUMNS)}")
    needed = columns.get("image", "image")
    reader = csv.reader(io.StringIO(text), delimiter=mark or _delimiter(text, needed))
    lines = _cells(path, reader)
    names = next((line for line in ([cell.strip() for cell in cells] for cells in lines) if any(line)), [])
    try:
        check_names(names, known(columns), "column")
    except ValueError as error:
        raise bad(path, str(error)) from error
    if needed not in names:
        raise bad(path, f"the header has no column {needed!r}; accepted columns: {', '.join(COLUMNS)}")
    repeated = [name for name in known(columns) if names.count(name) > 1]
    if repeated:
        raise bad(path, f"the header repeats the column {repeated[0]!r}")
    width = max(index for index, name in enumerate(names) if name) + 1  # spreadsheets add columns without a name
    rows = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"row {reader.line_num}"
        if not width <= len(cells) <= len(names):
            raise bad(path, f"{where}: {len(cells)} cells, but the header has {len(names)}")
        row: dict[str, Any] = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
        for name in (needed, columns.get("label", "label")):
            if SEPARATOR in row.get(name, ""):
                row[name] = [part.strip() for part in row[name].split(SEPARATOR)]
        rows.append((where, row))
    return rows


def _delimiter(text: str, needed: str) -> str:
    """What separates the cells of the header: spreadsheets of many countries write semicolons.

    The one that leaves a column ``needed``, and of several of these the most frequent.
    """
    first = re.search(r'[^\s,;"]', text)  # lines may be blank before it
    start = text.rfind("\n", 0, first.start()) + 1 if first else 0
    header = re.compile(r'(?:"[^"]*"|[^"\n])*').match(text, start)
    bare = re.sub(r'"[^"]*"', "", header[0] if header else "")
    cells = {mark: [cell.strip() for cell in bare.split(mark)] for mark in MARKS}
    return max(cells, key=lambda mark: (needed in cells[mark], len(cells[mark])))


def _cells(path: Path, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise bad(path, f"it is not valid CSV ({error})") from error


def known(columns: Mapping[str, str]) -> list[str]:
    """Names of the columns that mean something in this list."""
    return [columns.get(name, name) for name in COLUMNS]
