"""MONAI bundles: export, verification, and those of others. Everything is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medattn_core.interop.archive import opened, unpack
    from medattn_core.interop.exporting import describe, export
    from medattn_core.interop.predictor import open_predictor
    from medattn_core.interop.verification import verify

_HOME = {
    "describe": "exporting",
    "export": "exporting",
    "open_predictor": "predictor",
    "opened": "archive",
    "unpack": "archive",
    "verify": "verification",
}

__all__ = ["describe", "export", "open_predictor", "opened", "unpack", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
