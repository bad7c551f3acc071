"""Encoders: every name of the registry builds, states its strides truly and trains; the compact one does not drift."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medattn_core.networks.efficientnet_lite import EfficientNetLite
from medattn_core.networks.encoders import ENCODERS, CompactResNet, build_encoder, mixes_image

MIXING = {"seresnet50", "efficientnet-b0"}
QUICK = settings(max_examples=15, deadline=None)


def mirrored(module: nn.Module, axes: tuple[int, ...]) -> dict[str, Tensor]:
    """The state of a network with every convolution kernel flipped along spatial ``axes``."""
    kernels = {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Conv3d))}
    state = module.state_dict()
    return {key: value.flip([axis + 2 for axis in axes]) if key in kernels else value for key, value in state.items()}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_builds_and_trains(name: str, spatial_dims: int) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, spatial_dims=spatial_dims, in_channels=2)
    assert encoder.training
    size = 64 if spatial_dims == 2 else 32
    x = torch.randn(2, 2, *[size] * spatial_dims, requires_grad=True)
    maps = encoder(x) if spatial_dims == 2 else encoder.eval()(x)  # 1 position a channel: no batch statistics
    assert encoder.strides == [4, 8, 16, 32]
    assert [m.shape[1] for m in maps] == encoder.channels
    assert [tuple(m.shape[2:]) for m in maps] == [(size // stride,) * spatial_dims for stride in encoder.strides]
    sum(m.square().mean() for m in maps).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    trained = [p for p in encoder.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(trained) > 0.8 * len(list(encoder.parameters()))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_mixes_is_true(name: str) -> None:
    """Whether a pixel in one corner changes the finest feature in the other corner, 190 pixels away."""
    torch.manual_seed(0)
    encoder = build_encoder(name, spatial_dims=2, in_channels=1).eval()
    x = torch.randn(1, 1, 192, 192)
    other = x.clone()
    other[..., :8, :8] += 5.0
    with torch.no_grad():
        change = (encoder(other)[0] - encoder(x)[0])[..., -1, -1].abs().max()
    assert encoder.mixes == (name in MIXING)
    assert (change > 0) == (name in MIXING)


def test_a_norm_over_the_image_counts_as_mixing() -> None:
    options = {"norm": ("group", {"num_groups": 4})}
    assert build_encoder("resnet10", spatial_dims=2, in_channels=1, **options).mixes
    assert not build_encoder("resnet10", spatial_dims=2, in_channels=1).mixes
    assert mixes_image(nn.Sequential(nn.InstanceNorm3d(4)))


def test_encoders_that_claim_locality_hold_no_mixing_layer() -> None:
    assert not mixes_image(CompactResNet(2, 1))


def test_unknown_names_and_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown encoder 'vgg'; accepted: .*compact, densenet121, .*seresnet50"):
        build_encoder("vgg", spatial_dims=2, in_channels=1)
    with pytest.raises(ValueError, match="spatial_dims=1; accepted: 2, 3"):
        build_encoder("compact", spatial_dims=1, in_channels=1)
    with pytest.raises(ValueError, match="widths has 3 stages and blocks 4"):
        build_encoder("compact", spatial_dims=2, in_channels=1, widths=[8, 16, 32])


@pytest.mark.parametrize(("name", "options", "said"), [
    ("compact", {"foo": 1}, "encoder_options of 'compact': unknown key 'foo'; accepted: widths, blocks, stem_stride"),
    ("compact", {"widths": ["a", "b"], "blocks": [1, 1]}, r"widths is \['a', 'b'\]; a list of whole numbers above 0"),
    ("compact", {"widths": 5}, "widths is 5; a list of whole numbers above 0"),
    ("compact", {"widths": []}, r"widths is \[\]; a list of whole numbers"),
    ("compact", {"blocks": [1, 0, 1, 1]}, r"blocks is \[1, 0, 1, 1\]; a list of whole numbers above 0"),
    ("resnet18", {"widths": [8]}, "unknown key 'widths'; accepted: conv1_t_size, conv1_t_stride, "),
    ("densenet121", {"widths": [8]}, "unknown key 'widths'; accepted: init_features, growth_rate"),
    ("seresnet50", {"widths": [8]}, "unknown key 'widths'; accepted: layers, groups"),
    ("efficientnet-b0", {"stages": 1}, "unknown key 'stages'; accepted: model_name"),
    ("efficientnet-lite0", {"widths": [8]}, "unknown key 'widths'; accepted: stages"),
])  # fmt: skip
def test_options_that_an_encoder_does_not_take(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_encoder(name, spatial_dims=2, in_channels=1, **options)


def test_options_of_monai_networks_are_passed_on() -> None:
    assert build_encoder("resnet10", spatial_dims=2, in_channels=1, conv1_t_stride=1).strides[0] == 2
    assert build_encoder("densenet121", spatial_dims=2, in_channels=1, init_features=8).channels[0] < 256


def test_whole_numbers_of_options_may_have_a_point() -> None:
    options = {"widths": [4.0, 8.0], "blocks": [1.0, 1.0], "stem_stride": 2.0}
    encoder = build_encoder("compact", spatial_dims=2, in_channels=1, **options)
    assert [type(stride) for stride in encoder.strides] == [int, int]


def test_compact_options_from_json_lists() -> None:
    encoder = build_encoder("compact", spatial_dims=3, in_channels=1, widths=[4, 8, 8, 8, 8], blocks=[1, 1, 1, 1, 1])
    assert encoder.strides == [4, 8, 16, 32, 64]
    assert encoder.channels == [4, 8, 8, 8, 8]


@QUICK
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(2, (0,)), (2, (1,)), (2, (0, 1)), (3, (2,)), (3, (0, 1, 2))]),
    st.sampled_from([1, 2, 4]),
)
def test_compact_mirrors_exactly(seed: int, case: tuple[int, tuple[int, ...]], stem_stride: int) -> None:
    """Flipping the input and every kernel flips every map: nothing is off-centre, so nothing drifts."""
    spatial_dims, axes = case
    torch.manual_seed(seed)
    options = {"widths": (4, 4, 8, 8), "blocks": (1, 2, 1, 1), "stem_stride": stem_stride}
    encoder = CompactResNet(spatial_dims, 1, **options).double().eval()
    assert encoder.strides[0] == stem_stride
    twin = CompactResNet(spatial_dims, 1, **options).double().eval()
    twin.load_state_dict(mirrored(encoder, axes))
    flips = [axis + 2 for axis in axes]
    x = torch.randn(1, 1, *[64 if spatial_dims == 2 else 32] * spatial_dims, dtype=torch.float64)
    with torch.no_grad():
        for here, there in zip(encoder(x), twin(x.flip(flips)), strict=True):
            torch.testing.assert_close(here.flip(flips), there)


def test_an_odd_strided_encoder_does_not_mirror() -> None:
    """Why the even kernels: MONAI's ResNet fails the property above."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet10", spatial_dims=2, in_channels=1).eval()
    twin = build_encoder("resnet10", spatial_dims=2, in_channels=1).eval()
    twin.load_state_dict(mirrored(encoder, (0, 1)))
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(encoder(x)[1].flip([2, 3]), twin(x.flip([2, 3]))[1], atol=1e-3)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_compact_features_are_centred_on_their_blocks(level: int) -> None:
    """The gradient of one cell, averaged over random networks' channels, balances on the middle of its block."""
    torch.manual_seed(1)
    encoder = CompactResNet(2, 1, widths=(64, 64, 64, 64), blocks=(1, 1, 1, 1)).eval()
    stride = encoder.strides[level]
    cell = 256 // stride // 2
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    mass = torch.zeros(256)
    for _ in range(4):
        noise = (0.1 * torch.randn(1, 1, 256, 256)).requires_grad_(True)
        feature = encoder(x + noise)[level][0, :, cell, cell]
        (gradient,) = torch.autograd.grad((feature * torch.randn_like(feature)).sum(), noise)
        mass += gradient[0, 0].square().sum(1).detach()
    centre = float((mass * torch.arange(256)).sum() / mass.sum())
    assert abs(centre - (cell * stride + (stride - 1) / 2)) < 0.25 * stride


