"""A module as an ONNX graph that names nothing of the machine it was made on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec

OPSET = 18
SLICES = 8
"""Slices in the example for a slicewise model."""


def example_shape(task: TaskSpec) -> tuple[int, ...]:
    """A shape that the network takes, ``(1, C, *spatial)``: small, and no multiple of any stride.

    An exporter keeps of a condition what was true of the example: where that needs padding, every size gets its own.
    """
    spatial = task.size or ((74, 106) if task.spatial_dims == 2 else (74, 74, 42))
    return (1, len(task.channels), *spatial, *((5,) if task.slicewise else ()))


def onnx_graph(module: nn.Module, shape: tuple[int, ...], free: dict[int, Any], outputs: Sequence[str]) -> Any:
    """An ONNX model (``onnx.ModelProto``) with one input, ``image``.

    Args:
        module: in eval mode, from an image to one tensor an output.
        shape: of the example.
        free: axis of the image to ``torch.export.Dim``.
        outputs: their names.
    """
    program = torch.onnx.export(
        module,
        (torch.rand(shape, generator=torch.Generator().manual_seed(0)),),
        dynamo=True,
        dynamic_shapes={"image": free},
        input_names=["image"],
        output_names=list(outputs),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    return model


class _Features(nn.Module):
    def __init__(self, network: AttentionCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.features(image)


def features_graph(network: AttentionCNN, task: TaskSpec) -> bytes:
    """Image to features as an ONNX model: ``(B, C, *spatial)`` to ``(B, F, *cells)``, sizes free where the task's are.

    A slicewise or 2D network takes slices as a batch, ``(slices, C, H, W)``.
    """
    import logging
    import warnings

    auto, static = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    shape = (SLICES if task.spatial_dims == 2 else 1, *example_shape(task)[1 : 2 + task.spatial_dims])
    free = {axis: auto if task.size is None and axis > 1 else static for axis in range(len(shape))}
    if task.spatial_dims == 2:
        free[0] = auto
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # of the exporter, about itself
        try:
            model = onnx_graph(_Features(network).eval(), shape, free, ["features"])
        finally:
            logging.disable(before)
    return bytes(model.SerializeToString(deterministic=True))


def _forget_sources(model: Any) -> None:
    """Take out stack traces and names of source files: they name this machine."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        for entry in [*graph.node, *getattr(graph, "initializer", ()), *graph.value_info]:
            entry.ClearField("metadata_props")
            entry.ClearField("doc_string")
        for entry in [*graph.input, *graph.output]:
            if not isinstance(entry, str):  # a function's are names
                entry.ClearField("metadata_props")
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
