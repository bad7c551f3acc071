"""How good a model is, and how far its map can be trusted: scores with intervals, peers, pictures, a page."""

from medattn_core.evaluation.evaluate import Settings, evaluate

__all__ = ["Settings", "evaluate"]