def test_efficientnet_lite_keeps_near_its_blocks() -> None:
    """Padded by TensorFlow's rule the map of stride 8 would sit 3.5 pixels off, that of stride 32 15.5."""
    torch.manual_seed(0)
    encoder = build_encoder("efficientnet-lite0", spatial_dims=2, in_channels=1).double().eval()
    for layer in encoder.modules():  # linear with kernels of one sign: the gradient is the kernels' own shape
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1.0 / layer.weight[0].numel())
        if isinstance(layer, nn.ReLU6):
            layer.min_val, layer.max_val = -1e30, 1e30
    x = torch.zeros(1, 1, 512, 512, dtype=torch.float64, requires_grad=True)
    for level, (stride, off) in enumerate(zip(encoder.strides, (0.5, 1.5, 2.5, 5.5), strict=True)):
        cell = 256 // stride
        (gradient,) = torch.autograd.grad(encoder(x)[level][0, :, cell, cell].sum(), x)
        mass = gradient[0, 0].sum(1)
        centre = float((mass * torch.arange(512)).sum() / mass.sum())
        assert abs(abs(centre - (cell * stride + (stride - 1) / 2)) - off) < 0.02 * stride


def _as_pretrained(encoder: EfficientNetLite, generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights in the names and shapes of EfficientNet-PyTorch's RGB network."""
    named = {}
    for name, value in encoder.state_dict().items():
        first, number, rest = name.split(".", 2)
        source = {"1": "_conv_stem.", "2": "_bn0."}[number] + rest if first == "stem" else f"_blocks.{rest}"
        shape = [32, 3, 3, 3] if source == "_conv_stem.weight" else value.shape
        named[source] = torch.rand(shape, generator=generator).to(value.dtype)
    return named


def test_efficientnet_lite_starts_from_pretrained_weights() -> None:
    """A grey picture in one channel, in three equal ones, or in RGB of the pretrained stem gives the same features."""
    generator = torch.Generator().manual_seed(0)
    one, three = (build_encoder("efficientnet-lite0", spatial_dims=2, in_channels=n).eval() for n in (1, 3))
    pretrained = _as_pretrained(one, generator)  # type: ignore[arg-type]
    one.start_from(pretrained)  # type: ignore[operator]
    three.start_from(pretrained)  # type: ignore[operator]
    x = torch.rand(1, 1, 64, 64, generator=generator)
    torch.testing.assert_close(one(x)[0], three(x.expand(-1, 3, -1, -1))[0])
    padded = nn.functional.pad(x.expand(-1, 3, -1, -1), (0, 1, 0, 1))
    stem = nn.functional.conv2d(padded, pretrained["_conv_stem.weight"], stride=2)
    torch.testing.assert_close(one.stem[1](one.stem[0](x)), stem)  # type: ignore[index]
    torch.testing.assert_close(one.state_dict()["groups.3.6._bn1.bias"], pretrained["_blocks.6._bn1.bias"])


def test_fewer_stages_of_efficientnet_lite_are_the_first_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    whole, some = (build_encoder("efficientnet-lite0", spatial_dims=2, in_channels=1, stages=n).eval() for n in (4, 2))
    pretrained = _as_pretrained(whole, generator)  # type: ignore[arg-type]
    whole.start_from(pretrained)  # type: ignore[operator]
    some.start_from(pretrained)  # type: ignore[operator]
    assert (some.channels, some.strides) == (whole.channels[:2], whole.strides[:2]) == ([24, 40], [4, 8])
    x = torch.rand(1, 1, 64, 64, generator=generator)
    torch.testing.assert_close(some(x), whole(x)[:2])
    with pytest.raises(ValueError, match="stages=5; accepted: 1 to 4"):
        build_encoder("efficientnet-lite0", spatial_dims=2, in_channels=1, stages=5)


def test_larger_efficientnet_lites_are_deeper_and_wider() -> None:
    """Channels and weights as published for these variants without their heads (Liu 2020)."""
    published = {
        "efficientnet-lite0": ([24, 40, 112, 320], 2_958_848),
        "efficientnet-lite1": ([24, 40, 112, 320], 3_723_520),
        "efficientnet-lite2": ([24, 48, 120, 352], 4_357_952),
    }
    for name, (channels, weights) in published.items():
        encoder = build_encoder(name, spatial_dims=2, in_channels=3)
        assert (encoder.channels, encoder.strides, encoder.mixes) == (channels, [4, 8, 16, 32], False)
        assert sum(p.numel() for p in encoder.parameters()) == weights


def test_efficientnet_lite_refuses_other_weights() -> None:
    encoder = build_encoder("efficientnet-lite0", spatial_dims=2, in_channels=1)
    pretrained = _as_pretrained(encoder, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    wrong = {**pretrained, "_blocks.6._bn1.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'_blocks.6._bn1.bias' is of shape \[3\] in the pretrained weights; \[\d+\]"):
        encoder.start_from(wrong)  # type: ignore[operator]
    del wrong["_blocks.6._bn1.bias"]
    with pytest.raises(ValueError, match=r"'_blocks.6._bn1.bias' is missing"):
        encoder.start_from(wrong)  # type: ignore[operator]
