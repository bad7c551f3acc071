"""AttentionCNN: the facts of the pooling layer survive the encoder, half precision, TorchScript and any image size."""

from __future__ import annotations

import io
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medattn_core.networks.attention import Attended
from medattn_core.networks.attention_cnn import POOLINGS, AttentionCNN
from medattn_core.networks.encoders import ENCODERS

SMALL = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}
QUICK = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def build(seed: int = 0, **settings: object) -> AttentionCNN:
    """A small network in eval mode whose batch statistics and attention are not those of initialisation."""
    torch.manual_seed(seed)
    options: dict = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "bias": [0.2, -0.4, 0.0], "width": 16}
    options |= settings
    if options.get("encoder", "compact") == "compact":
        options.setdefault("encoder_options", SMALL)
    network = AttentionCNN(**options).eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
        if hasattr(network.pooling, "query"):
            network.pooling.query.mul_(5)
    return network


def sums(x: Tensor) -> Tensor:
    return x.flatten(2).sum(dim=2)


def assert_same(first: Attended, second: Attended, atol: float = 1e-5) -> None:
    for name in ("logits", "contributions", "weights"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), atol=atol, rtol=1e-5, msg=name)


@QUICK
@given(
    st.sampled_from(POOLINGS),
    st.booleans(),
    st.sampled_from([2, 3]),
    st.tuples(*[st.integers(1, 70)] * 3),
    st.sampled_from([4, 8, 16, 32]),
    seeds,
)
def test_completeness_and_shapes_for_any_image_size(
    pooling: str, null: bool, dims: int, size: tuple[int, ...], stride: int, seed: int
) -> None:
    network = build(seed, spatial_dims=dims, pooling=pooling, null_token=null, evidence_stride=stride)
    size = size[:2] if dims == 2 else tuple(min(n, 40) for n in size)
    x = torch.rand(2, 1, *size)
    with torch.no_grad():
        out = network.attend(x)
        logits = network(x)
    torch.testing.assert_close(out.logits, network.pooling.bias + sums(out.contributions), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits, out.logits)
    assert out.contributions.shape == (2, 3, *[math.ceil(n / stride) for n in size])


def test_forward_returns_one_tensor() -> None:
    assert isinstance(build()(torch.rand(1, 1, 32, 32)), Tensor)


@QUICK
@given(seeds, st.sampled_from(POOLINGS))
def test_removal_from_one_pass_equals_the_head_with_a_mask(seed: int, pooling: str) -> None:
    network = build(seed, pooling=pooling)
    with torch.no_grad():
        features = network.features(torch.rand(1, 1, 64, 96))
        whole = network.pool(features)
        removed = torch.rand(1, 8, 12) < 0.3
        bias, inside = network.pooling.bias, removed.unsqueeze(1)
        share = 1 - sums(whole.weights * inside)
        without = bias + (whole.logits - bias - sums(whole.contributions * inside)) / share
        torch.testing.assert_close(without, network.pool(features, ~removed).logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network.attend(torch.rand(1, 1, 64, 96)).weights.shape, whole.weights.shape)


@pytest.mark.parametrize("size", [(33, 47), (32, 63), (65, 64), (5, 90)])
def test_no_last_pixels_are_lost(size: tuple[int, int]) -> None:
    """An image of any size gives the cells of the same image with empty margin; strided layers alone round down."""
    network = build(evidence_stride=8)
    x = torch.rand(1, 1, *size)
    rows, columns = math.ceil(size[0] / 8), math.ceil(size[1] / 8)
    margin = torch.zeros(1, 1, *[32 * math.ceil(n / 32) for n in size])
    margin[..., : size[0], : size[1]] = x
    changed = x.clone()
    changed[..., -1, -1] += 10
    with torch.no_grad():
        features = network.features(x)
        assert features.shape[2:] == (rows, columns)
        torch.testing.assert_close(features, network.features(margin)[..., :rows, :columns])
        assert (network.features(changed) - features)[..., -1, -1].abs().max() > 1e-4


