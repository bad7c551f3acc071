"""A small real network, its task, and a bundle of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medattn_core.bundles import Bundle, save_bundle
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec

TASK = TaskSpec(
    name="lumps",
    description="three kinds of lumps",
    labels=("round", "square", "none"),
    modality=("MR",),
    activation="sigmoid",
    spatial_dims=2,
    slicewise=True,
    spacing=(1.0, 1.0),
)
NETWORK: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "encoder": "compact",
    "encoder_options": {"widths": [8, 16, 16, 32], "blocks": [1, 1, 1, 1]},
    "width": 32,
    "bias": [-1.0, -2.0, 0.5],
    "slicewise": True,
}


@pytest.fixture
def network() -> AttentionCNN:
    """A network whose batch statistics and bias are not those of initialisation."""
    torch.manual_seed(0)
    net = AttentionCNN(**NETWORK).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(4, 1, 64, 64) * 3)
        net.pooling.bias.mul_(0.5)  # as calibration does
    return net.eval()


@pytest.fixture
def make(tmp_path: Path, network: AttentionCNN) -> Callable[..., Bundle]:
    """Write the bundle ``lumps`` with some arguments changed."""

    def build(folder: Path | None = None, **changes: Any) -> Bundle:
        arguments: dict[str, Any] = {
            "task": TASK,
            "network_settings": NETWORK,
            "state_dict": network.state_dict(),
            "description": "tells lumps apart",
            "version": "1.2.0",
            "data_license": "CC BY 4.0, invented data",
            "metrics": {"accuracy": 0.95, "fold": {"1": 0.9, "2": 1.0}},
        }
        return save_bundle(folder or tmp_path / "lumps", **(arguments | changes))

    return build


@pytest.fixture
def edit() -> Callable[[Bundle, Callable[[dict[str, Any]], None]], None]:
    """Change a bundle's metadata.json in place."""

    def change(bundle: Bundle, how: Callable[[dict[str, Any]], None]) -> None:
        path = bundle.path / "configs" / "metadata.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        how(data)
        path.write_text(json.dumps(data), encoding="utf-8")

    return change
