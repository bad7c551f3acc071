"""Which files MedAttn wrote: a folder of results may be one of scans, with reports and pictures of somebody's own."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medattn_core.inference.prediction import Evidence

GENERATOR = '<meta name="generator" content="MedAttn">'
"""In the head of every page."""
SOFTWARE = "MedAttn"
"""Text ``Software`` of every picture (PNG specification, 11.3.3.2)."""
EVIDENCE = "MedAttn evidence"
"""How the description in the header of every map begins."""
# What pages without a generator have in their head, as it was then.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_INK = ":root { color-scheme: light; --ink: #1c2128;"
_DESCRIPTION = slice(148, 228)
"""Of a NIfTI-1 header; NIfTI-2 has it at 240."""
_DESCRIPTION_2 = slice(240, 320)


def description_of(evidence: Evidence) -> str:
    """What the header of a map says of it: ASCII, at most 79 letters, as NIfTI has room for."""
    what = evidence.label if evidence.against is None else f"{evidence.label} against {evidence.against}"
    words = " ".join(f"{EVIDENCE} for {what}, {evidence.density_unit}".split())
    return words.encode("ascii", "replace")[:79].decode("ascii")


def is_ours(path: Path) -> bool:
    """Whether a page, a picture or a map is one that MedAttn wrote; False of what cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    if path.name.endswith(".html"):
        text = start.decode("utf-8", errors="replace")
        return GENERATOR in text or (_POLICY in text and _INK in text)  # earlier ones have no generator
    if path.name.endswith(".png"):
        return b"Software\0" + SOFTWARE.encode() in start
    try:
        header = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 352)
    except zlib.error:
        return False
    return any(header[part].startswith(EVIDENCE.encode()) for part in (_DESCRIPTION, _DESCRIPTION_2))
