"""Properties of the attention layers (docs/design.md, section 3): every one of them a sum that must come out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medattn_core.networks.attention import (
    Attended,
    AveragePooling,
    EvidencePooling,
    attended_features,
    pool_evidence,
    scaled_dot_product_attention,
)

KINDS = ("evidence", "evidence without null", "gated", "gated without null", "average")
seeds = st.integers(0, 2**31 - 1)
shapes = st.one_of(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 5)] * 3),
)
QUICK = settings(max_examples=40, deadline=None)


def build(kind: str, channels: int = 12, classes: int = 3, bias: list[float] | None = None) -> nn.Module:
    """A pooling layer with weights large enough that the attention is far from uniform."""
    if kind == "average":
        return AveragePooling(channels, classes, bias=bias)
    layer = EvidencePooling(
        channels, classes, key_dim=8, null_token="without" not in kind, bias=bias, gated="gated" in kind
    )
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (2.0 if name == "query" else 1.0))
    return layer


def case(kind: str, shape: tuple[int, ...], seed: int, batch: int = 2) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    layer = build(kind, bias=[0.3, -1.2, 0.05])
    return layer, torch.randn(batch, 12, *shape)


def some_mask(shape: tuple[int, ...], batch: int = 2) -> Tensor:
    mask = torch.rand(batch, *shape) < 0.5
    mask.flatten(1)[:, 0] = True
    return mask


def sums(x: Tensor) -> Tensor:
    return x.flatten(2).sum(dim=2)


def null_weight(out: Attended, mask: Tensor | None = None) -> Tensor:
    """Weight of the null token, from the scores alone."""
    scores = out.scores if mask is None else out.scores.masked_fill(~mask.unsqueeze(1), -math.inf)
    joined = torch.cat([scores.flatten(2), out.null_scores.unsqueeze(2)], dim=2)
    return torch.softmax(joined, dim=2)[:, :, -1]


# ---------------------------------------------------------------- pooling: the sums


@QUICK
@given(st.sampled_from(KINDS), shapes, seeds, st.booleans())
def test_completeness(kind: str, shape: tuple[int, ...], seed: int, masked: bool) -> None:
    layer, features = case(kind, shape, seed)
    out = layer(features, some_mask(shape) if masked else None)
    torch.testing.assert_close(out.logits, layer.bias + sums(out.contributions), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.contributions, out.weights * out.values)
    assert out.contributions.shape == (2, 3, *shape)


@QUICK
@given(st.sampled_from(KINDS), shapes, seeds, st.booleans())
def test_weights_with_the_null_token_sum_to_one(kind: str, shape: tuple[int, ...], seed: int, masked: bool) -> None:
    layer, features = case(kind, shape, seed)
    mask = some_mask(shape) if masked else None
    out = layer(features, mask)
    null = null_weight(out)
    assert (null > 0).all() == (kind in ("evidence", "gated"))
    torch.testing.assert_close(sums(out.weights) + null, torch.ones(2, 3), atol=1e-5, rtol=0)
    if mask is not None:
        outside = ~mask.unsqueeze(1).expand_as(out.weights)
        assert (out.weights[outside] == 0).all()
        assert (out.contributions[outside] == 0).all()


@QUICK
@given(shapes, seeds)
def test_evidence_pooling_is_pool_then_classify(shape: tuple[int, ...], seed: int) -> None:
    """Design: identical to attention pooling followed by one linear layer."""
    layer, features = case("evidence without null", shape, seed)
    flat = features.flatten(2).transpose(1, 2)
    pooled, _ = scaled_dot_product_attention(layer.query, layer.key(flat), flat)  # (B, K, F)
    expected = layer.bias + (pooled * layer.value.weight).sum(-1)
    torch.testing.assert_close(layer(features).logits, expected, atol=1e-4, rtol=1e-4)


def test_average_pooling_is_mean_then_classify() -> None:
    layer, features = case("average", (4, 5), 0)
    expected = layer.value(features.flatten(2).mean(2)) + layer.bias
    torch.testing.assert_close(layer(features).logits, expected, atol=1e-5, rtol=1e-5)


@QUICK
@given(st.sampled_from(KINDS), shapes.filter(lambda s: math.prod(s) > 1), seeds)
def test_removal_identity_equals_recomputing(kind: str, shape: tuple[int, ...], seed: int) -> None:
    layer, features = case(kind, shape, seed)
    layer, features = layer.double(), features.double()
    allowed = some_mask(shape)
    whole, removed = layer(features), ~allowed.unsqueeze(1)
    share = 1 - sums(whole.weights * removed)
    without = layer.bias + (whole.logits - layer.bias - sums(whole.contributions * removed)) / share
    kept = share > 1e-8  # where all the weight is removed, 1 - sum(a) has no digits left: see the next test
    torch.testing.assert_close(without[kept], layer(features, allowed).logits[kept], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["evidence", "evidence without null"])
def test_removing_nearly_all_the_weight_wants_the_scores(kind: str) -> None:
    """1 - sum(a) cancels in float32 once the region holds all the weight; the softmax of the scores does not."""
    layer, features = case(kind, (4, 4), 0)
    allowed = torch.ones(2, 4, 4, dtype=torch.bool)
    allowed[:, 0, 0] = False
    whole = layer(features)
    scores = whole.scores.flatten(2).clone()
    scores[:, :, 0] += 60  # region (0, 0) takes everything
    values, null = whole.values.flatten(2), whole.null_scores
    taken = pool_evidence(scores, values, null, layer.bias, None, [4, 4])
    assert (taken.weights[..., 0, 0] == 1).all()
    exact = pool_evidence(scores.double(), values.double(), null.double(), layer.bias.double(), allowed, [4, 4])
    again = pool_evidence(scores, values, null, layer.bias, allowed, [4, 4])
    torch.testing.assert_close(again.logits, exact.logits.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.logits, layer(features, allowed).logits, atol=1e-5, rtol=1e-5)


@QUICK
@given(st.sampled_from(KINDS), shapes, seeds)
def test_only_identity_equals_recomputing(kind: str, shape: tuple[int, ...], seed: int) -> None:
    layer, features = case(kind, shape, seed)
    layer, features = layer.double(), features.double()
    region = some_mask(shape)
    whole, inside = layer(features), region.unsqueeze(1)
    only = layer.bias + sums(whole.contributions * inside) / (sums(whole.weights * inside) + null_weight(whole))
    torch.testing.assert_close(only, layer(features, region).logits, atol=1e-5, rtol=1e-5)


@QUICK
@given(st.sampled_from(KINDS), shapes, seeds)
def test_what_lies_outside_the_mask_changes_nothing(kind: str, shape: tuple[int, ...], seed: int) -> None:
    layer, features = case(kind, shape, seed)
    mask = some_mask(shape)
    noise = torch.where(mask.unsqueeze(1), 0.0, 50.0) * torch.randn_like(features)
    before, after = layer(features, mask), layer(features + noise, mask)
    torch.testing.assert_close(before.logits, after.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before.contributions, after.contributions, atol=1e-5, rtol=1e-5)


def test_the_mask_changes_the_logit() -> None:
    """The counterpart of the test above: a mask that were ignored would pass it on equal features."""
    layer, features = case("evidence", (4, 4), 3)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    assert (layer(features, mask).logits - layer(features).logits).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_an_all_masked_item_is_an_error_even_beside_a_good_one(kind: str) -> None:
    layer, features = case(kind, (3, 3), 0)
    mask = torch.ones(2, 3, 3, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="excludes every region of at least one item"):
        layer(features, mask)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 3), (2, 9), (2, 1, 3, 3)])
def test_a_mask_of_another_shape_is_refused_not_broadcast(shape: tuple[int, ...]) -> None:
    layer, features = case("evidence", (3, 3), 0)
    with pytest.raises(ValueError, match=r"must be \(batch, regions\): \[2, 3, 3\]"):
        layer(features, torch.ones(shape, dtype=torch.bool))


def test_the_null_token_empties_the_map_of_a_negative_image() -> None:
    layer, features = case("evidence", (4, 4), 1)
    with torch.no_grad():
        layer.null_key.copy_(layer.query.mean(0) * 1000)
        layer.query.copy_(layer.query.mean(0).expand_as(layer.query))
    out = layer(features)
    assert out.contributions.abs().max() < 1e-6
    torch.testing.assert_close(out.logits, layer.bias.expand(2, 3), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- gauge


@pytest.mark.parametrize("kind", KINDS)
def test_the_bias_is_frozen_and_stored(kind: str) -> None:
    layer, features = case(kind, (3, 4), 5)
    assert "bias" in dict(layer.named_buffers())
    assert "bias" not in dict(layer.named_parameters())
    torch.testing.assert_close(layer.state_dict()["bias"], torch.tensor([0.3, -1.2, 0.05]))
    before = layer.bias.clone()
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(features).logits.square().sum().backward()
    optimiser.step()
    assert not layer.bias.requires_grad
    assert torch.equal(layer.bias, before)


def test_the_gauge_freedom_that_freezing_removes() -> None:
    """(s + t, b - t) gives the same logits and another map, without a null token."""
    layer, features = case("evidence without null", (3, 4), 5)
    out = layer(features)
    shifted = (out.weights * (out.values + 0.7)).flatten(2).sum(2) + layer.bias - 0.7
    torch.testing.assert_close(shifted, out.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["evidence", "average"])
def test_a_bias_of_another_length_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="bias has 2 values, one for each of the 3 outputs"):
        build(kind, bias=[0.0, 1.0])


# ---------------------------------------------------------------- cost


class Largest(TorchDispatchMode):
    """Elements allocated by each operation: the largest single tensor and the total."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor) and not func.is_view:
                self.largest = max(self.largest, tensor.numel())
                self.total += tensor.numel()
        return result


