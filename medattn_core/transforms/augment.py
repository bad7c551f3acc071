"""Augmentation of batches on the model grid: one random affine map and a few intensity changes, in torch.

Everything is drawn from the generator given, so that a run repeats. Works for ``(B, C, H, W)`` and
``(B, C, X, Y, Z)``, on the device where the image lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from medattn_core.arguments import shown
from medattn_core.errors import TrainingError
from medattn_core.ranges import Range

FACTOR, SHARE = Range(low=1, high=10, off=True), Range(low=0, high=1, off=True)
STRENGTH = Range(low=0, high=10, off=True)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strengths; zero (or one for factors) switches a part off.

    Attributes:
        flip: probability of mirroring along each axis in ``flip_axes``.
        flip_axes: model axes, counted from 0; None is left-right: columns of slices and pictures (1), the R axis of
            volumes (0).
        rotate: largest rotation, in degrees (in 3D in each plane).
        scale: zoom between ``1 / scale`` and ``scale``.
        stretch: the same, for each axis independently.
        translate: largest shift along each axis, as a share of the image's extent there.
        gamma: exponent applied to the intensities, between ``1 / gamma`` and ``gamma``.
        brightness: factor applied to the intensities, between ``1 / brightness`` and ``brightness``.
        bias_field: largest absolute natural logarithm of a smooth factor across the image (coil sensitivity).
        noise: largest standard deviation of added noise, in units of the intensities after the intensity rule.
        coarsen: probability of reducing the resolution (down to half) and interpolating back.
        erase: probability of blanking up to three blocks (DeVries and Taylor 2017), away from the finding where its
            position is known, so that the model does not learn the rest of a particular patient's head.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "flip": SHARE,
        "rotate": Range(low=0, high=180, off=True),
        "scale": FACTOR,
        "stretch": FACTOR,
        "translate": STRENGTH,
        "gamma": FACTOR,
        "brightness": FACTOR,
        "bias_field": STRENGTH,
        "noise": STRENGTH,
        "coarsen": SHARE,
        "erase": SHARE,
    }
    flip: float = 0.5
    flip_axes: tuple[int, ...] | None = None
    rotate: float = 15.0
    scale: float = 1.25
    stretch: float = 1.1
    translate: float = 0.08
    gamma: float = 1.4
    brightness: float = 1.25
    bias_field: float = 0.25
    noise: float = 0.08
    coarsen: float = 0.25
    erase: float = 0.0

    def __post_init__(self) -> None:
        if self.flip_axes is not None:
            if not isinstance(self.flip_axes, Iterable):
                message = f"augmentation: flip_axes={shown(self.flip_axes)}; a list of axes is needed, of 0, 1, 2"
                raise TrainingError("bad_config", message)
            object.__setattr__(self, "flip_axes", tuple(self.flip_axes))
        for name, accepted in self.ranges.items():
            value = getattr(self, name)
            if value not in accepted:
                raise TrainingError("bad_config", f"augmentation: {name}={value!r}; accepted: {accepted}")
        if any(axis not in (0, 1, 2) for axis in self.flip_axes or ()):
            axes = list(self.flip_axes or ())
            raise TrainingError("bad_config", f"augmentation: flip_axes={axes}; accepted: 0, 1, 2")

    def __call__(
        self,
        image: Tensor,
        mask: Tensor | None,
        generator: torch.Generator,
        size: tuple[int, ...] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Augment.

        Args:
            image: ``(B, C, *spatial)``, zero outside the scan.
            mask: ``(B, 1, *spatial)`` location of the finding in [0, 1], moved along with the image; or None.
            generator: source of all randomness, on the CPU.
            size: of the result, the same field of view in other pixels; that of ``image`` by default.
            spacing: of the pixels along the axes of ``image``, in any unit: what is turned keeps its shape in space.
                The same along all by default.

        Returns:
            The image, the mask, and by how much longer everything has become, ``(B,)``: the mean over the axes.
        """
        theta = self._affine(image, generator, spacing or [1.0] * (image.dim() - 2)).to(image.device)
        grid = _grid(theta, size or tuple(image.shape[2:]))
        # One call for both: where a voxel comes from is worked out once.
        moved = F.grid_sample(image if mask is None else torch.cat([image, mask], dim=1), grid, align_corners=False)
        image, mask = (moved, None) if mask is None else (moved[:, :-1], moved[:, -1:])
        longer = torch.linalg.det(theta[:, :, :-1]).abs() ** (-1 / (image.dim() - 2))
        return self._erase(self._intensity(image, generator), mask, generator), mask, longer

    def _affine(self, image: Tensor, generator: torch.Generator, spacing: Sequence[float]) -> Tensor:
        batch, dims = image.shape[0], image.dim() - 2
        uniform = lambda *shape: torch.rand(*shape, generator=generator) * 2 - 1  # noqa: E731
        matrix = torch.eye(dims).repeat(batch, 1, 1)
        # Output-to-input map in normalised coordinates; the last axis of the tensor comes first there.
        extent = torch.tensor([float(n * s) for n, s in zip(image.shape[:1:-1], reversed(spacing), strict=True)])
        for first in range(dims):
            for second in range(first + 1, dims):
                angle = uniform(batch) * math.radians(self.rotate)
                turn = torch.eye(dims).repeat(batch, 1, 1)
                turn[:, first, first] = turn[:, second, second] = angle.cos()
                turn[:, first, second] = -angle.sin()
                turn[:, second, first] = angle.sin()
                matrix = matrix @ turn
        zoom = torch.exp(uniform(batch, 1) * math.log(self.scale) + uniform(batch, dims) * math.log(self.stretch))
        matrix = matrix * zoom.unsqueeze(1)
        matrix = matrix * extent[None, None, :] / extent[None, :, None]  # rotate in space, not in half-widths
        flips = torch.ones(batch, dims)
        for axis in self.flip_axes if self.flip_axes is not None else ((1,) if dims == 2 else (0,)):
            flips[:, dims - 1 - axis] = 1 - 2 * (torch.rand(batch, generator=generator) < self.flip).float()
        matrix = matrix * flips.unsqueeze(1)
        shift = uniform(batch, dims, 1) * 2 * self.translate
        return torch.cat([matrix, shift], dim=2)

    def _erase(self, image: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        if self.erase <= 0:
            return image
        shape = image.shape[2:]
        for item in range(len(image)):
            if float(torch.rand(1, generator=generator)) >= self.erase:
                continue
            for _ in range(3):
                draw = torch.rand(2, len(shape), generator=generator).tolist()
                sides = [max(1, int(n * (0.1 + 0.25 * d))) for n, d in zip(shape, draw[0], strict=True)]
                starts = [int((n - s) * d) for n, s, d in zip(shape, sides, draw[1], strict=True)]
                block = tuple(slice(a, a + s) for a, s in zip(starts, sides, strict=True))
                # A block that cut into the finding would draw its outline.
                if mask is None or float(mask[item, 0][block].max()) <= 0:
                    image[item][(slice(None), *block)] = 0.0
        return image

    def _intensity(self, image: Tensor, generator: torch.Generator) -> Tensor:
        batch, ones = image.shape[0], [1] * (image.dim() - 1)
        uniform = lambda *shape: (torch.rand(*shape, generator=generator) * 2 - 1).to(image.device)  # noqa: E731
        gamma = torch.exp(uniform(batch, *ones) * math.log(self.gamma))
        gain = torch.exp(uniform(batch, *ones) * math.log(self.brightness))
        image = image.clamp_min(0).pow(gamma) * gain
        mode = "bilinear" if image.dim() == 4 else "trilinear"
        if self.bias_field > 0:
            coarse = uniform(batch, 1, *([4] * (image.dim() - 2))) * self.bias_field
            image = image * F.interpolate(coarse, size=image.shape[2:], mode=mode, align_corners=True).exp()
        if self.coarsen > 0:
            chosen = (torch.rand(batch, generator=generator) < self.coarsen).nonzero()[:, 0]
            factor = 0.5 + 0.5 * float(torch.rand(1, generator=generator))
            if len(chosen):
                chosen = chosen.to(image.device)
                # By size: a factor would sample by itself and round the size, and all that is there would grow.
                fewer = [max(1, round(n * factor)) for n in image.shape[2:]]
                small = F.interpolate(image[chosen], size=fewer, mode=mode, antialias=image.dim() == 4)
                image[chosen] = F.interpolate(small, size=image.shape[2:], mode=mode)
        if self.noise > 0:
            level = (torch.rand(batch, *ones, generator=generator) * self.noise).to(image.device)
            image = image + level * _normal(image, generator)
        return image


def _grid(theta: Tensor, size: tuple[int, ...]) -> Tensor:
    """`affine_grid` of torch (``align_corners=False``) as a sum over the axes: five times as fast on a CPU."""
    dims = len(size)
    grid = theta[:, :, -1].reshape(len(theta), dims, *[1] * dims)
    for axis in reversed(range(dims)):  # the last axis of a tensor is the first coordinate
        centres = (torch.arange(size[axis], device=theta.device) * 2 + 1) / size[axis] - 1
        along = centres.reshape(*[1] * (2 + axis), -1, *[1] * (dims - 1 - axis))
        grid = theta[:, :, dims - 1 - axis].reshape(len(theta), dims, *[1] * dims) * along + grid
    return grid.movedim(1, -1)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise of an image's shape, drawn where the image lies: a random number a voxel is slow to send."""
    if like.device.type != "cpu":
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device)
