"""From a scan to a Prediction, and what can be asked of it."""

from medattn_core.inference.evidence import Evidence
from medattn_core.inference.prediction import Prediction, WhatIf
from medattn_core.inference.predictor import Predictor
from medattn_core.inference.regions import Region

__all__ = ["Evidence", "Prediction", "Predictor", "Region", "WhatIf"]
