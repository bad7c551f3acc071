"""Encoders behind one registry: image in, feature maps at several strides out.

An encoder is a module with two attributes, ``channels`` and ``strides`` (one entry for each feature map, fine to
coarse), whose forward takes ``(B, C, *spatial)`` and returns the list of feature maps.

``compact`` is MedAttn's own: batch normalisation only, so that no layer mixes the whole image, and every feature
centred on its own block of pixels. ``efficientnet-lite0`` mixes nothing either, is nearly centred, and can start from
ImageNet (:mod:`~medattn_core.networks.efficientnet_lite`). The others are MONAI's networks cut at their stages.
Squeeze-excite and group normalisation leak across the image (stated in ``mixes``), and odd strided kernels centre cell
i on pixel ``i * stride``, the first of its block instead of the middle: their maps sit up to half a cell too far along
each axis.

Image sizes are multiples of the coarsest stride;
:class:`~medattn_core.networks.attention_cnn.AttentionCNN` pads others.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medattn_core.networks.efficientnet_lite import VARIANTS, EfficientNetLite

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MEAN: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}

ENCODERS: dict[str, Callable[..., nn.Module]] = {}

OPTIONS: dict[str, Callable[[], list[Callable[..., Any]]]] = {}
"""What takes the options of each encoder: functions and classes, whose parameters are the keys."""

SETTLED = ("spatial_dims", "in_channels", "n_input_channels", "out_channels", "progress")
"""Parameters that are no options: the task says them, as the name of the encoder does those without a default."""


def register(
    name: str, takers: Callable[[], list[Callable[..., Any]]] | None = None
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Make a builder ``(spatial_dims, in_channels, **options) -> encoder`` available under ``name``.

    Args:
        name: of the encoder.
        takers: gives what the options are passed to, whose parameters are their keys. Without it any key is passed on.
    """

    def add(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        ENCODERS[name] = builder
        if takers is not None:
            OPTIONS[name] = takers
        return builder

    return add


def build_encoder(name: str, *, spatial_dims: int, in_channels: int, **options: object) -> nn.Module:
    """Build a registered encoder.

    Raises:
        ValueError: unknown name or option, or spatial_dims other than 2 or 3.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims={spatial_dims}; accepted: 2, 3")
    check_options(name, options)
    return ENCODERS[name](spatial_dims=spatial_dims, in_channels=in_channels, **options)


def check_options(name: str, options: Mapping[Any, object]) -> None:
    """Whether an encoder of that name takes options of these keys.

    Raises:
        ValueError: unknown name or key.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}; accepted: {', '.join(sorted(ENCODERS))}")
    if name not in OPTIONS or not options:
        return
    parameters = [one for taker in OPTIONS[name]() for one in inspect.signature(taker).parameters.values()]
    keys = [one.name for one in parameters if one.default is not one.empty and one.name not in SETTLED]
    unknown = sorted(set(options) - set(keys), key=str)
    if unknown:
        raise ValueError(
            f"encoder_options of {name!r}: unknown key {unknown[0]!r}; accepted: {', '.join(dict.fromkeys(keys))}"
        )


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation and a shortcut (He et al. 2016, arXiv 1512.03385).

    Where it strides, the kernel is 4 wide and the shortcut averages pairs: an odd kernel would centre output i on
    input 2i instead of between 2i and 2i + 1, and the map would drift by half a cell at each stride.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        conv, norm = CONV[spatial_dims], NORM[spatial_dims]
        self.conv1 = conv(in_channels, out_channels, 3 if stride == 1 else 4, stride=stride, padding=1, bias=False)
        self.norm1 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = norm(out_channels)
        if stride != 1 or in_channels != out_channels:
            halve = MEAN[spatial_dims](2) if stride != 1 else nn.Identity()
            self.shortcut: nn.Module = nn.Sequential(
                halve, conv(in_channels, out_channels, 1, bias=False), norm(out_channels)
            )
        else:
            self.shortcut = nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(y)) + self.shortcut(x))


