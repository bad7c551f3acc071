"""predictions.json and predictions.csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medattn_core.errors import MedAttnError
from medattn_core.spreadsheets import safe_text

KEYS = (
    *("input", "channels", "series_instance_uid", "bundle", "bundle_version", "weights_sha256", "runtime", "label"),
    *("present",),
    *("probabilities", "calibrated", "value", "unit", "logits", "bias", "uncertainty"),
    *("label_set", "interval", "coverage"),
    *("confidence", "abstained", "undecided", "evidence", "regions", "warnings", "error", "timings_s"),
)
"""Keys of each object of predictions.json, in order; all are always there."""


def record_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with all :data:`KEYS` in their order (further keys follow), as strict JSON data."""
    full = {"channels": [], "probabilities": {}, "regions": [], "warnings": [], "timings_s": {}, **result}
    return {key: plain(full.get(key)) for key in (*KEYS, *(k for k in full if k not in KEYS))}


def error_record(source: str, error: MedAttnError) -> dict[str, Any]:
    """The object of an input that failed: nothing in it can pass as a result."""
    return record_of({"input": source, "error": {"code": error.code, "message": error.message}})


def plain(value: Any) -> Any:
    """Strict JSON data: numpy turned to Python, NaN and infinity to null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def to_json(records: Sequence[Mapping[str, Any]]) -> str:
    """Text of predictions.json."""
    return json.dumps(list(records), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Text of predictions.csv: one row an input, the strongest region only, ``;`` between codes."""
    rows = [flat(record) for record in records]
    seen: dict[str, None] = {}
    for row in rows:
        seen.update(dict.fromkeys(row))
    columns = columns_of(seen)
    return "".join(csv_row(row, columns) for row in ({column: column for column in columns}, *rows))


def columns_of(seen: Iterable[str]) -> list[str]:
    """Columns of a table, from all that its rows have, each once, in order of first appearance."""
    # But a block of one kind (probability_...) stays together.
    seen = list(seen)
    blocks = list(dict.fromkeys(column.split("_")[0] for column in seen))
    return sorted(seen, key=lambda column: blocks.index(column.split("_")[0]))


def csv_row(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """One line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([safe_cell(row.get(column)) for column in columns])
    return buffer.getvalue()


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """One object of predictions.json as one row."""
    given = ("input", "series_instance_uid", "bundle", "bundle_version", "weights_sha256", "runtime", "label")
    row = {key: record.get(key) for key in given}  # unfinished runs of before know no runtime
    row["channels"] = "|".join(record.get("channels") or ())
    row["present"] = None if record.get("present") is None else "|".join(record["present"])
    for name, key in (("probability", "probabilities"), ("logit", "logits"), ("bias", "bias")):
        row.update({f"{name}_{label}": value for label, value in _by_label(record, key).items()})
    row.update({key: record[key] for key in ("value", "unit")})
    low, high = record["interval"] or (None, None)
    row.update({"value_low": low, "value_high": high})
    row["label_set"] = None if record["label_set"] is None else "|".join(record["label_set"])
    row.update({key: record[key] for key in ("coverage", "confidence", "abstained")})
    row["calibrated"] = record.get("calibrated")  # like the next, unknown to unfinished runs of before
    undecided = record.get("undecided")
    row["undecided"] = None if undecided is None else "|".join(undecided)
    uncertainty = record["uncertainty"]
    if isinstance(uncertainty, Mapping):
        for key, value in uncertainty.items():
            each = (
                {f"_{label}": number for label, number in value.items()} if isinstance(value, Mapping) else {"": value}
            )
            row.update({f"uncertainty_{key}{label}": number for label, number in each.items()})
    else:
        row["uncertainty"] = uncertainty
    evidence = record["evidence"] or {}
    row.update({f"evidence_{key}": evidence.get(key) for key in ("path", "label", "unit", "sum", "residual")})
    regions = record["regions"] or []
    row["region_count"] = None if record["error"] else len(regions)
    first = regions[0] if regions else {}
    place = first.get("world_position_mm") or [None, None, None]
    at = first.get("voxel_index") or [None, None, None]
    row.update(zip(("region_1_i", "region_1_j", "region_1_k"), at, strict=True))
    row.update(zip(("region_1_r_mm", "region_1_a_mm", "region_1_s_mm"), place, strict=True))
    row.update({f"region_1_{key}": first.get(key) for key in ("volume_mm3", "contribution")})
    if record["error"] is None:  # an input that failed does not know which of the two it would have
        kind = "probability" if record["value"] is None else "value"
        row[f"region_1_{kind}_without"] = first.get("probability_without")
    row["warnings"] = ";".join(dict.fromkeys(warning["code"] for warning in record["warnings"]))
    error = record["error"] or {}
    row.update({"error_code": error.get("code"), "error_message": error.get("message")})
    timings = record["timings_s"] or {}
    row["time_s"] = timings.get("total", sum(timings.values()) if timings else None)
    return row


def _by_label(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Values by label, whether they come as an object or as a list in the order of the probabilities."""
    values = record[key]
    if isinstance(values, Mapping):
        return dict(values)
    labels = list(record["probabilities"] or {}) or [record["label"] or "value"]
    return dict(zip(labels, values or [], strict=False))


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: numbers as they are, texts :func:`safe_text`."""
    if value is None:
        return ""
    return safe_text(value) if isinstance(value, str) else value
