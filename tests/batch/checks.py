"""What several tests of batches ask of a result folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medattn_core.batch import Settings, Summary, predict_many
from medattn_core.batch.journal import NAME


def run(scans: Sequence[Path], output: Path, bundle: Path, *, engine: str = "local", **more: Any) -> Summary:
    """One batch."""
    options = {name: more.pop(name) for name in ("restart", "begun", "done") if name in more}
    settings = Settings(bundle=str(bundle), device="cpu", **more)
    return predict_many([(path, ()) for path in scans], output, settings, engine=engine, **options)


def records(output: Path) -> list[dict[str, Any]]:
    """predictions.json without times."""
    found = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
    return [{key: value for key, value in record.items() if key != "timings_s"} for record in found]


def table(output: Path) -> str:
    """predictions.csv, sorted, without the one column of times."""
    rows = list(csv.reader(io.StringIO((output / "predictions.csv").read_text(encoding="utf-8"))))
    times = rows[0].index("time_s")
    return "\n".join(sorted(",".join(row[:times] + row[times + 1 :]) for row in rows))


def maps(output: Path) -> dict[str, bytes]:
    """Evidence files."""
    return {path.name: path.read_bytes() for path in output.glob("*_evidence*")}


def left_over(output: Path) -> list[str]:
    """Files that were being written."""
    return [path.name for path in output.iterdir() if path.suffix in (".tmp", ".part")]


def interrupted(scans: Sequence[Path], output: Path, bundle: Path, *, after: int, **more: Any) -> int:
    """A run that is interrupted when so many scans are done; rows that it leaves: what was under way is finished, too.

    With one worker that is six more at most: two threads, and what waits between them and the table.
    """
    count = 0

    def done(_: object) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scans, output, bundle, done=done, **{"workers": 1, **more})
    return len(records(output))


def rows(output: Path) -> int:
    """Lines of the journal that tell of a result, not of a name alone."""
    journal = output / NAME
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    return sum(line.endswith(b"\n") and not line.startswith(b'{"batch"') for line in lines)
