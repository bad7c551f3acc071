"""What computes a network's features: PyTorch, ONNX Runtime or OpenVINO, in float32 or bfloat16.

A runtime replaces the heavy part alone, image to features. The head (attention, evidence, logits) is computed from the
features by the same code whichever runtime made them, so every runtime gives evidence, and sums stay exact.
"""

from medattn_core.inference.runtimes.auto import Trial, choose
from medattn_core.inference.runtimes.open import RUNTIMES, TOLERANCE, Features, available, check_runtime, open_runtime

__all__ = [
    "RUNTIMES",
    "TOLERANCE",
    "Features",
    "Trial",
    "available",
    "check_runtime",
    "choose",
    "open_runtime",
]
