"""Many volumes, one after another, into one table."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from MedAttnLib import tables
from MedAttnLib.steps import Steps, TaskError
from MedAttnLib.texts import _


def steps(logic: Any, volumes: Sequence[Any], bundle: str, progress: Callable[[float, str], None]) -> Steps:
    """Predict each volume; the table is in the scene from the first row on. One that fails is a row like any other.

    Returns:
        The table node.

    Raises:
        TaskError: there is nothing to predict.
    """
    if not volumes:
        raise TaskError("bad_argument", _("there is no scan to predict; load some, or choose another folder"))
    rows: list[dict[str, Any]] = []
    table = None
    for number, volume in enumerate(volumes):
        start = time.perf_counter()
        text = _("scan {number} of {count}").format(number=number + 1, count=len(volumes))

        def report(fraction: float, detail: str, number: int = number, text: str = text) -> None:
            progress((number + fraction) / len(volumes), f"{text}: {detail}")

        row: dict[str, Any] = {"volume": volume.GetName() if volume.GetScene() is not None else _("(removed)")}
        try:
            found = yield from logic._apply(volume, bundle, None, "", False, report)
            row.update(found.result)
        except TaskError as error:
            if error.code in ("cancelled", "worker_unavailable"):  # a scan that was removed is a row like any other
                raise
            row["error"] = f"[{error.code}] {error.message}"
        except Exception as error:  # whatever is wrong with one scan, the others are predicted
            traceback.print_exc()  # into the Python console, as for a scan by itself
            # The class alone: the text of a foreign exception may quote a name or a path.
            row["error"] = f"[internal] {type(error).__name__}"
        row["seconds"] = time.perf_counter() - start
        rows.append(row)
        table = tables.batch(logic.scene, rows)
        yield
    return table
