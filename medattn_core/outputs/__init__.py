"""Save a Prediction: tables, evidence files, overlays, HTML report."""

from __future__ import annotations

from medattn_core.outputs.writer import ResultWriter, save

__all__ = ["ResultWriter", "save"]
