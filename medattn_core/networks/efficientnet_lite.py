"""EfficientNet-Lite: encoders that mix nothing across the image and can start from ImageNet.

EfficientNet-B0 to B2 without squeeze-excite and with ReLU6 (Tan and Le 2019, arXiv 1905.11946; the Lite variants are
Liu 2020, of the same project), built of MONAI's blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn


class Group(NamedTuple):
    """Blocks of one resolution and width."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


GROUPS = (
    Group(1, 3, 1, 1, 16),
    Group(2, 3, 2, 6, 24),
    Group(2, 5, 2, 6, 40),
    Group(3, 3, 2, 6, 80),
    Group(3, 5, 1, 6, 112),
    Group(4, 5, 2, 6, 192),
    Group(1, 3, 1, 6, 320),
)
"""Those of Lite0."""

STEM = 32
"""Channels of the stem, of every variant."""

VARIANTS = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
"""Factors of width and depth (Tan and Le 2019)."""

KEPT = {1: 4, 2: 8, 4: 16, 6: 32}
"""Groups whose output is a feature map, and its stride."""


def groups_of(variant: str) -> list[Group]:
    """The groups of a variant: channels to the nearest multiple of eight; first and last group are not deepened."""
    width, depth = VARIANTS[variant]
    last = len(GROUPS) - 1
    return [
        group._replace(
            repeats=group.repeats if index in (0, last) else math.ceil(group.repeats * depth),
            channels=_multiple_of_eight(group.channels * width),
        )
        for index, group in enumerate(GROUPS)
    ]


def _multiple_of_eight(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class EfficientNetLite(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        variant: one of :data:`VARIANTS`.
        stages: how many of its feature maps are built, finest first; a feature at stride 8 or 16 sees only part of the
            image.

    Raises:
        ValueError: stages is not 1 to 4.
    """

    mixes = False

    def __init__(self, spatial_dims: int, in_channels: int, variant: str, stages: int = len(KEPT)) -> None:
        super().__init__()
        if type(stages) is not int or not 1 <= stages <= len(KEPT):
            raise ValueError(f"stages={stages!r}; accepted: 1 to {len(KEPT)}")
        from monai.networks.nets.efficientnet import EfficientNet

        self.variant = variant
        # Without dropped connections: each process of a training would drop its own.
        groups = groups_of(variant)
        before = [STEM, *(group.channels for group in groups)]
        blocks = [
            f"r{g.repeats}_k{g.kernel}_s{g.stride}{g.stride}_e{g.expansion}_i{i}_o{g.channels}"
            for g, i in zip(groups, before, strict=False)
        ]
        net = EfficientNet(blocks, spatial_dims, in_channels, num_classes=1, drop_connect_rate=0.0)
        _settle_padding(net)
        self.stem = nn.Sequential(net._conv_stem_padding, net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
        self.kept = list(KEPT)[:stages]
        self.groups = nn.Sequential(*list(net._blocks)[: self.kept[-1] + 1])
        for block in (block for group in self.groups.children() for block in group.children()):
            block._swish = nn.ReLU6(inplace=True)
            for part in ("_se_adaptpool", "_se_reduce", "_se_expand", "_se_reduce_padding", "_se_expand_padding"):
                setattr(block, part, nn.Identity())  # TorchScript compiles the branch that is never taken
        self.channels = [groups[group].channels for group in self.kept]
        self.strides = [KEPT[group] for group in self.kept]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features: list[Tensor] = []
        for index, group in enumerate(self.groups):
            x = group(x)
            if index in self.kept:
                features.append(x)
        return features

    def start_from(self, pretrained: Mapping[str, Tensor]) -> None:
        """Take the weights of a two-dimensional network for RGB pictures, in the names of EfficientNet-PyTorch.

        The stem sees grey pictures: its kernels are summed over the colours and shared by the image channels. The
        scale of the images does not matter, because a batch normalisation follows.

        Raises:
            ValueError: the weights are of another network, or this one is three-dimensional.
        """
        own = self.state_dict()
        loaded = {}
        for name, value in own.items():
            source = _pretrained_name(name)
            found = pretrained.get(source)
            if source == "_conv_stem.weight" and found is not None and found.dim() == 4:
                found = found.sum(dim=1, keepdim=True).expand(-1, value.shape[1], -1, -1) / value.shape[1]
            if found is None or found.shape != value.shape:
                shape = "missing" if found is None else f"of shape {list(found.shape)}"
                raise ValueError(f"{source!r} is {shape} in the pretrained weights; {list(value.shape)} is needed")
            loaded[name] = found
        self.load_state_dict(loaded)


def _pretrained_name(name: str) -> str:
    """``groups.1.2._bn0.bias`` here is ``_blocks.2._bn0.bias`` there; layers of the stem have names, not numbers."""
    first, number, rest = name.split(".", 2)
    if first == "stem":
        return {"1": "_conv_stem", "2": "_bn0"}[number] + f".{rest}"
    return f"_blocks.{rest}"


def _settle_padding(net: nn.Module) -> None:
    """Let convolutions pad themselves, which spares a copy of each map, and centre those that stride.

    TensorFlow's rule pads strided layers at the end: each stride of two moves the maps by half a pixel of its input,
    all to the same side, 15.5 pixels at stride 32. Padding every second one at the start takes back what the one
    before moved: 1.5 pixels are left at stride 8, 5.5 at 32. Which phase of the pixels a layer samples does not matter
    to its weights.
    """
    at_end = True
    places = [(net, "_conv_stem"), *((b, "_depthwise_conv") for group in net._blocks for b in group)]  # type: ignore
    for owner, name in places:
        conv = getattr(owner, name)
        strides = conv.stride[0] > 1
        if not (strides and at_end):
            conv.padding = tuple(k // 2 for k in conv.kernel_size)
            setattr(owner, f"{name}_padding", nn.Identity())
        at_end = at_end != strides
