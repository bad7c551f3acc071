"""Open a runtime by its name: a function from image to features."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medattn_core.errors import BundleError, MedAttnError, missing_package
from medattn_core.inference.runtimes import cache
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.version import __version__

Features = Callable[[Tensor], Tensor]
"""Image ``(B, C, *spatial)`` to features ``(B, F, *cells)``, float32 on the device of the network."""

RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch-bf16": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "openvino-bf16": ("onnx", "onnxscript", "openvino"),
}
"""Runtimes by name, and the packages each needs beyond torch."""

TOLERANCE = {"torch": 0.0, "torch-bf16": 1e-3, "onnx": 1e-4, "openvino": 1e-4, "openvino-bf16": 1e-3}
"""Largest difference of a probability from that of ``torch`` with which ``auto`` takes a runtime."""


_FIRST, _INFERRED = threading.Lock(), threading.Event()
"""OpenVINO's binding sets itself up in its first inference; two threads there at once may wait for each other for ever,
one of them with the interpreter's lock, so that not even a signal is heard."""


def check_runtime(name: str, device: str = "cpu") -> None:
    """See that a runtime can be used here.

    Raises:
        MedAttnError: ``bad_argument`` for another name or a runtime of the processor with a GPU asked for;
            ``missing_dependency``, saying what to install.
    """
    if name not in RUNTIMES:
        raise MedAttnError("bad_argument", f"runtime {name!r}; accepted: {', '.join(RUNTIMES)}, auto")
    if not name.startswith("torch") and torch.device(device).type != "cpu":
        raise MedAttnError(
            "bad_argument", f"runtime {name} runs on the processor, not on {device}; take torch or torch-bf16 there"
        )
    missing = [package for package in RUNTIMES[name] if find_spec(package) is None]
    if missing:
        extra = "openvino" if name.startswith("openvino") else "onnx"
        raise missing_package(f"runtime {name}", missing, extra=extra)


def available(device: str = "cpu") -> list[str]:
    """Runtimes that can be used here."""
    found = []
    for name in RUNTIMES:
        try:
            check_runtime(name, device)
        except MedAttnError:
            continue
        found.append(name)
    return found


def open_runtime(name: str, network: AttentionCNN, task: TaskSpec, *, key: str, device: str = "cpu") -> Features:
    """A runtime for a network.

    Args:
        name: of :data:`RUNTIMES`.
        network: in eval mode on ``device``.
        task: what it takes.
        key: names these weights in the cache; the same network has the same key.
        device: torch device.

    Raises:
        MedAttnError: as :func:`check_runtime`; ``missing_dependency``, too, where a package cannot be imported.
        BundleError: ``export_failed``: the network cannot be written as ONNX, or the runtime cannot load it.
    """
    check_runtime(name, device)
    if name == "torch":
        return network.features
    if name == "torch-bf16":
        return _autocast(network, torch.device(device).type)
    try:
        return _from_graph(name, network, task, key)
    except ImportError as error:  # it is there, and broken
        raise MedAttnError(
            "missing_dependency",
            f"runtime {name} needs {', '.join(RUNTIMES[name])}, of which {error.name or 'one'} cannot be imported; "
            f"install them again: pip install --force-reinstall --no-deps {' '.join(RUNTIMES[name])}",
        ) from error
    except Exception as error:  # exporters and runtimes have exceptions of their own, of many kinds
        raise BundleError(
            "export_failed",
            f"the network cannot be run by {name} ({type(error).__name__}); take the runtime torch for this bundle",
        ) from error


def _autocast(network: AttentionCNN, kind: str) -> Features:
    # float16 is the fast half precision of GPUs before Ampere, which only emulate bfloat16.
    dtype = torch.float16 if kind == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16

    def run(image: Tensor) -> Tensor:
        with torch.autocast(kind, dtype=dtype):
            return network.features(image).float()

    return run


def _from_graph(name: str, network: AttentionCNN, task: TaskSpec, key: str) -> Features:
    def export() -> bytes:
        from medattn_core.inference.runtimes.graph import features_graph

        return features_graph(network, task)

    # Another release of MedAttn or torch may write another graph.
    file = f"runtimes/{key}-{__version__}-torch{torch.__version__.split('+')[0]}.onnx"
    content = cache.kept(file, export)
    run = _onnx(content) if name == "onnx" else _openvino(content, "bf16" if name.endswith("bf16") else "f32")

    def features(image: Tensor) -> Tensor:
        return torch.from_numpy(run(np.ascontiguousarray(image.numpy())))

    return features


def _onnx(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while torch and zlib work take their cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> np.ndarray:
        (features,) = session.run(["features"], {"image": image})
        return np.asarray(features)

    return run


def _openvino(content: bytes, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", settings)

    def infer(image: np.ndarray) -> np.ndarray:
        # A request of its own: predictors are used from several threads. The copy outlives the request's memory.
        return np.array(compiled.create_infer_request().infer([image])["features"])

    def run(image: np.ndarray) -> np.ndarray:
        if _INFERRED.is_set():
            return infer(image)
        with _FIRST:
            found = infer(image)
        _INFERRED.set()
        return found

    return run
