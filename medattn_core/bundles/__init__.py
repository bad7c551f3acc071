"""The model format: a MONAI bundle folder whose task specification is data. Load, save, model card, registry.

Finding and checking bundles needs no torch; ``load_network``, ``save_bundle`` and ``seal`` are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medattn_core.bundles.bundle import FORMAT, Bundle, Recipe
from medattn_core.bundles.card import model_card
from medattn_core.bundles.load import BUNDLE_NAME, load, shipped_names
from medattn_core.bundles.registry import list_bundles

if TYPE_CHECKING:
    from medattn_core.bundles.save import check_target, save_bundle, seal
    from medattn_core.bundles.weights import load_network, load_networks

_HOME = {
    "check_target": "save",
    "load_network": "weights",
    "load_networks": "weights",
    "save_bundle": "save",
    "seal": "save",
}

__all__ = [
    "BUNDLE_NAME",
    "FORMAT",
    "Bundle",
    "Recipe",
    "check_target",
    "list_bundles",
    "load",
    "load_network",
    "load_networks",
    "model_card",
    "save_bundle",
    "seal",
    "shipped_names",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use (PEP 562)."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
