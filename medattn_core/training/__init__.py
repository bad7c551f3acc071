"""From a data list to a bundle."""

from medattn_core.training.config import TrainingConfig
from medattn_core.training.train import train

__all__ = ["TrainingConfig", "train"]
