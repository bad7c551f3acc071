"""The moving average, and the batch statistics of its weights."""

from __future__ import annotations

import copy

import pytest
import torch

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.ema import MovingAverage
from medattn_core.training.norms import settle
from tests.training.test_checkpoint import NETWORK, data


def test_early_steps_count_more() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = MovingAverage(network, 0.998)
    torch.nn.init.ones_(network.weight)
    average.update(network)
    assert float(average.network.weight.detach()) == pytest.approx(1 - 2 / 11)
    for _ in range(20):
        average.update(network)
    assert float(average.network.weight.detach()) > 0.99  # without the warm-up 0.04


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_later_steps_count_as_the_decay_says(decay: float) -> None:
    """The warm-up never keeps more of the past than was asked for."""
    network = torch.nn.Linear(1, 1, bias=False)
    average = MovingAverage(network, decay)
    expected = float(network.weight.detach())
    for step in range(1, 21):
        torch.nn.init.constant_(network.weight, float(step**2))
        average.update(network)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step**2
        assert float(average.network.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert (expected == 400.0) == (decay == 0)


@pytest.mark.parametrize(("mirror", "batch_size"), [(-1, 8), ([0, 1], 4)])
def test_settled_statistics_are_those_of_the_data(mirror: int | list[int], batch_size: int) -> None:
    torch.manual_seed(0)
    network = AttentionCNN(**NETWORK, mirror=mirror).eval()
    before = copy.deepcopy(network.state_dict())
    settle(network, data(), batch_size=batch_size, seed=0)
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.no_grad():
        stem = network.encoder.stem[0](torch.from_numpy(data().images).float())
    torch.testing.assert_close(norm.running_mean, stem.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert norm.momentum == 0.1
    assert not network.training
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]), name
