"""Does every form of a model say the same? Predictor, TorchScript, ONNX Runtime and OpenVINO on the same inputs.

Differences are the largest absolute ones, of probabilities and of contributions; where numbers exceed one (values of
a regression) they are relative to the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core.errors import BundleError
from medattn_core.inference import Prediction
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.dictionary import ConformD
from medattn_core.volumes import Volume

TOLERANCE = 1e-4
"""Largest difference that passes, float32."""

Runtime = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Image ``(1, C, *spatial)`` to logits ``(K,)`` and contributions ``(K, *cells)``."""


@dataclass(frozen=True)
class Difference:
    """Largest differences of two runs."""

    probabilities: float
    evidence: float

    @property
    def good(self) -> bool:
        """Whether both are within :data:`TOLERANCE`; NaN is not."""
        return self.probabilities <= TOLERANCE and self.evidence <= TOLERANCE

    def __str__(self) -> str:
        return f"probabilities differ by {self.probabilities:.1e}, evidence by {self.evidence:.1e}"


def gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, relative to the largest number where that exceeds one; infinite for other shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0)
    return float(difference) / max(1.0, float(np.abs(ours).max(initial=0.0)))


def compare(prediction: Prediction, runtime: Runtime, source: Any) -> Difference:
    """A prediction against another runtime on the same input."""
    logits, contributions = runtime(network_input(source, prediction.task))
    ours = prediction.pooled.contributions
    cells = contributions.reshape(ours.shape) if contributions.size == ours.size else contributions
    return Difference(
        gap(prediction.task.probabilities(prediction.logits), prediction.task.probabilities(logits)), gap(ours, cells)
    )


def network_input(source: Any, task: TaskSpec) -> np.ndarray:
    """``(1, C, *spatial)`` float32, as the bundle's own preprocessing makes it."""
    value = source if isinstance(source, (list, tuple, Volume)) else str(source)
    image: torch.Tensor = ConformD(keys="image", task=task)({"image": value})["image"]
    return image.unsqueeze(0).numpy()


def _guarded(path: Path, run: Runtime) -> Runtime:
    """A runtime whose own exceptions, of which each has several, become errors of the bundle."""

    def guarded(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return run(image)
        except (BundleError, MemoryError):
            raise
        except Exception as error:
            raise BundleError(
                "bad_bundle",
                f"{path}: does not take the task's input {list(image.shape)}, or does not give logits and evidence "
                f"({type(error).__name__}); it may be of another bundle: export this one again",
            ) from error

    return guarded


def torchscript(path: Path) -> Runtime:
    """The TorchScript file of a trusted bundle: loading one can run code.

    Raises:
        BundleError: ``bad_bundle``: no such model.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise BundleError("bad_bundle", f"{path}: no TorchScript model that can be loaded; export it again") from error

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            out = module.attend(torch.from_numpy(image), None)
            alone = module(torch.from_numpy(image))
        if not torch.allclose(alone, out.logits, atol=1e-5, rtol=1e-5):
            raise BundleError("bad_bundle", f"{path}: forward and attend give different logits; export it again")
        return out.logits[0].numpy(), out.contributions[0].numpy()

    return _guarded(path, run)


def onnx(path: Path) -> Runtime:
    """ONNX Runtime on the CPU.

    Raises:
        BundleError: ``bad_bundle``: no such model, or one that keeps data in other files.
    """
    import onnx as library
    import onnxruntime

    try:
        model = library.load(str(path), load_external_data=False)
        outside = [t.name for t in model.graph.initializer if t.data_location == library.TensorProto.EXTERNAL]
        if outside:
            raise BundleError(
                "bad_bundle", f"{path}: keeps {outside[0]} in another file, which is not opened; export it in one"
            )
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except BundleError:
        raise
    except Exception as error:  # protobuf and the runtime have exceptions of their own
        raise BundleError("bad_bundle", f"{path}: no ONNX model that can be loaded ({type(error).__name__})") from error

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, evidence = session.run(["logits", "evidence"], {session.get_inputs()[0].name: image})
        return logits[0], evidence[0]

    return _guarded(path, run)


def openvino(path: Path) -> Runtime:
    """OpenVINO on the CPU, in float32 (it would take bfloat16 where the processor has it).

    Raises:
        BundleError: ``bad_bundle``: no such model.
    """
    import openvino as library

    try:
        model = library.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise BundleError("bad_bundle", f"{path}: no OpenVINO model that can be loaded") from error

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = model(image)
        return out["logits"][0], out["evidence"][0]

    return _guarded(path, run)


RUNTIMES: dict[str, tuple[Callable[[Path], Runtime], tuple[str, ...]]] = {
    "torchscript": (torchscript, ()),
    "onnx": (onnx, ("onnx", "onnxruntime")),
    "openvino": (openvino, ("openvino",)),
}
"""How each format is run, and the packages that takes."""


def example(task: TaskSpec, seed: int = 0) -> list[Volume]:
    """A made-up scan of a task, one volume a channel: smooth random tissue on the task's own spacing."""
    rng = np.random.default_rng(seed)
    spacing = (*task.spacing, task.slice_spacing)[:3] if task.spatial_dims == 2 else task.spacing
    flat = (72, 64, 4 if task.slicewise else 1)
    shape = flat if task.spatial_dims == 2 else (task.size or (64, 56, 48))
    volumes = []
    for rule in task.intensities:
        noise = rng.random(tuple(-(-n // 8) for n in shape))
        data = np.kron(noise, np.ones((8, 8, 8)))[: shape[0], : shape[1], : shape[2]]
        low, high = (rule.lower, rule.upper) if rule.rule == "window" else (0.0, 1000.0)
        volumes.append(
            Volume(
                data=(low + data * (high - low)).astype(np.float32), affine=np.diag([*spacing, 1.0]), source="example"
            )
        )
    return volumes
