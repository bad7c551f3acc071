"""The network of a bundle as TorchScript, ONNX and OpenVINO: logits and evidence, in float32, the same bytes each time.

All are made in a process of their own (:mod:`medattn_core.interop.convert`): TorchScript numbers its types in the order
in which a process makes them, and the memory an exporter takes is given back.

TorchScript has the evidence as the method ``attend`` (``forward`` gives logits alone, as MONAI's tools expect); ONNX
and OpenVINO have two outputs, ``logits`` (B, K) and ``evidence`` (B, K, *cells), whose sum over the cells is the logit
minus the bias.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medattn_core.bundles import Bundle, load_networks
from medattn_core.errors import BundleError, missing_package
from medattn_core.inference.runtimes.graph import example_shape, onnx_graph
from medattn_core.networks.ensemble import AttentionEnsemble
from medattn_core.tasks import TaskSpec

TORCHSCRIPT, ONNX, OPENVINO = "models/model.ts", "models/model.onnx", "models/model.xml"
FILES = {"torchscript": (TORCHSCRIPT,), "onnx": (ONNX,), "openvino": (OPENVINO, "models/model.bin")}
"""Files of each format."""

NEEDS = {"onnx": ("onnx", "onnxscript"), "openvino": ("onnx", "onnxscript", "openvino")}
"""Packages that making a format needs, beyond torch."""


def as_module(bundle: Bundle) -> nn.Module:
    """The network of a bundle as one module in eval mode; an ensemble is the mean of its members.

    Raises:
        BundleError: as :func:`medattn_core.bundles.load_networks`.
    """
    networks = load_networks(bundle)
    if len(networks) == 1:
        return networks[0].eval()
    ensemble = AttentionEnsemble(members=len(networks), **bundle.network)
    ensemble.members = nn.ModuleList(networks)
    return ensemble.eval()


def make(folder: Path, formats: Sequence[str]) -> list[str]:
    """Write formats into the bundle at ``folder``.

    Args:
        folder: a MedAttn bundle.
        formats: of :data:`FILES`.

    Returns:
        The files written, relative to ``folder``.

    Raises:
        MedAttnError: ``missing_dependency``.
        BundleError: ``export_failed``.
    """
    from importlib.util import find_spec

    for name in formats:
        missing = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
        if missing:
            extra = "openvino" if "openvino" in missing else "onnx"
            raise missing_package(f"--{name}", missing, extra=extra)
    if formats:
        command = [sys.executable, "-m", "medattn_core.interop.convert", str(folder), *formats]
        # TorchScript writes the constants of its types in the order of a set of names, which has a seed.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BundleError(
                "export_failed", f"{folder.name}: the network cannot be written as {', '.join(formats)}: {last[:300]}"
            )
    return [file for name in formats for file in FILES[name]]


def torchscript(network: nn.Module, extra: dict[str, str]) -> bytes:
    """TorchScript with methods ``forward``, ``attend`` (and of a single network ``features`` and ``pool``).

    Args:
        network: in eval mode.
        extra: texts to carry along, by name: MONAI Deploy reads a bundle's configurations from there.
    """
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer, _extra_files=extra)
    buffer.seek(0)
    # Debug records hold the paths of the sources on this machine.
    reader = torch._C.PyTorchFileReader(buffer)
    result = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(result)
    for name in sorted(reader.get_all_records()):
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/serialization_id"):
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return result.getvalue()


class LogitsAndEvidence(nn.Module):
    """A network whose two outputs are named in graph formats."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, K)`` and contributions ``(B, K, *cells)``."""
        out = self.network.attend(image, None)  # type: ignore[operator]
        return out.logits, out.contributions


def onnx_model(network: nn.Module, task: TaskSpec) -> Any:
    """An ONNX model (``onnx.ModelProto``) with input ``image`` and outputs ``logits`` and ``evidence``.

    The sizes of the image are free where the task leaves them free, else the number of images is.
    """
    shape = example_shape(task)
    auto, static = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    free = {axis: auto if task.size is None and axis > 1 else static for axis in range(len(shape))}
    if task.size is not None:
        free[0] = torch.export.Dim("batch", min=1, max=1024)
        shape = (2, *shape[1:])
    return onnx_graph(LogitsAndEvidence(network).eval(), shape, free, ["logits", "evidence"])


def carried(folder: Path) -> dict[str, str]:
    """Configurations that a TorchScript file carries. The manifest stays out: it names this file's own hash."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata.get("medattn", {}).pop("files", None)
    inference = (folder / "configs" / "inference.json").read_text(encoding="utf-8")
    return {"metadata.json": json.dumps(metadata, indent=2), "inference.json": inference}


def cells_of(shape: Sequence[int], stride: int, task: TaskSpec) -> tuple[int, ...]:
    """Evidence cells of an image ``(B, C, *spatial)``: what the second output's last axes are."""
    dims = task.spatial_dims
    return (*(math.ceil(n / stride) for n in shape[2 : 2 + dims]), *shape[2 + dims :])
