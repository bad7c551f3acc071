"""The overview page of many inputs: one row each, errors too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from medattn_core.outputs import page
from medattn_core.outputs.files import without_folders
from medattn_core.outputs.page import esc
from medattn_core.outputs.text import number, percent
from medattn_core.volumes.filenames import title_of


def overview(records: Sequence[Mapping[str, Any]], pages: Sequence[str | None]) -> str:
    """The page.

    Args:
        records: objects of predictions.json. In the message of an error the folders of its input are left out; those
            of channels and a mask, which it may name, by who knows them.
        pages: file name of each record's own page in the same folder, None where it has none.
    """
    failed = sum(record["error"] is not None for record in records)
    warned = sum(bool(record["warnings"]) and record["error"] is None for record in records)
    labels = list(dict.fromkeys(label for record in records for label in (record["probabilities"] or {})))
    values = any(record["value"] is not None for record in records)
    head = ["Input", *(esc(label) for label in labels), *(["Value"] if values else []), "Result", "Notes"]
    rows = [_row(record, link, labels, values) for record, link in zip(records, pages, strict=True)]
    counts = [f"{len(records) - failed} predicted"]
    counts += [f"{warned} with warnings"] if warned else []
    counts += [f"{failed} failed"] if failed else []
    models = sorted({f"{r['bundle']} {r['bundle_version']}" for r in records if r["bundle"]})
    parts = [f'<p class="kind">{esc(", ".join(models))}</p>', f"<h1>{len(records)} inputs</h1>"]
    parts.append(f'<p class="soft">{", ".join(counts)}</p>')
    parts.append(page.table(head, rows, numeric=range(1, 1 + len(labels) + values), css="inputs"))
    return page.document(f"{len(records)} inputs \N{EN DASH} MedAttn", parts)


def _row(record: Mapping[str, Any], link: str | None, labels: Sequence[str], values: bool) -> list[str]:
    title = title_of(record["input"] or "")
    name = esc(title) if link is None else f'<a href="{esc(quote(link))}">{esc(title)}</a>'
    cells = [f'<span title="{esc(title)}">{name}</span>']
    probabilities = record["probabilities"] or {}
    cells += [esc(percent(probabilities[label])) if label in probabilities else "" for label in labels]
    if values:
        value = record["value"]
        cells.append("" if value is None else esc(f"{number(value, 4)} {record['unit'] or ''}".rstrip()))
    error = record["error"]
    if error is not None:
        message = without_folders(error["message"], (record["input"] or "",))
        return [*cells, "failed", f"{esc(message)} <code>{esc(error['code'])}</code>"]
    codes = dict.fromkeys(warning["code"] for warning in record["warnings"])
    result = esc(_result(record))
    if "below_threshold" in codes:
        result += ' <span class="soft">(below threshold)</span>'
    return [*cells, result, " ".join(f"<code>{esc(code)}</code>" for code in codes)]


def _result(record: Mapping[str, Any]) -> str:
    """What is said; of labels that are judged by themselves those that are there, and those that are left open."""
    present, open_ = record.get("present"), record.get("undecided") or ()  # older unfinished runs know neither
    below = any(warning["code"] == "below_threshold" for warning in record["warnings"])
    if present is None or (below and not record.get("abstained")):
        return record["label"] or ""
    if record.get("abstained") and record.get("undecided") is None:
        return f"undecided: {record['label']}"
    sure = ", ".join(label for label in present if label not in open_)
    left = f"undecided: {', '.join(open_)}" if open_ else ""
    return "; ".join(part for part in (sure, left) if part) or "none"
