"""A model of two images of one scan, untrained, whose answer depends on their order; and such scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from medattn_core.bundles import Bundle, save_bundle
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import IntensityRule, TaskSpec
from medattn_core.volumes import Volume

WINDOW = IntensityRule(rule="window", lower=-100, upper=300)
TASK = TaskSpec(
    name="two", labels=("a", "b"), channels=("ct", "pet"), size=(32, 32, 32), intensity=(WINDOW, IntensityRule())
)


def two_bundle(folder: Path) -> Bundle:
    """The bundle; the same weights each time."""
    settings = {"spatial_dims": 3, "in_channels": 2, "out_channels": 2,
                "encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}}  # fmt: skip
    torch.manual_seed(3)
    network = AttentionCNN(**settings).train()
    with torch.no_grad():
        for _ in range(4):  # batch statistics
            network(torch.rand(4, 2, 32, 32, 32) * torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1))
        network.pooling.value.weight.mul_(200)
    return save_bundle(
        folder, task=TASK, network_settings=settings, state_dict=network.state_dict(), description="", version="1"
    )


def smooth(affine: np.ndarray, shape: tuple[int, ...], scale: float = 1.0, start: float = 0.0, **facts: str) -> Volume:
    """What a smooth function of the place looks like on a grid."""
    x, y, z = np.moveaxis(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T
                          + affine[:3, 3], -1, 0)  # fmt: skip
    data = start + scale * (50 + 2 * x - y + 1.5 * z)
    return Volume(data=data.astype(np.float32), affine=affine, **facts)  # type: ignore[arg-type]
