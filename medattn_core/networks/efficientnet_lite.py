"""EfficientNet-Lite0: an encoder that mixes nothing across the image and can start from ImageNet.

EfficientNet-B0 without squeeze-excite and with ReLU6 (Tan and Le 2019, arXiv 1905.11946; the Lite variants are Liu
2020, of the same project), built of MONAI's blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
"""Repeats, kernel, stride, expansion, channels in and out of each group; no squeeze-excite ratio."""

KEPT = {1: (24, 4), 2: (40, 8), 4: (112, 16), 6: (320, 32)}
"""Groups whose output is a feature map: its channels and stride."""


class EfficientNetLite(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        stages: how many of these maps there are; a feature at stride 8 or 16 sees a part of the image only.

    Raises:
        ValueError: stages is not 1 to 4.
    """

    mixes = False

    def __init__(self, spatial_dims: int, in_channels: int, stages: int = len(KEPT)) -> None:
        super().__init__()
        if type(stages) is not int or not 1 <= stages <= len(KEPT):
            raise ValueError(f"stages={stages!r}; accepted: 1 to {len(KEPT)}")
        from monai.networks.nets.efficientnet import EfficientNet

        # Without dropped connections: each process of a training would drop its own.
        net = EfficientNet(list(BLOCKS), spatial_dims, in_channels, num_classes=1, drop_connect_rate=0.0)
        _settle_padding(net)
        self.stem = nn.Sequential(net._conv_stem_padding, net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
        self.kept = list(KEPT)[:stages]
        self.groups = nn.Sequential(*list(net._blocks)[: self.kept[-1] + 1])
        for block in (block for group in self.groups.children() for block in group.children()):
            block._swish = nn.ReLU6(inplace=True)
            for part in ("_se_adaptpool", "_se_reduce", "_se_expand", "_se_reduce_padding", "_se_expand_padding"):
                setattr(block, part, nn.Identity())  # TorchScript compiles the branch that is never taken
        self.channels = [KEPT[group][0] for group in self.kept]
        self.strides = [KEPT[group][1] for group in self.kept]

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
