"""The analysed receptive field is the one the gradient shows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.receptive_field import effective_receptive_field, receptive_field, receptive_interval


def open_network(blocks: tuple[int, ...], stride: int, dims: int = 2, stages: int = 4) -> AttentionCNN:
    """A network in which every connection is open: positive weights, nothing rectified away."""
    torch.manual_seed(0)
    options = {"widths": (2, 2, 2, 2)[:stages], "blocks": blocks}
    network = AttentionCNN(
        spatial_dims=dims, in_channels=1, out_channels=2, encoder_options=options, width=2, evidence_stride=stride
    )
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                layer.weight.fill_(1.0 / layer.weight[0].numel())
    return network.double().eval()


class MeanPool(nn.AvgPool2d):
    """Stands where max pooling would pass the gradient to one pixel of four only."""


def support(network: AttentionCNN, cell: int, size: int) -> tuple[int, int]:
    network.encoder.stem[3] = MeanPool(2)
    x = torch.ones(1, 1, size, 64, dtype=torch.float64, requires_grad=True)
    network.features(x)[0, :, cell, 1].sum().backward()
    assert x.grad is not None
    rows = torch.nonzero(x.grad[0, 0].abs().sum(1) > 0).flatten()
    return int(rows.min()), int(rows.max()) + 1


@pytest.mark.parametrize(
    ("blocks", "stride"), [((1, 1, 1, 1), 8), ((2, 1, 1, 1), 4), ((1, 1, 2, 1), 16), ((1, 1, 1, 1), 32)]
)
def test_interval_is_the_support_of_the_gradient(blocks: tuple[int, ...], stride: int) -> None:
    network = open_network(blocks, stride)
    size = 1024
    for cell in range(size // stride // 2, size // stride // 2 + 32 // stride):
        interval = receptive_interval(network, cell)
        assert interval is not None
        assert interval[0] > 0
        assert interval[1] < size
        assert support(network, cell, size) == interval


def test_field_is_the_widest_interval() -> None:
    network = open_network((1, 1, 1, 1), 8)
    intervals = [receptive_interval(network, cell) for cell in range(40, 44)]
    assert receptive_field(network) == max(i[1] - i[0] for i in intervals if i is not None)


def test_default_network() -> None:
    """Larger than most slices: the number that says why locality has to be measured, too."""
    assert receptive_field(AttentionCNN(spatial_dims=2, in_channels=1, out_channels=3)) == 492


def test_unknown_where_the_whole_image_is_mixed() -> None:
    assert receptive_field(AttentionCNN(spatial_dims=2, in_channels=1, out_channels=3, mixing=True)) is None
    assert receptive_field(AttentionCNN(spatial_dims=2, in_channels=1, out_channels=3, encoder="resnet10")) is None


@pytest.mark.parametrize("dims", [2, 3])
def test_effective_field_lies_inside_the_theoretical_one(dims: int) -> None:
    network = open_network((1, 1, 1, 1), 8, dims=dims).float().train()
    images = torch.rand(2, 1, *([256, 224] if dims == 2 else [64, 64, 96]))
    sides = [effective_receptive_field(network, images, share=share) for share in (0.2, 0.5, 0.95)]
    assert 0 < sides[0] < sides[1] < sides[2] <= (receptive_field(network) or 0)
    assert network.training
    with pytest.raises(ValueError, match="share=0"):
        effective_receptive_field(network, images, share=0)


def test_effective_field_of_a_slicewise_volume_is_in_plane() -> None:
    torch.manual_seed(0)
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=2, slicewise=True, width=8)
    assert effective_receptive_field(network, torch.rand(1, 1, 128, 128, 3), share=0.5) < 128
