"""What others do to the head of a network: scale it, silence it, ask it again."""

from __future__ import annotations

import pytest
import torch

from medattn_core.networks.attention_cnn import POOLINGS
from tests.networks.test_attention_cnn import assert_same, build


@pytest.mark.parametrize("pooling", POOLINGS)
def test_outputs_are_scaled_with_their_map(pooling: str) -> None:
    network, offset = build(pooling=pooling), torch.tensor([1.0, 0.0, -3.0])
    assert network.bias is network.state_dict(keep_vars=True)["pooling.bias"]
    x = torch.rand(2, 1, 64, 40)
    with torch.no_grad():
        before, bias = network.attend(x), network.bias.clone()
        kept = [value.clone() for value in network.pooling.output_tensors()]
        network.scale_output(0.25, offset)
        after = network.attend(x)
    torch.testing.assert_close(after.logits, 0.25 * before.logits + offset)
    torch.testing.assert_close(after.contributions, 0.25 * before.contributions)
    torch.testing.assert_close(network.bias, 0.25 * bias + offset)
    for tensor, value in zip(network.pooling.output_tensors(), kept, strict=True):
        tensor.copy_(value)
    with torch.no_grad():
        assert_same(network.attend(x), before, atol=0.0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_some_outputs_are_made_zero_at_features(pooling: str) -> None:
    network, features = build(pooling=pooling), torch.rand(16)
    before = network.pooling.value.weight.detach().clone()
    network.pooling.zero_output(features, [0, 2])
    now = network.pooling.value.weight.detach()
    torch.testing.assert_close((now @ features + network.bias)[[0, 2]], torch.zeros(2), atol=1e-6, rtol=0)
    assert torch.equal(now[1], before[1])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_asked_again_of_some_regions_the_head_says_what_it_says_of_them(pooling: str) -> None:
    network, features = build(pooling=pooling), torch.randn(2, 16, 3, 4)
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[:, 1:, :2] = True
    with torch.no_grad():
        out, looked_at = network.look(features)
        assert looked_at.shape == (2, 16)
        assert_same(network.ask_again(out, mask), network.pool(features, mask), atol=0.0)
        with pytest.raises(ValueError, match="excludes every region"):
            network.ask_again(out, mask & False)


def test_without_mirroring_is_another_network() -> None:
    network, plain = build(mirror=[0, 1]), build()
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert_same(network.without_mirroring().attend(x), plain.attend(x), atol=0.0)
        assert not torch.equal(network(x), plain(x))