def elements(run, regions: int) -> Largest:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    features = torch.randn(1, 12, regions, 1)
    with torch.no_grad(), Largest() as counter:
        run(features)
    return counter


@pytest.mark.parametrize("kind", KINDS)
def test_cost_is_linear_in_the_regions(kind: str) -> None:
    layer = build(kind)
    small, large = elements(layer, 256), elements(layer, 8 * 256)
    assert large.total <= 8.2 * small.total
    assert large.largest <= 8.2 * small.largest
    assert large.largest <= 2048 * 12  # far from N x N


def test_the_cost_measure_sees_an_n_by_n_matrix() -> None:
    """The counter is worth something: full attention between regions goes up 64 times."""

    def quadratic(features: Tensor) -> None:
        flat = features.flatten(2).transpose(1, 2)
        scaled_dot_product_attention(flat, flat, flat)

    assert elements(quadratic, 2048).total > 50 * elements(quadratic, 256).total


# ---------------------------------------------------------------- precision and independence


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_the_head_is_float32(kind: str, dtype: torch.dtype) -> None:
    layer, features = case(kind, (16, 16), 7)
    features = features.to(dtype)
    expected = layer(features.float())
    with torch.autocast("cpu", dtype=dtype):
        out = layer(features)
    assert {tensor.dtype for tensor in out} == {torch.float32}
    torch.testing.assert_close(out.logits, expected.logits)
    torch.testing.assert_close(out.weights, expected.weights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_turned_to_half_still_sums_in_float32(kind: str) -> None:
    layer, features = case(kind, (24, 24), 7)
    out = layer.bfloat16()(features.bfloat16())
    assert {tensor.dtype for tensor in out} == {torch.float32}
    torch.testing.assert_close(out.logits, layer.bias.float() + sums(out.contributions), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_a_batch_do_not_see_each_other(kind: str) -> None:
    layer, features = case(kind, (5, 4), 11, batch=4)
    together = layer(features)
    for index in range(4):
        alone = layer(features[index : index + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.weights[0], together.weights[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_large_scores_do_not_overflow(kind: str) -> None:
    layer, features = case(kind, (4, 4), 2)
    out = layer(features * 1e4)
    assert all(torch.isfinite(t).all() for t in (out.logits, out.contributions, out.weights))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_stay_finite_under_a_mask(kind: str) -> None:
    layer, features = case(kind, (4, 4), 2)
    features.requires_grad_(True)
    layer(features, some_mask((4, 4))).logits.square().sum().backward()
    for name, parameter in [("features", features), *layer.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_null_score_is_scaled_like_the_others() -> None:
    torch.manual_seed(0)
    layer = EvidencePooling(8, 3, null_score=1.5)
    nn.init.normal_(layer.null_key)
    wanted = layer.query @ layer.null_key / math.sqrt(layer.key_dim) + 1.5
    torch.testing.assert_close(layer(torch.randn(2, 8, 3, 3)).null_scores, wanted.expand(2, 3))


def test_attended_features_are_the_mean_over_the_classes() -> None:
    features = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]])
    weights = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.25], [0.0, 0.0]]]])
    torch.testing.assert_close(attended_features(features, weights), torch.tensor([[2 / 3, 2 / 3]]))
