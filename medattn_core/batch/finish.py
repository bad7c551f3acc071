"""The final tables out of the journal, a row at a time: their size does not bound what fits into memory."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from medattn_core.batch.journal import Journal
from medattn_core.batch.lock import unwritable
from medattn_core.outputs import files, tables
from medattn_core.outputs.overview import write_front_page

_OVERVIEW = (
    *("input", "error", "warnings", "label", "present", "abstained", "undecided", "probabilities", "value", "unit"),
    *("interval", "coverage", "bundle", "bundle_version"),
)


class CsvStream:
    """predictions.csv while the batch runs: rows in the order they finish; :func:`finish` orders them as the inputs.

    The columns are those of the rows so far; a row with more of them (the first result after failures) asks for the
    file to be written anew.

    Args:
        folder: of the results.
        rows: gives all rows so far.
    """

    def __init__(self, folder: Path, rows: Callable[[], Iterator[Mapping[str, Any]]]) -> None:
        self._path, self._rows = folder / "predictions.csv", rows
        self._columns: list[str] = []
        self._file: TextIO | None = None
        self._anew()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a row."""
        row = tables.flat(record)
        if not set(row) <= set(self._columns):
            self._anew()  # the row is in the journal by now
            return
        self._write(tables.csv_row(row, self._columns))

    def _write(self, text: str) -> None:
        assert self._file is not None
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """End it."""
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take was said by append
                self._file.close()

    def _anew(self) -> None:
        self.close()
        self._columns = _write_csv(self._path, self._rows)
        try:
            self._file = open(self._path, "a", encoding="utf-8", newline="", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            raise unwritable(self._path, error) from error


def finish(journal: Journal, *, report: bool) -> None:
    """Write predictions.json, predictions.csv and, with ``report``, report.html, each whole or not at all.

    Without ``report`` too, where results of an earlier run have pages: their overview would be lost, or lack this run.

    Raises:
        VolumeError: ``unwritable``.
    """
    folder = journal.folder

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal report
        for row in journal.rows():
            report = report or _page(row["batch"]) is not None
            row.pop("batch")
            yield row

    with files.replacing(folder / "predictions.json") as temporary, _text(temporary) as file:
        before = "[\n"
        for row in rows():
            file.write(before + textwrap.indent(json.dumps(row, indent=2, ensure_ascii=False, allow_nan=False), "  "))
            before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")
    _write_csv(folder / "predictions.csv", rows)
    if report and len(journal):
        _front_page(journal)


def _write_csv(path: Path, rows: Callable[[], Iterator[Mapping[str, Any]]]) -> list[str]:
    seen: dict[str, None] = {}
    for row in rows():
        seen.update(dict.fromkeys(tables.flat(row)))
    columns = tables.columns_of(seen)
    with files.replacing(path) as temporary, _text(temporary) as file:
        file.write(tables.csv_row({column: column for column in columns}, columns))
        for row in rows():
            file.write(tables.csv_row(tables.flat(row), columns))
    return columns


def _front_page(journal: Journal) -> None:
    slim, pages = [], []
    for row in journal.rows():
        shown = {key: row.get(key) for key in _OVERVIEW}
        if shown["error"]:
            shown["error"] = {**shown["error"], "message": row["batch"]["shown"]}
        slim.append(shown)
        pages.append(_page(row["batch"]))
    write_front_page(journal.folder, slim, pages)


def _page(batch: Mapping[str, Any]) -> str | None:
    """Name of the page of a row, where it has one."""
    own = f"{batch['name']}_report.html"
    return own if own in batch["files"] else None


def _text(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", newline="", errors="backslashreplace")
