"""The model that speed is measured with: MONAI's ResNet-18 (first convolution of stride 2) on 96^3 voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.common import RESNET18
from medattn_core import volumes
from medattn_core.bundles.save import save_bundle
from medattn_core.evaluation.speed import made_up_scan
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec


def make_bundle(folder: Path, seed: int = 0) -> Path:
    """A bundle with random weights and settled batch statistics, for a field of view of 256 mm."""
    torch.manual_seed(seed)
    network = AttentionCNN(**RESNET18).train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(2, 1, 96, 96, 96))
    task = TaskSpec(
        name="speed", labels=("a", "b"), activation="sigmoid", spatial_dims=3, spacing=(256 / 96,) * 3, size=(96,) * 3
    )
    save_bundle(
        folder, task=task, network_settings=RESNET18, state_dict=network.eval().state_dict(),
        description="random weights, for measuring speed", version="1.0.0", data_license="none",
    )  # fmt: skip
    return folder


def make_scan(path: Path, seed: int = 0) -> Path:
    """A made-up scan, 256^3 int16 voxels of 1 mm."""
    volumes.write(volumes.Volume(data=made_up_scan(seed), affine=np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path
