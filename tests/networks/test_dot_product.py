"""The attention functions themselves: torch's numbers, with weights; and the classic self-attention block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from medattn_core.networks.attention import SelfAttentionMixing, scaled_dot_product_attention

seeds = st.integers(0, 2**31 - 1)
QUICK = settings(max_examples=40, deadline=None)


# ---------------------------------------------------------------- scaled dot-product attention


@QUICK
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 8),
    seeds,
    st.booleans(),
    st.sampled_from([None, 0.3, 2.0]),
)
def test_scaled_dot_product_attention_is_torchs(
    batch: int, heads: int, queries: int, regions: int, dim: int, seed: int, masked: bool, scale: float | None
) -> None:
    torch.manual_seed(seed)
    query = torch.randn(batch, heads, queries, dim)
    key, value = torch.randn(batch, heads, regions, dim), torch.randn(batch, heads, regions, dim + 1)
    mask = None
    if masked:
        mask = torch.rand(batch, heads, queries, regions) < 0.6
        mask[..., 0] = True
    output, weights = scaled_dot_product_attention(query, key, value, mask, scale)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(batch, heads, queries))
    if mask is not None:
        assert (weights[~mask] == 0).all()


def test_scaled_dot_product_attention_scale_is_one_over_root_d() -> None:
    query, key, value = torch.randn(2, 16), torch.randn(5, 16), torch.randn(5, 4)
    default, _ = scaled_dot_product_attention(query, key, value)
    explicit, _ = scaled_dot_product_attention(query, key, value, scale=0.25)
    torch.testing.assert_close(default, explicit)


def test_scaled_dot_product_attention_refuses_a_row_that_allows_nothing() -> None:
    query, key, value = torch.randn(2, 4), torch.randn(5, 4), torch.randn(5, 4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="excludes every region"):
        scaled_dot_product_attention(query, key, value, mask)


def test_a_mask_of_numbers_is_refused() -> None:
    """~mask of floats would fail inside torch, and of integers would be a bitwise complement."""
    query, key, value = torch.randn(2, 4), torch.randn(5, 4), torch.randn(5, 4)
    with pytest.raises(ValueError, match=r"torch\.int64; it must be boolean"):
        scaled_dot_product_attention(query, key, value, torch.ones(2, 5, dtype=torch.int64))


# ---------------------------------------------------------------- self-attention mixing


def test_mixing_starts_from_the_features_and_keeps_the_shape() -> None:
    torch.manual_seed(0)
    layer, features = SelfAttentionMixing(16, heads=4), torch.randn(2, 16, 3, 4, 2)
    with torch.no_grad():
        layer.out.weight.zero_()
        layer.out.bias.zero_()
    assert torch.equal(layer(features), features)


def test_mixing_equals_the_explicit_attention() -> None:
    torch.manual_seed(0)
    layer, features = SelfAttentionMixing(16, heads=4), torch.randn(2, 16, 3, 4)
    flat = features.flatten(2).transpose(1, 2)
    query, key, value = layer.qkv(layer.norm(flat)).reshape(2, 12, 3, 4, 4).permute(2, 0, 3, 1, 4)
    mixed, _ = scaled_dot_product_attention(query, key, value)
    expected = flat + layer.out(mixed.transpose(1, 2).reshape(2, 12, 16))
    torch.testing.assert_close(layer(features), expected.transpose(1, 2).reshape(2, 16, 3, 4), atol=1e-5, rtol=1e-5)


def test_mixing_does_not_attend_outside_the_mask() -> None:
    torch.manual_seed(0)
    layer, features = SelfAttentionMixing(16), torch.randn(1, 16, 4, 4)
    mask = torch.rand(1, 4, 4) < 0.5
    noise = torch.where(mask.unsqueeze(1), 0.0, 9.0) * torch.randn_like(features)
    inside = mask.unsqueeze(1).expand_as(features)
    torch.testing.assert_close(layer(features, mask)[inside], layer(features + noise, mask)[inside])
    assert not torch.allclose(layer(features)[inside], layer(features + noise)[inside])


def test_mixing_errors() -> None:
    with pytest.raises(ValueError, match="channels=10 is not divisible by heads=4"):
        SelfAttentionMixing(10, heads=4)
    with pytest.raises(ValueError, match="excludes every region"):
        SelfAttentionMixing(16)(torch.randn(1, 16, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
