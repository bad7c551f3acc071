"""Many scans: several at a time, in bounded memory, resumable, here or on a cluster."""

from __future__ import annotations

from medattn_core.batch.run import Summary, predict_many
from medattn_core.batch.settings import Settings

__all__ = ["Settings", "Summary", "predict_many"]
