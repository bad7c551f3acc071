"""Words that several messages share."""

from __future__ import annotations

LISTED = 5
"""Most files or series a message names one by one."""


def listed(texts: list[str]) -> str:
    """The first few texts, and how many more there are."""
    more = len(texts) - LISTED
    return "; ".join(texts[:LISTED]) + (f"; and {more} more" if more > 0 else "")
