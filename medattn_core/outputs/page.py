"""The skeleton and small parts of the HTML pages: self-contained, no script, no link outside the folder."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from medattn_core.outputs.own_files import GENERATOR

STYLE = """
:root { color-scheme: light; --ink: #1c2128; --soft: #5e6670; --line: #e3e5e8; --accent: #2f5d8a; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f6f4; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 36px 24px; background: #fff; min-height: 100vh; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; font-weight: 600; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 10px; font-weight: 600; }
h3 { font-size: 1rem; margin: 26px 0 10px; font-weight: 600; }
h3 small { font-weight: 400; color: var(--soft); font-size: 0.95em; margin-left: 0.6em; }
p { margin: 8px 0; max-width: 46em; }
a { color: var(--accent); }
.kind { color: var(--soft); margin: 0 0 4px; font-size: 0.9rem; }
.soft, figcaption, .note { color: var(--soft); }
.note { font-size: 0.92rem; }
.banner { margin: 22px 0 0; padding: 12px 16px; background: #fff7e6; border-left: 4px solid #d99a1c;
  border-radius: 3px; }
.banner.bad { background: #fdeeee; border-left-color: #c0392b; }
.banner p { margin: 0 0 4px; font-weight: 600; }
.banner ul { margin: 0; padding-left: 18px; }
code { font: 0.88em ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.banner code { color: #7a5410; }
.banner.bad code { color: #8c2b20; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 8px 14px 8px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { font-weight: 500; color: var(--soft); font-size: 0.9rem; vertical-align: bottom; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
.inputs td { vertical-align: top; }
.inputs th, .inputs td { overflow-wrap: anywhere; }
.inputs th { min-width: 6.5em; }
.inputs th.n { min-width: 8em; }
.inputs th:nth-child(4):not(.n) { width: 36%; min-width: 15em; }
.inputs small { display: block; }
.inputs ul { list-style: none; margin: 0; padding: 0; }
.inputs li { display: flex; justify-content: space-between; gap: 12px; }
.inputs li span:last-child { white-space: nowrap; }
tr.first td { font-weight: 600; }
.labels td:first-child { overflow-wrap: anywhere; min-width: 8em; }
.probability td:first-child { overflow-wrap: anywhere; }
.probability td:nth-child(2) { width: 52%; }
.probability td:last-child { padding-right: 0; }
.bar { height: 14px; background: #eef0f2; border-radius: 2px; overflow: hidden; }
.bar i { display: block; height: 100%; background: #a9bccd; }
tr.first .bar i { background: var(--accent); }
.value { font-size: 2rem; font-weight: 600; margin: 6px 0; }
.planes { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; }
.planes.one { grid-template-columns: minmax(0, 620px); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: 0.88rem; margin-top: 5px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 20px; margin: 18px 0; }
.chart { display: block; width: 100%; max-width: 480px; height: auto; }
.stack { position: relative; background: #000; }
.stack img { display: block; width: 100%; height: auto; }
.stack .evidence { position: absolute; inset: 0; }
#show { margin: 0 8px 0 0; vertical-align: -1px; }
#show:not(:checked) ~ .pictures .evidence { visibility: hidden; }
.legend { max-width: 480px; margin: 14px 0 4px; font-size: 0.88rem; }
.legend img { display: block; width: 100%; height: 16px; image-rendering: auto; }
.legend div { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.legend .ends { display: grid; grid-template-columns: minmax(0, 1fr) auto minmax(0, 1fr); gap: 8px;
  overflow-wrap: anywhere; }
.legend .ends span:last-child { text-align: right; }
.legend .ticks span { flex: 0 0 0; display: flex; justify-content: center; white-space: nowrap; }
.legend .ticks span:first-child { justify-content: flex-start; }
.legend .ticks span:last-child { justify-content: flex-end; }
.sum { white-space: nowrap; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 22px; margin: 10px 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 44px; padding-top: 14px; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.92rem; }
footer strong { color: var(--ink); font-weight: 600; }
@media (max-width: 700px) {
  main { padding: 20px 16px; }
  .planes { grid-template-columns: 1fr; gap: 18px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
  .probability td:nth-child(2) { width: 40%; }
  .sum { white-space: normal; }
  .inputs, .inputs tbody, .inputs tr, .inputs td { display: block; }
  .inputs thead { display: none; }
  .inputs tr { padding: 10px 0; border-bottom: 1px solid var(--line); }
  .inputs td, .inputs td.n { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 12px;
    padding: 3px 0; border: 0; text-align: left; white-space: normal; }
  .inputs td:empty, .inputs td.n:empty { display: none; }
  .inputs td::before { content: attr(data-head); color: var(--soft); font-size: 0.9rem; }
}
@media print {
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { background: #fff; font-size: 11pt; }
  main { max-width: none; padding: 0; min-height: 0; }
  h2, h3 { break-after: avoid; }
  .together, .inputs tr { break-inside: avoid; }
  .wide { overflow: visible; }
  #show, #show + label { display: none; }
  .planes { grid-template-columns: repeat(3, 1fr); gap: 8px; break-inside: avoid; }
}
"""


def esc(text: object) -> str:
    """Text made harmless for HTML, in content and in quoted attributes."""
    return escape(str(text), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """A complete page; ``title`` is escaped here, ``body`` parts must be HTML already."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            GENERATOR,
            # Nothing may run or be loaded, whatever a file name or a bundle's text tries.
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{esc(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            FOOTER,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


FOOTER = (
    "<footer><strong>Research use only.</strong> Not a medical device; not for diagnosis or treatment decisions. "
    "Made by MedAttn.</footer>"
)


def image(png: bytes, alt: str, css: str = "") -> str:
    """An inline picture."""
    data = base64.b64encode(png).decode("ascii")
    style = f' class="{css}"' if css else ""
    return f'<img{style} alt="{esc(alt)}" src="data:image/png;base64,{data}">'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[int] = (),
    *,
    first: int | None = None,
    css: str = "",
    named: bool = False,
) -> str:
    """A table of HTML cells; columns in ``numeric`` are right-aligned, row ``first`` is emphasised.

    With ``named`` each cell knows the name of its column (escaped text), for screens too narrow for columns.
    """

    def cell(tag: str, column: int, content: str) -> str:
        kind = ' class="n"' if column in numeric else ""
        kind += f' data-head="{head[column]}"' if named and tag == "td" else ""
        return f"<{tag}{kind}>{content}</{tag}>"

    lines = [f'<div class="wide"><table class="{css}">' if css else '<div class="wide"><table>']
    if head:
        lines.append("<thead><tr>" + "".join(cell("th", i, h) for i, h in enumerate(head)) + "</tr></thead>")
    lines.append("<tbody>")
    for index, row in enumerate(rows):
        opening = '<tr class="first">' if index == first else "<tr>"
        lines.append(opening + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>")
    lines.append("</tbody></table></div>")
    return "\n".join(lines)


def meter(share: float) -> str:
    """A horizontal bar for a probability."""
    width = min(max(share, 0.0), 1.0) * 100.0
    return f'<div class="bar"><i style="width:{width:.1f}%"></i></div>'


def banner(title: str, items: Sequence[tuple[str, str]], *, bad: bool = False) -> str:
    """A box with ``(code, message)`` items."""
    listed = "".join(f"<li>{esc(message)} <code>{esc(code)}</code></li>" for code, message in items)
    return f'<div class="banner{" bad" if bad else ""}" role="note"><p>{esc(title)}</p><ul>{listed}</ul></div>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A description list; terms are plain text, details HTML."""
    return "<dl>" + "".join(f"<dt>{esc(term)}</dt><dd>{detail}</dd>" for term, detail in pairs) + "</dl>"
