"""From a scan to a Prediction, and what can be asked of it."""

from medattn_core.inference.base import BasePredictor
from medattn_core.inference.evidence import Evidence
from medattn_core.inference.prediction import Prediction
from medattn_core.inference.predictor import Predictor
from medattn_core.inference.regions import Region
from medattn_core.inference.what_if import WhatIf

__all__ = ["BasePredictor", "Evidence", "Prediction", "Predictor", "Region", "WhatIf"]
