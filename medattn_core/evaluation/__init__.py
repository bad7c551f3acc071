"""How good a model is, and how far its map can be trusted: scores with intervals, peers, pictures, a page.

The scores need no torch; ``Settings`` and ``evaluate``, which run a model, are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medattn_core.evaluation.evaluating import Settings, evaluate

__all__ = ["Settings", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.evaluating"), name)
