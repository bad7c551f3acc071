"""How far a feature at the evidence stride can see, in pixels of the model grid.

Evidence is exact over features, and each feature has seen its receptive field and nothing else. The theoretical
field (every pixel that *can* change the feature) follows from kernels and strides; the effective one (where the
gradient really is) is much smaller (Luo et al. 2016, arXiv 1701.04128) and has to be measured on trained weights.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.encoders import CompactResNet, ResidualBlock

Layer = tuple[int, int, int]
"""Kernel, stride and padding along one axis."""


def _layers(stage: nn.Module) -> list[Layer]:
    """Layers of a plain chain. A residual block's shortcut sees no more than its convolutions do."""
    found: list[Layer] = []
    for layer in stage.children():
        if isinstance(layer, ResidualBlock):
            found += [_layer(layer.conv1), _layer(layer.conv2)]
        elif hasattr(layer, "kernel_size"):
            found.append(_layer(layer))
    return found


def _layer(layer: nn.Module) -> Layer:
    def first(value: int | tuple[int, ...]) -> int:
        return value if isinstance(value, int) else value[0]

    return first(layer.kernel_size), first(layer.stride), first(layer.padding)  # type: ignore[arg-type]


def receptive_interval(network: AttentionCNN, cell: int) -> tuple[int, int] | None:
    """First and one past the last pixel, along one axis, that can change the feature of evidence cell ``cell``.

    The image is taken as unbounded, so the interval may begin below 0. Features of coarser stages reach the cell by
    nearest upsampling, hence the interval depends on where the cell lies in the coarsest one. Of a network that
    averages mirrored images it is that of the image as it is, and of all of them where the size is a multiple of the
    coarsest stride; at other sizes they reach up to a coarsest cell further.

    Returns:
        None where the field is the whole image (mixing, squeeze-excite) or the encoder is not ``compact``.
    """
    encoder = network.encoder
    if not network.local or not isinstance(encoder, CompactResNet):
        return None
    chain: list[list[Layer]] = [_layers(encoder.stem)] + [_layers(stage) for stage in encoder.stages]
    smooth = _layers(cast(nn.Module, network.top_down.smooth))
    low, high = _through(smooth, cell, cell)
    starts, stops = [], []
    for level in range(network.first, len(encoder.strides)):
        factor = encoder.strides[level] // network.evidence_stride
        first, last = low // factor, high // factor
        for layers in reversed(chain[: level + 2]):
            first, last = _through(layers, first, last)
        starts.append(first)
        stops.append(last + 1)
    return min(starts), max(stops)


def _through(layers: list[Layer], first: int, last: int) -> tuple[int, int]:
    """The inputs that outputs ``first..last`` of the layers depend on, both inclusive."""
    for kernel, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def receptive_field(network: AttentionCNN) -> int | None:
    """Pixels along one axis that the best-sighted evidence cell can see; None as in :func:`receptive_interval`."""
    cells = range(network.coarsest_stride // network.evidence_stride)
    intervals = [interval for cell in cells if (interval := receptive_interval(network, cell)) is not None]
    return max((stop - start for start, stop in intervals), default=None)


def effective_receptive_field(network: AttentionCNN, images: Tensor, *, share: float = 0.95) -> int:
    """Side, in pixels, of the smallest cube around the central cell that holds ``share`` of the input gradient.

    Args:
        network: trained network; its training mode is kept.
        images: ``(B, C, *spatial)``, real images of the task.
        share: of the sum of absolute gradients of the cell's feature.

    Raises:
        ValueError: share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share}; accepted: more than 0, at most 1")
    training = network.training
    images = images.detach().clone().requires_grad_(True)
    features = network.eval().features(images)
    centre = [size // 2 for size in features.shape[2:]]
    feature = features
    for cell in centre:
        feature = feature[:, :, cell]
    (gradient,) = torch.autograd.grad(feature.sum(), images)
    network.train(training)
    strides = [network.evidence_stride] * network.spatial_dims + [1] * (images.dim() - 2 - network.spatial_dims)
    strength = gradient.abs().sum(dim=(0, 1))
    distance = torch.zeros_like(strength)
    for axis, (cell, stride) in enumerate(zip(centre, strides, strict=True)):
        middle = cell * stride + (stride - 1) / 2
        along = (torch.arange(strength.shape[axis], device=strength.device) - middle).abs()
        shape = [-1 if a == axis else 1 for a in range(strength.dim())]
        distance = torch.maximum(distance, along.to(strength.dtype).reshape(shape))
    order = distance.flatten().argsort()
    held = strength.flatten()[order].cumsum(0)
    index = int((held < share * held[-1]).sum().clamp(max=len(order) - 1))
    return int(2 * distance.flatten()[order[index]]) + 1