class CompactResNet(nn.Module):
    """A small residual encoder: a stem, then one stage a stride.

    Every feature is centred on its block of ``stride`` pixels (even kernels wherever it strides), so the map of a
    mirrored image is the mirrored map and nothing drifts.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        widths: channels of the stages; strides are 4, 8, 16, 32, ... with the default stem.
        blocks: residual blocks per stage, as many numbers as in ``widths``.
        stem_stride: stride of the first stage: 4; 2 for images of a few dozen pixels; 1 for findings of a few pixels.
    """

    mixes = False

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        stem_stride: int = 4,
    ) -> None:
        super().__init__()
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride={stem_stride}; accepted: 1, 2, 4")
        if len(widths) != len(blocks):
            raise ValueError(f"widths has {len(widths)} stages and blocks {len(blocks)}: they must be equal")
        self.channels = list(widths)
        self.strides = [stem_stride * 2**i for i in range(len(widths))]
        kernel, step, padding = (3, 1, 1) if stem_stride == 1 else (6, 2, 2)
        self.stem = nn.Sequential(
            CONV[spatial_dims](in_channels, widths[0], kernel, stride=step, padding=padding, bias=False),
            NORM[spatial_dims](widths[0]),
            nn.ReLU(inplace=True),
            POOL[spatial_dims](2) if stem_stride == 4 else nn.Identity(),
        )
        stages = []
        previous = widths[0]
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stride = 1 if index == 0 else 2
            layers = [ResidualBlock(spatial_dims, previous, width, stride)]
            layers += [ResidualBlock(spatial_dims, width, width, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*layers))
            previous = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class StagedEncoder(nn.Module):
    """A network given as consecutive stages; each stage's output is a feature map."""

    def __init__(self, stages: list[nn.Module], channels: list[int], strides: list[int], *, mixes: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.strides = strides
        self.mixes = mixes

    def forward(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _whole(value: Any) -> bool:
    """Whether a value is a whole number above zero, which may be written ``8.0``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and value % 1 == 0


@register("compact", lambda: [CompactResNet])
def compact(*, spatial_dims: int, in_channels: int, **options: Any) -> nn.Module:
    """MedAttn's compact residual encoder; options ``widths``, ``blocks``, ``stem_stride``."""
    for name in ("widths", "blocks"):
        if name in options:
            given = options[name]
            if not isinstance(given, (list, tuple)) or not given or not all(map(_whole, given)):
                raise ValueError(f"encoder_options: {name} is {given!r}; a list of whole numbers above 0 is needed")
            options[name] = tuple(int(n) for n in given)
    if _whole(options.get("stem_stride")):
        options["stem_stride"] = int(options["stem_stride"])
    return CompactResNet(spatial_dims, in_channels, **options)


def mixes_image(module: nn.Module) -> bool:
    """Whether a layer lets every output see the whole image: statistics or pooling over all positions."""
    whole = (
        nn.GroupNorm,
        nn.LayerNorm,
        nn.modules.instancenorm._InstanceNorm,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool3d,
        nn.AdaptiveMaxPool2d,
        nn.AdaptiveMaxPool3d,
        nn.MultiheadAttention,
    )
    return any(isinstance(layer, whole) for layer in module.modules())


def _measure(stages: list[nn.Module], spatial_dims: int, in_channels: int) -> StagedEncoder:
    """Read channels and strides off one small pass instead of repeating each network's arithmetic."""
    size = 32
    channels, strides = [], []
    with torch.no_grad():
        x = torch.zeros(1, in_channels, *([size] * spatial_dims))
        for stage in stages:
            training = stage.training
            x = stage.eval()(x)
            stage.train(training)
            channels.append(int(x.shape[1]))
            strides.append(math.ceil(size / x.shape[2]))
    return StagedEncoder(stages, channels, strides, mixes=any(mixes_image(stage) for stage in stages))


def _resnet(depth: int) -> Callable[..., nn.Module]:
    def build(*, spatial_dims: int, in_channels: int, **options: object) -> nn.Module:
        from monai.networks import nets

        # conv1_t_stride=1, MONAI's default, is seven times slower at 96^3.
        settings: dict[str, object] = {"conv1_t_stride": 2, "num_classes": 1, **options}
        net = getattr(nets, f"resnet{depth}")(spatial_dims=spatial_dims, n_input_channels=in_channels, **settings)
        stem = nn.Sequential(net.conv1, net.bn1, net.act, net.maxpool)
        stages = [nn.Sequential(stem, net.layer1), net.layer2, net.layer3, net.layer4]
        return _measure(stages, spatial_dims, in_channels)

    return build


def _seresnet(*, spatial_dims: int, in_channels: int, **options: Any) -> nn.Module:
    from monai.networks.nets import SEResNet50

    net = SEResNet50(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=1, **options)
    stages: list[nn.Module] = [nn.Sequential(net.layer0, net.layer1), net.layer2, net.layer3, net.layer4]
    return _measure(stages, spatial_dims, in_channels)


def _densenet(*, spatial_dims: int, in_channels: int, **options: Any) -> nn.Module:
    from monai.networks.nets import DenseNet121

    net = DenseNet121(spatial_dims=spatial_dims, in_channels=in_channels, out_channels=1, **options)
    layers = dict(net.features.named_children())
    stem = [layers[n] for n in ("conv0", "norm0", "relu0", "pool0")]
    stages: list[nn.Module] = [nn.Sequential(*stem, layers["denseblock1"])]
    for index in (1, 2, 3):
        tail = [layers["norm5"], nn.ReLU(inplace=True)] if index == 3 else []
        stages.append(nn.Sequential(layers[f"transition{index}"], layers[f"denseblock{index + 1}"], *tail))
    return _measure(stages, spatial_dims, in_channels)


class EfficientNetFeatures(nn.Module):
    """MONAI's EfficientNet-B0 as a list of feature maps, strides 4 to 32."""

    mixes = True  # squeeze-excite in every block

    def __init__(self, spatial_dims: int, in_channels: int, model_name: str = "efficientnet-b0") -> None:
        super().__init__()
        from monai.networks.nets import EfficientNetBNFeatures

        self.net = EfficientNetBNFeatures(
            model_name, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=1
        )
        size = 32
        with torch.no_grad():
            maps = self.net.eval()(torch.zeros(1, in_channels, *([size] * spatial_dims)))
        self.net.train()
        self.keep = [i for i, m in enumerate(maps) if math.ceil(size / m.shape[2]) >= 4]
        self.channels = [int(maps[i].shape[1]) for i in self.keep]
        self.strides = [math.ceil(size / maps[i].shape[2]) for i in self.keep]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.net(x)
        return [maps[i] for i in self.keep]


def _of_monai(*names: str) -> Callable[[], list[Callable[..., Any]]]:
    """Networks of MONAI by their names, which are looked up once they are asked for: MONAI takes a while to import."""

    def found() -> list[Callable[..., Any]]:
        from monai.networks import nets

        return [getattr(nets, name) for name in names]

    return found


for _depth in (10, 18, 34, 50):
    register(f"resnet{_depth}", _of_monai("ResNet", f"resnet{_depth}"))(_resnet(_depth))
register("seresnet50", _of_monai("SEResNet50", "SENet"))(_seresnet)
register("densenet121", _of_monai("DenseNet121", "DenseNet"))(_densenet)


@register("efficientnet-b0", lambda: [EfficientNetFeatures])
def _efficientnet(*, spatial_dims: int, in_channels: int, **options: str) -> nn.Module:
    return EfficientNetFeatures(spatial_dims, in_channels, **options)


def _efficientnet_lite(variant: str) -> Callable[..., nn.Module]:
    def build(*, spatial_dims: int, in_channels: int, **options: Any) -> nn.Module:
        return EfficientNetLite(spatial_dims, in_channels, variant, **options)

    return build


for _variant in VARIANTS:
    register(_variant, lambda: [EfficientNetLite])(_efficientnet_lite(_variant))
