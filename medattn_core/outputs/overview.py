"""The front page of a folder of results: of many inputs an overview, one row each, errors too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medattn_core.bundles.claims import UNMEASURED
from medattn_core.errors import CODES
from medattn_core.outputs import files, page
from medattn_core.outputs.answer import Answer
from medattn_core.outputs.page import esc
from medattn_core.outputs.text import number, percent, pretty
from medattn_core.volumes.filenames import title_of

LABEL_COLUMNS, LETTERS = 4, 80
"""Labels, and letters of all of them, up to which each has a column: more push each other off the paper."""
SHOWN_LABELS = 4
"""Of more labels, how many of a scan are shown at least: those said, then the most probable."""


FRONT_PAGE = "report.html"
"""Its name in the folder."""


def write_front_page(folder: Path, records: Sequence[Mapping[str, Any]], pages: Sequence[str | None]) -> Path:
    """Write the front page: of a single input its own page, where it has one.

    Args:
        folder: of the results.
        records, pages: as for :func:`overview`.

    Raises:
        VolumeError: ``unwritable``.
    """
    path = folder / FRONT_PAGE
    if len(records) == 1 and pages[0] is not None:
        return files.write_bytes(path, (folder / pages[0]).read_bytes())
    return files.write_text(path, overview(records, pages))


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
    columns = labels if len(labels) <= LABEL_COLUMNS and sum(map(len, labels)) <= LETTERS else None
    head = ["Input", "Result", "Notes", *(["Most probable"] if columns is None else map(esc, columns))]
    rows = [_row(record, link, columns) for record, link in zip(records, pages, strict=True)]
    counts = [f"{len(records) - failed} predicted"]
    counts += [f"{warned} with warnings"] if warned else []
    counts += [f"{failed} failed"] if failed else []
    models = sorted({f"{r['bundle']} {r['bundle_version']}" for r in records if r["bundle"]})
    title = f"{len(records)} input{'' if len(records) == 1 else 's'}"
    parts = [f'<p class="kind">{esc(", ".join(models))}</p>', f"<h1>{title}</h1>"]
    parts.append(f'<p class="soft">{", ".join(counts)}</p>')
    numeric = range(3, len(head)) if columns else ()
    parts.append(page.table(head, rows, numeric=numeric, css="inputs", named=True))
    return page.document(f"{title} \N{EN DASH} MedAttn", [*parts, *_about(records)])


def _row(record: Mapping[str, Any], link: str | None, columns: Sequence[str] | None) -> list[str]:
    title = title_of(record["input"] or "")
    name = esc(title) if link is None else f'<a href="{esc(quote(link))}">{esc(title)}</a>'
    first = f'<span title="{esc(title)}">{name}</span>'
    probabilities = record["probabilities"] or {}
    if columns is None:
        cells = [_most_probable(record)]
    else:
        cells = [esc(percent(probabilities[label])) if label in probabilities else "" for label in columns]
    error = record["error"]
    if error is not None:
        message = files.without_folders(error["message"], (record["input"] or "",))
        return [first, "failed", f"<span>{esc(message)} <code>{esc(error['code'])}</code></span>", *cells]
    codes = dict.fromkeys(warning["code"] for warning in record["warnings"])
    # Codes break between their words alone.
    notes = " ".join(f"<code>{esc(code).replace('_', '_<wbr>')}</code>" for code in codes)
    notes = f"<span>{notes}</span>" if notes else ""
    if record["value"] is not None:
        return [first, _quantity(record), notes, *cells]
    result = esc(Answer.of_record(record).words)
    if "below_threshold" in codes and record.get("abstained"):
        result += ' <span class="soft">(below threshold)</span>'
    return [first, f"<span>{result}</span>", notes, *cells]


def _most_probable(record: Mapping[str, Any]) -> str:
    """A few of many labels: all that are said, and others while there is room."""
    ranked = sorted((record["probabilities"] or {}).items(), key=lambda item: -item[1])
    said = {*(record.get("present") or ()), *(record.get("undecided") or ())}
    others = [label for label, _ in ranked if label not in said]
    shown = said | set(others[: max(0, SHOWN_LABELS - len(said))])
    found = [(esc(label), esc(percent(p))) for label, p in ranked if label in shown]
    rows = [f"<li><span>{label}</span><span>{share}</span></li>" for label, share in found]
    left = len(ranked) - len(rows)
    rows += [f'<li class="soft">{left} less probable</li>'] if left else []
    return f"<ul>{''.join(rows)}</ul>" if rows else ""


def _quantity(record: Mapping[str, Any]) -> str:
    """The value, and its interval where one is given and holds."""
    unit = esc(pretty(record["unit"] or ""))
    text = f"<strong>{esc(number(record['value'], 4))} {unit}".rstrip() + "</strong>"
    codes = {warning["code"] for warning in record["warnings"]}
    if record["interval"] is not None and not codes & UNMEASURED.keys():  # older results state it there too
        low, high = (esc(number(end, 4)) for end in record["interval"])
        share = f"{100 * record['coverage']:g} % interval: " if record["coverage"] else "interval: "
        text += f' <small class="soft">{share}{low} to {high} {unit}'.rstrip() + "</small>"
    return f"<span>{text}</span>"


def _about(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the percentages are, and what the codes of the notes mean."""
    parts = []
    sums = [sum(record["probabilities"].values()) for record in records if len(record["probabilities"] or ()) > 1]
    if any(abs(total - 1.0) > 0.01 for total in sums):
        text = "Each label is judged independently of the others: the percentages of a scan need not sum to 100."
        parts.append(f'<p class="note">{text}</p>')
    codes = dict.fromkeys(warning["code"] for record in records for warning in record["warnings"])
    known = [(code, esc(CODES[code])) for code in codes if code in CODES]  # older results may have others
    return [*parts, "<h2>Meaning of the notes</h2>", page.facts(known)] if known else parts
