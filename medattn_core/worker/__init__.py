"""A long-lived process that predicts for a viewer: requests and answers are JSON lines (docs/worker.md)."""

from __future__ import annotations

PROTOCOL = 1
"""Version of the messages; grows when a client would have to change."""
