"""The lines of predictions.jsonl as they are read back: of each result the last one holds.

A row that is done again stays until its replacement is appended, and a name is reserved by a line of its own before
files are written under it: so one result may have several lines until the journal is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medattn_core.errors import Notice
from medattn_core.outputs.writer import ENDINGS

RESULT = re.compile(rf"[\w.\-]+_({'|'.join(re.escape(ending[1:]) for ending in ENDINGS.values())})")
"""Names of result files."""
_OF_DROPPED = ("place", "name", "files")


class Lines:
    """What a journal says, in its order: rows, and names that are reserved without a row (``dropped``).

    Torn lines, and what is no line of a journal, are passed over. Where a name was reserved after its row and the
    process ended before the next one, the row holds as long as the files are those of then; else some of them are of
    another result than the row.

    Args:
        path: of the journal, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        last: dict[tuple[str, str], int] = {}
        begun: dict[tuple[str, str], tuple[int, Mapping[str, int]]] = {}
        for offset, row in _entries(path):
            batch = row["batch"]
            key = batch["place"], batch["name"]
            if "dropped" in batch and key in last:
                begun[key] = offset, batch["files"]
            else:
                last[key] = offset
                begun.pop(key, None)
        for key, (offset, files) in begun.items():
            if changed(path.parent, files):
                last[key] = offset
        self._offsets = frozenset(last.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row for offset, row in _entries(self._path) if offset in self._offsets)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows alone."""
        return (row for row in self if "dropped" not in row["batch"])


def reservation(folder: Path, place: str, name: str) -> dict[str, Any]:
    """The line that a name is taken, with the times of the files that lie there under it (0: none does)."""
    files = {one: _time(folder / one) for one in (f"{name}{ending}" for ending in ENDINGS.values())}
    return dropped({"place": place, "name": name, "files": files})


def dropped(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a result that has no row, or none any more, while files of it may lie there."""
    return {"batch": {key: batch[key] for key in _OF_DROPPED} | {"dropped": True}}


def of_before(row: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of an input whose files are gone, with a warning; to be done again once they are back.

    Args:
        row: of before.
        batch: of now: ``run``, ``of`` and what besides its path tells the input from another.

    Returns:
        None where it is no result, or one of the same path with another mask, channel or series.
    """
    if row["error"] or any(row["batch"].get(key) != batch[key] for key in batch if key not in ("run", "of")):
        return None
    text = "a file of the input was no longer there when it was to be predicted again; this is the result of before"
    notes = [note for note in row.get("warnings") or () if note["code"] != "input_gone"]
    of = {key: value for key, value in row["batch"].items() if key != "kept"} | dict(batch) | {"gone": True}
    return {**row, "warnings": [*notes, Notice("input_gone", text).to_dict()], "batch": of}


def changed(folder: Path, files: Mapping[str, int]) -> set[str]:
    """Files that were written or removed since their name was reserved."""
    return {name for name, time in files.items() if RESULT.fullmatch(name) and _time(folder / name) != time}


def _time(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime_ns
    return 0


def place_of(path: str | os.PathLike[str]) -> str:
    """Which file or folder a path means, whatever folder it was typed in; a hash, which names nobody."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]


def line(row: Mapping[str, Any]) -> bytes:
    """A line of the journal."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="backslashreplace") + b"\n"


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows and reserved names, with where their lines begin."""
    for offset, row in _objects(path):
        try:
            batch = row["batch"]
            if "dropped" in batch:
                if set(_OF_DROPPED) <= set(batch):
                    yield offset, row
                continue
            whole = {"run", "of", "name", "channels", "stamp", "files"} <= set(batch)
            if "place" not in batch:  # of an older version, which knew what was typed alone
                known_place = all(os.path.isabs(one) for one in (row["input"], *batch["channels"]))
                batch["place"] = place_of(row["input"]) if known_place else f"typed {row['input']}"
                batch["channels"] = [place_of(one) for one in batch["channels"]]
            known = {"input", "error", "bundle", "bundle_version"} <= set(row)
        except (ValueError, TypeError, KeyError):
            continue
        if whole and known:
            yield offset, row


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Whole lines that are objects."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; its absence is no error)
    except FileNotFoundError:
        return
    with file:
        offset = 0
        for text in file:
            if text.startswith(b"{") and text.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    yield offset, json.loads(text)
            offset += len(text)