def test_multiples_of_the_coarsest_stride_are_not_touched() -> None:
    network = build()
    x = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        plain = network.top_down(network.encoder(x)[network.first :])
        assert torch.equal(network.features(x), plain)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_items_of_a_batch_do_not_see_each_other(pooling: str) -> None:
    network = build(pooling=pooling, mixing=pooling == "evidence")
    x = torch.rand(4, 1, 64, 64)
    with torch.no_grad():
        together = network.attend(x)
        for index in range(4):
            alone = network.attend(x[index : index + 1])
            assert_same(alone, Attended(*[tensor[index : index + 1] for tensor in together]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_completeness_in_half_precision(pooling: str, dtype: torch.dtype) -> None:
    network = build(pooling=pooling)
    x = torch.rand(2, 1, 96, 96)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        features = network.features(x)
        out = network.attend(x)
    with torch.no_grad():
        exact = network(x)
    assert features.dtype == dtype  # the encoder did run in half
    assert out.contributions.dtype == torch.float32
    torch.testing.assert_close(out.logits, network.pooling.bias + sums(out.contributions), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.logits, exact, atol=0.1, rtol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("spatial_dims", "mirror"), [(2, 1), (3, 0), (3, [0, 1, 2])])
def test_features_on_a_gpu_are_those_of_the_processor(spatial_dims: int, mirror: int | list[int]) -> None:
    network = build(spatial_dims=spatial_dims, mirror=mirror)
    x = torch.rand(4, 1, *([64] * spatial_dims))
    layout = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = network.features(x)
        found = network.to(device="cuda", memory_format=layout).features(x.cuda())  # type: ignore[call-overload]
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("spatial_dims", "mirror", "slicewise"), [(2, 1, False), (3, [0, 2], False), (2, [0, 1], True)]
)
def test_the_map_of_a_mirrored_image_is_the_mirrored_map(
    spatial_dims: int, mirror: int | list[int], slicewise: bool
) -> None:
    """Along each axis that is averaged over, and along none of the others; in training nothing is averaged."""
    axes = [mirror] if isinstance(mirror, int) else mirror
    network = build(spatial_dims=spatial_dims, mirror=mirror, slicewise=slicewise)
    x = torch.rand(2, 1, *([32] * (3 if spatial_dims == 3 or slicewise else 2)))
    with torch.no_grad():
        out = network.attend(x)
        for axis in range(spatial_dims):
            turned = network.attend(x.flip([axis + 2]))
            same = torch.allclose(turned.contributions.flip([axis + 2]), out.contributions, atol=1e-5)
            assert same == (axis in axes)
        plain = build(spatial_dims=spatial_dims, slicewise=slicewise)
        views = [plain.features(x)] + [plain.features(x.flip(view)).flip(view) for view in network.views]
        assert len(views) == 2 ** len(axes)
        torch.testing.assert_close(network.features(x), torch.stack(views).mean(dim=0), atol=1e-5, rtol=1e-4)
        network.train().dropout.eval()
        torch.testing.assert_close(network.features(x), plain.train().features(x))


@pytest.mark.parametrize(("size", "options"), [((57, 40), {}), ((57, 61, 3), {"slicewise": True})], ids=str)
def test_mirrored_cells_are_those_of_the_image(size: tuple[int, ...], options: dict) -> None:
    """An image that ends within a cell is one that goes on black to its end, also where it is mirrored."""
    network = build(mirror=[0, 1], **options)
    x = torch.rand(1, 1, *size)
    whole = torch.zeros(1, 1, 64, 64, *size[2:])
    whole[:, :, : size[0], : size[1]] = x
    with torch.no_grad():
        cells = network.features(x)
        assert cells.shape[2:4] == (-(-size[0] // 8), -(-size[1] // 8))
        padded = network.features(whole[:, :, :, : cells.shape[3] * 8])
        torch.testing.assert_close(cells, padded, atol=1e-5, rtol=1e-4)


def test_deterministic() -> None:
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert_same(build(3).attend(x), build(3).attend(x), atol=0.0)
    assert not torch.equal(build(3)(x), build(4)(x))


# ---------------------------------------------------------------- slices


def test_slicewise_is_slices_one_by_one_pooled_together() -> None:
    network = build(slicewise=True)
    x = torch.rand(2, 1, 64, 32, 5)
    mask = torch.rand(2, 8, 4, 5) < 0.7
    with torch.no_grad():
        one_by_one = torch.stack([network.features(x[..., i]) for i in range(5)], dim=-1)
        assert_same(network.pool(one_by_one, mask), network.attend(x, mask))
        assert network.attend(x).contributions.shape == (2, 3, 8, 4, 5)


def test_slicewise_volume_of_one_slice_is_the_slice() -> None:
    network = build(slicewise=True)
    x = torch.rand(2, 1, 40, 64)
    with torch.no_grad():
        flat, deep = network.attend(x), network.attend(x.unsqueeze(-1))
    torch.testing.assert_close(flat.logits, deep.logits)
    torch.testing.assert_close(flat.contributions, deep.contributions[..., 0])


def test_slicewise_does_not_depend_on_the_order_of_slices() -> None:
    network = build(slicewise=True)
    x = torch.rand(1, 1, 32, 32, 6)
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(x.flip(4)), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- export


def scripted(network: AttentionCNN) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit itself is deprecated since torch 2.10
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(network), buffer)
        buffer.seek(0)
        return torch.jit.load(buffer)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "gated"},
        {"pooling": "average"},
        {"null_token": False},
        {"mixing": True},
        {"slicewise": True},
        {"spatial_dims": 3},
        {"spatial_dims": 3, "mirror": [0, 2]},
    ],
    ids=str,
)
def test_torchscript_gives_the_same_logits_and_evidence(options: dict) -> None:
    network = build(**options)
    x = torch.rand(2, 1, 40, 64, 33) if network.spatial_dims == 3 or network.slicewise else torch.rand(2, 1, 40, 64)
    loaded = scripted(network)
    with torch.no_grad():
        expected = network.attend(x)
        torch.testing.assert_close(loaded(x), expected.logits)
        out = loaded.attend(x)
        mask = torch.rand(expected.weights[:, 0].shape) < 0.5
        masked = loaded.attend(x, mask)
        assert_same(masked, network.attend(x, mask))
    assert_same(Attended(*out), expected)


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - {"resnet34", "resnet50"}))
def test_every_encoder_can_be_scripted(name: str) -> None:
    network = build(encoder=name, encoder_options=None)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(scripted(network)(x), network(x), atol=1e-5, rtol=1e-5)


