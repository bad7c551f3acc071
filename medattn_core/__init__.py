"""MedAttn: medical image classification in which the evidence map is the decision.

The names below are imported when they are first used, so that ``import medattn_core`` is quick and needs neither
torch nor MONAI; so are the rooms of the house (``medattn_core.outputs.save(prediction, folder)``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medattn_core.version import __version__

if TYPE_CHECKING:
    from medattn_core.bundles import Bundle
    from medattn_core.errors import MedAttnError, Notice
    from medattn_core.inference import Prediction, Predictor
    from medattn_core.networks.attention_cnn import AttentionCNN
    from medattn_core.tasks import IntensityRule, TaskSpec
    from medattn_core.volumes import Series, Volume, list_series, read, write

_HOME = {
    "AttentionCNN": "networks.attention_cnn",
    "Bundle": "bundles",
    "IntensityRule": "tasks",
    "MedAttnError": "errors",
    "Notice": "errors",
    "Prediction": "inference",
    "Predictor": "inference",
    "Series": "volumes",
    "TaskSpec": "tasks",
    "Volume": "volumes",
    "list_series": "volumes",
    "read": "volumes",
    "write": "volumes",
}
_ROOMS = (
    "batch",
    "bundles",
    "datalists",
    "errors",
    "evaluation",
    "inference",
    "interop",
    "metrics",
    "networks",
    "outputs",
    "tasks",
    "training",
    "transforms",
    "volumes",
)

__all__ = [
    "AttentionCNN",
    "Bundle",
    "IntensityRule",
    "MedAttnError",
    "Notice",
    "Prediction",
    "Predictor",
    "Series",
    "TaskSpec",
    "Volume",
    "__version__",
    "list_series",
    "read",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import a public name or a room on first use (PEP 562)."""
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"{__name__}.{name}")
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
