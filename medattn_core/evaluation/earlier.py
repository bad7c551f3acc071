"""What lies in the folder of the results already: an earlier evaluation, or files of somebody else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medattn_core.errors import MedAttnError
from medattn_core.evaluation import examples, pictures
from medattn_core.outputs.own_files import is_ours

METRICS, CASES, PAGE = "metrics.json", "cases.csv", "summary.html"

MODEL = ("weights_sha256", "members_sha256", "bundle", "bundle_version")
LIST = ("data", "data_sha256", "section", "fold")
"""Keys of metrics.json that say what was measured, and on what."""


def check_strangers(folder: Path) -> None:
    """Refuse to write over what no evaluation has written; every result has its metrics.json first.

    Raises:
        MedAttnError: ``bad_argument``, a file by the name of a result is not one.
    """
    found, metrics = _earlier(folder), folder / METRICS
    there = [metrics] if found is None and metrics.exists() else _results(folder)
    for path in there:
        if not _is_of(found, path):
            raise MedAttnError(
                "bad_argument",
                f"{path}: it is of no evaluation, and is not written over; choose another --output, or move it away",
            )


def check_other(folder: Path, now: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse to replace the results of another model or list unasked.

    Args:
        folder: of the results.
        now: what is to be measured, the keys of :data:`MODEL` and :data:`LIST`.
        overwrite: whether they may be replaced.

    Raises:
        MedAttnError: ``other_run``.
    """
    there = None if overwrite else _earlier(folder)
    if there is None:
        return
    # Results of earlier versions do not say what was in their list.
    different = [key for key in (*MODEL, *LIST) if key in there and there[key] != now[key]]
    if None in (there.get("section"), now["section"]):  # where none is named there is one that can be
        different = [key for key in different if key != "section"]
    if not different:
        return
    theirs, own = _what(there), _what(now)
    if theirs == own:
        weights = {"weights_sha256", "members_sha256"} & {*different}
        own += " (other weights)" if weights else " (another list of that name, or a changed one)"
    raise MedAttnError(
        "other_run",
        f"{folder}: results of {theirs} lie there, and those of {own} would replace them; choose another --output, or "
        "replace them (--overwrite)",
    )


def results_of(folder: Path) -> list[Path]:
    """The rest of an earlier evaluation: an old curve beside new numbers would be believed."""
    found = _earlier(folder)
    return [path for path in _results(folder) if _is_of(found, path)]


def _is_of(found: Mapping[str, Any] | None, path: Path) -> bool:
    """Whether a file by the name of a result is one of the evaluation whose metrics.json is ``found``.

    A table says nothing of who wrote it; neither do the curves of earlier versions, which noted no ``data_sha256``.
    """
    if found is None or not path.is_file():
        return False
    return path.name == CASES or "data_sha256" not in found or is_ours(path)


def _earlier(folder: Path) -> dict[str, Any] | None:
    """The metrics.json of an earlier evaluation; None where there is none, or one of something else."""
    try:
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "weights_sha256" in found else None


def _results(folder: Path) -> Iterator[Path]:
    """Files by the names of results that are there, without metrics.json."""
    for name in (CASES, PAGE, *pictures.FILES.values()):
        if (folder / name).exists():
            yield folder / name
    for path in sorted(folder.glob("example_*.png")):
        if re.fullmatch(examples.NAME, path.name):
            yield path


def _what(found: Mapping[str, Any]) -> str:
    """A model on a list, in words."""
    section = "" if found.get("section") is None else f", list {found['section']}"
    fold = "" if found.get("fold") is None else f", fold {found['fold']}"
    return f"{found.get('bundle')} {found.get('bundle_version')} on {found.get('data')}{section}{fold}"
