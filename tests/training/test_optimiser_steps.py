"""Steps of the optimiser: what decays, and how large a gradient may be."""

from __future__ import annotations

import pytest
import torch

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.config import TrainingConfig
from medattn_core.training.loop import build_trainer
from medattn_core.training.steps import LARGEST_GRADIENT, optimizer_of
from tests.training.test_checkpoint import NETWORK, TASK, data


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    """One step without any gradient shows what the decay alone does."""
    network = AttentionCNN(**NETWORK)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = optimizer_of(network, TrainingConfig(learning_rate=0.1, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.detach(), before[name] * (0.95 if value.ndim > 1 else 1.0), msg=name)
    assert {value.ndim > 1 for value in before.values()} == {True, False}
    assert any(value.ndim == 1 and bool((value == 1).all()) for value in before.values()), "a norm is among them"


@pytest.mark.parametrize(("weight", "clipped"), [(1e4, True), (1e-2, False)])
def test_a_large_gradient_is_scaled_down_and_a_small_one_is_not(weight: float, clipped: bool) -> None:
    """What is left of the last step is the gradient that it took."""
    torch.manual_seed(0)
    network = AttentionCNN(**NETWORK)
    config = TrainingConfig(epochs=1, batch_size=8, precision="fp32", class_weights=(weight, weight))
    build_trainer(network, data(), TASK, config).run()
    norm = float(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm())
    if clipped:
        assert norm == pytest.approx(LARGEST_GRADIENT, rel=1e-3)
    else:
        assert 0 < norm < 0.9 * LARGEST_GRADIENT