def test_traced() -> None:
    network = build()
    x = torch.rand(1, 1, 64, 64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, x)
        torch.testing.assert_close(traced(x), network(x))


# ---------------------------------------------------------------- construction and errors


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_encoder_carries_the_head(name: str, spatial_dims: int) -> None:
    network = build(encoder=name, encoder_options=None, spatial_dims=spatial_dims, evidence_stride=16)
    with torch.no_grad():
        out = network.attend(torch.rand(1, 1, *[64, 50] if spatial_dims == 2 else [32, 32, 20]))
    assert out.weights.shape[2:] == ((4, 4) if spatial_dims == 2 else (2, 2, 2))
    assert network.local == (name not in {"seresnet50", "efficientnet-b0"})


def test_gradients_reach_every_parameter_but_not_the_bias() -> None:
    network = build(mixing=True).train()
    network(torch.rand(4, 1, 64, 64)).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert "pooling.bias" in network.state_dict()
    assert "pooling.bias" not in dict(network.named_parameters())


def test_locality_is_stated() -> None:
    assert build().local
    assert not build(mixing=True).local


@pytest.mark.parametrize("out_channels", [1, 7])
def test_multilabel_and_regression_are_only_outputs(out_channels: int) -> None:
    network = build(out_channels=out_channels, bias=None)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, out_channels)


def test_regression_can_be_fitted() -> None:
    """A quantity with a unit: the frozen bias is the mean target, the evidence its deviations."""
    torch.manual_seed(0)
    network = build(out_channels=1, bias=[50.0]).train()
    x = torch.rand(16, 1, 32, 32) * torch.linspace(0.2, 2, 16).reshape(-1, 1, 1, 1)
    target = 40 + 20 * torch.linspace(0, 1, 16).reshape(-1, 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    before = (network(x) - target).square().mean()
    for _ in range(40):
        loss = (network(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1 * before
    assert float(network.pooling.bias) == 50.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "unknown pooling 'max'; accepted: evidence, gated, average"),
        ({"encoder": "vgg"}, "unknown encoder 'vgg'"),
        ({"evidence_stride": 5}, r"evidence_stride=5; encoder 'compact' has strides \[4, 8, 16, 32\]"),
        ({"spatial_dims": 3, "slicewise": True}, "slicewise=True wants spatial_dims=2"),
        ({"spatial_dims": 4}, "spatial_dims=4; accepted: 2, 3"),
        ({"bias": [1.0]}, "bias has 1 values, one for each of the 3 outputs"),
        ({"mirror": 2}, "mirror=2; accepted: -1 for none, an axis, 0 to 1, or a list of different ones"),
        ({"mirror": [0, 0]}, r"mirror=\[0, 0\]; accepted"),
        ({"mirror": True}, "mirror=True; accepted"),
    ],
)
def test_bad_settings_say_what_is_accepted(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 2, 32, 32), {}),
        ((1, 32, 32), {}),
        ((1, 1, 32, 32, 4), {}),
        ((1, 1, 32, 32), {"spatial_dims": 3}),
        ((1, 1, 32, 32, 0), {"slicewise": True}),
        ((0, 1, 32, 32), {}),
    ],
)
def test_an_input_of_another_kind_is_refused(shape: tuple[int, ...], options: dict) -> None:
    network = build(**options)
    with pytest.raises(ValueError, match=r"this network takes .* with 1 channel"):
        network(torch.zeros(shape))


def test_mask_errors() -> None:
    network = build()
    x = torch.rand(2, 1, 64, 64)
    with pytest.raises(ValueError, match=r"must be \(batch, regions\): \[2, 8, 8\]"):
        network.attend(x, torch.ones(2, 64, 64, dtype=torch.bool))
    with pytest.raises(ValueError, match="excludes every region"):
        network.attend(x, torch.zeros(2, 8, 8, dtype=torch.bool))
