"""What lies in the folder of the results already: an earlier evaluation, or files of somebody else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medattn_core.errors import MedAttnError
from medattn_core.evaluation import examples, pictures

METRICS, CASES, PAGE = "metrics.json", "cases.csv", "summary.html"

MODEL = ("weights_sha256", "bundle", "bundle_version")
LIST = ("data", "data_sha256", "section", "fold")
"""Keys of metrics.json that say what was measured, and on what."""


def check_strangers(folder: Path) -> None:
    """Refuse to write over what no evaluation has written; every result has its metrics.json first.

    Raises:
        MedAttnError: ``bad_argument``, a file by the name of a result is not one.
    """
    if _earlier(folder) is not None:
        return
    metrics = folder / METRICS
    for path in [metrics] if metrics.exists() else _results(folder):
        raise MedAttnError(
            "bad_argument",
            f"{path}: it is not of an evaluation, and is not written over; choose another --output, or move it away",
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
    if not different:
        return
    theirs, own = _what(there), _what(now)
    if theirs == own:
        own += " (other weights)" if "weights_sha256" in different else " (another list of that name, or a changed one)"
    raise MedAttnError(
        "other_run",
        f"{folder}: results of {theirs} lie there, and those of {own} would replace them; choose another --output, or "
        "replace them (--overwrite)",
    )


def clear(folder: Path) -> None:
    """Remove the rest of an earlier evaluation: an old curve beside new numbers would be believed."""
    for path in _results(folder):
        path.unlink(missing_ok=True)


def is_earlier(folder: Path) -> bool:
    """Whether an earlier evaluation lies here."""
    return _earlier(folder) is not None


def _earlier(folder: Path) -> dict[str, Any] | None:
    """The metrics.json of an earlier evaluation; None where there is none, or one of something else."""
    try:
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
