"""Two real models: one that answers to brightness (weights set by hand), one with random weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medattn_core.bundles import Bundle, save_bundle
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.encoders import ENCODERS, register
from medattn_core.tasks import IntensityRule, TaskSpec


class BrightnessEncoder(nn.Module):
    """Feature maps that are the image itself, averaged over blocks: a network whose right answer is known."""

    mixes = False

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.channels, self.strides = [1, 1], [4, 8]
        self.mean = F.avg_pool2d if spatial_dims == 2 else F.avg_pool3d

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.mean(x, 4), self.mean(x, 8)]


@pytest.fixture(scope="session")
def brightness_predictor(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Predictor]:
    """Build a Predictor whose only evidence is brightness: attention and value grow with it."""
    register("brightness")(lambda *, spatial_dims, in_channels: BrightnessEncoder(spatial_dims))

    def build(*, slicewise: bool, spacing: float = 3.0) -> Predictor:
        dims = 2 if slicewise else 3
        task = TaskSpec(
            name="bright",
            labels=("bright", "dark"),
            activation="sigmoid",
            spatial_dims=dims,
            slicewise=slicewise,
            spacing=(spacing,) * dims,
            slice_spacing=spacing,
            intensity=IntensityRule(rule="window", lower=0.0, upper=10_000.0),
        )
        network = AttentionCNN(
            spatial_dims=dims, in_channels=1, out_channels=2, encoder="brightness", evidence_stride=8, width=1,
            slicewise=slicewise, null_token=True, bias=[-1.0, 1.0],
        ).eval()  # fmt: skip
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            network.top_down.laterals[0].weight.fill_(1.0)
            network.top_down.smooth[0].weight.fill_(1.0)
            network.top_down.smooth[2].weight[(0, 0, *([1] * dims))] = 1.0
            network.top_down.smooth[3].weight.fill_(1.0)
            network.pooling.key.weight.fill_(1.0)
            network.pooling.query[0].fill_(2.0)
            network.pooling.query[1].fill_(-2.0)
            network.pooling.value.weight.copy_(torch.tensor([[5.0], [-5.0]]))
        folder = tmp_path_factory.mktemp("bundles") / "bright"
        settings = {
            "spatial_dims": dims, "in_channels": 1, "out_channels": 2, "encoder": "brightness",
            "evidence_stride": 8, "width": 1, "slicewise": slicewise, "bias": [-1.0, 1.0],
        }  # fmt: skip
        bundle = save_bundle(
            folder, task=task, network_settings=settings, state_dict=network.state_dict(), description="d",
            version="1.0.0", data_license="none",
        )  # fmt: skip
        return Predictor.from_bundle(bundle, device="cpu")

    yield build
    ENCODERS.pop("brightness")


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A slicewise model of three labels with random weights and settled batch statistics."""
    torch.manual_seed(1)
    settings = {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "encoder": "compact", "width": 32, "slicewise": True,
        "encoder_options": {"widths": [8, 16, 16, 32], "blocks": [1, 1, 1, 1]}, "bias": [-2.0, -1.0, 0.0],
    }  # fmt: skip
    network = AttentionCNN(**settings).train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.rand(4, 1, 64, 64) * 3)
        network.pooling.query.mul_(4.0)  # attention that prefers some regions
        network.pooling.value.weight.mul_(3.0)
    task = TaskSpec(
        name="random", labels=("a", "b", "c"), activation="sigmoid", modality=("MR",), spatial_dims=2, slicewise=True,
        spacing=(1.5, 1.5), threshold=0.5, field_of_view=250.0,
    )  # fmt: skip
    return save_bundle(
        tmp_path_factory.mktemp("bundles") / "random", task=task, network_settings=settings,
        state_dict=network.eval().state_dict(), description="random weights", version="1.0.0", data_license="none",
    )  # fmt: skip


@pytest.fixture(scope="session")
def predictor(random_bundle: Bundle) -> Predictor:
    """The random model, ready."""
    return Predictor.from_bundle(random_bundle, device="cpu")
