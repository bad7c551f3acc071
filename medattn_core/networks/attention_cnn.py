"""AttentionCNN: encoder, top-down pathway to the evidence stride, attention pooling, logits."""

import copy
from collections.abc import Sequence
from itertools import combinations
from typing import Optional, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medattn_core.networks.attention import (
    Attended,
    AveragePooling,
    EvidencePooling,
    Pooling,
    SelfAttentionMixing,
    attended_features,
    pool_evidence,
)
from medattn_core.networks.encoders import CONV, NORM, build_encoder

# ruff: noqa: UP045  (TorchScript on Python 3.10 needs Optional)
# Annotations are not postponed here: TorchScript reads that of `views` only as a type.

POOLINGS = ("evidence", "gated", "average")


class TopDown(nn.Module):
    """Merge feature maps from coarse to fine: 1x1 laterals, nearest upsampling, one 3-wide convolution.

    Lin et al. 2017, arXiv 1612.03144, with a single output at the finest map given.
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        conv, norm = CONV[spatial_dims], NORM[spatial_dims]
        self.laterals = nn.ModuleList([conv(c, out_channels, 1, bias=False) for c in channels])
        self.smooth = nn.Sequential(
            norm(out_channels),
            nn.ReLU(inplace=True),
            conv(out_channels, out_channels, 3, padding=1, bias=False),
            norm(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        projected: list[Tensor] = []
        for index, lateral in enumerate(self.laterals):
            projected.append(lateral(features[index]))
        merged = projected[-1]
        for offset in range(1, len(projected)):
            finer = projected[len(projected) - 1 - offset]
            merged = finer + functional.interpolate(merged, size=finer.shape[2:], mode="nearest")
        return self.smooth(merged)


def pad_to_multiple(x: Tensor, multiple: int, axes: int) -> Tensor:
    """Zeros at the end of the first ``axes`` axes of ``spatial`` in ``(B, C, *spatial)`` up to a multiple of it."""
    pads: list[int] = []
    padded = False
    for axis in range(x.dim() - 1, 1, -1):
        missing = (multiple - x.shape[axis] % multiple) % multiple if axis < axes + 2 else 0
        pads.append(0)
        pads.append(missing)
        padded = padded or missing > 0
    return functional.pad(x, pads) if padded else x


def crop_to(x: Tensor, spatial: list[int]) -> Tensor:
    """The first ``spatial`` cells of ``(B, F, *regions)`` along each axis."""
    for axis, size in enumerate(spatial):
        x = x.narrow(axis + 2, 0, size)
    return x


def _views(mirror: int | Sequence[int], spatial_dims: int) -> list[list[int]]:
    """Dimensions of ``(B, C, *spatial)`` to mirror for each view but the plain one."""
    axes: list = list(mirror) if isinstance(mirror, (list, tuple)) else [] if mirror == -1 else [mirror]
    if any(type(axis) is not int or not 0 <= axis < spatial_dims for axis in axes) or len(set(axes)) != len(axes):
        accepted = f"-1 for none, an axis, 0 to {spatial_dims - 1}, or a list of different ones"
        raise ValueError(f"mirror={mirror!r}; accepted: {accepted}")
    return [[axis + 2 for axis in some] for n in range(1, len(axes) + 1) for some in combinations(sorted(axes), n)]


class AttentionCNN(nn.Module):
    """A classifier or regressor whose logit is a sum of region contributions.

    ``forward`` gives logits alone (MONAI bundles need one output tensor); ``attend`` gives logits and evidence in one
    pass. With ``slicewise=True`` the encoder is 2D and looks at each slice of a thick-slice volume by itself, and the
    features of all slices are pooled together: the same weights take ``(B, C, H, W)`` and ``(B, C, H, W, D)``.

    Any image size is taken. An axis of n pixels has ``ceil(n / evidence_stride)`` cells, cell i standing for pixels
    ``i * stride`` to ``(i + 1) * stride``. Sizes that are no multiple of the encoder's coarsest stride are padded with
    zeros at the end for the pass: strided layers round down, and would leave the last pixels without a cell.

    Args:
        spatial_dims: 2 or 3, the dimensions of the convolutions (2 with ``slicewise``).
        in_channels: image channels.
        out_channels: classes, findings (multi-label) or regression targets.
        encoder: registered name of the network that computes features from the image.
        encoder_options: options of that encoder, by name.
        evidence_stride: pixels of the model grid per evidence cell, along each axis.
        width: number of feature channels that are pooled.
        pooling: how cells become a logit: ``evidence`` is attention, ``gated`` attention with gated scores (Ilse et al.
            2018), ``average`` weights all cells equally (the baseline).
        mixing: a self-attention block before pooling (mixes the whole image: evidence is no longer local).
        null_token: include an empty region with no contribution in the attention (not for ``average``).
        null_score: added to the attention score of that empty region. Far above the logarithm of the number of cells,
            the cells hardly compete and the sum grows with the extent of the finding: for volumes and counts.
        bias: frozen output biases, the baseline that the evidence adds to: prior log-odds, or in regression a value in
            its unit.
        dropout: probability of dropping a feature channel before pooling, in training only.
        slicewise: process each slice of a volume separately and pool all of them.
        mirror: spatial axis or axes for test-time mirroring: in evaluation, features are averaged with those of the
            image mirrored along every combination of these axes, so n axes take 2^n passes. -1 for none. The head
            stays one sum, and the map of a mirrored scan is exactly the mirrored map.

    Raises:
        ValueError: unknown encoder or pooling, a stride the encoder does not have, a bias of another length than
            out_channels, an axis to mirror that is none, or slicewise with spatial_dims 3.
    """

    views: list[list[int]]
    """Dimensions along which each further view of the image is mirrored."""

    __jit_unused_properties__ = ("bias",)

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        encoder: str = "compact",
        encoder_options: Optional[dict] = None,
        evidence_stride: int = 8,
        width: int = 128,
        pooling: str = "evidence",
        mixing: bool = False,
        null_token: bool = True,
        null_score: float = 0.0,
        bias: Optional[list[float]] = None,
        dropout: float = 0.0,
        slicewise: bool = False,
        mirror: int | Sequence[int] = -1,
    ) -> None:
        super().__init__()
        if slicewise and spatial_dims != 2:
            raise ValueError(f"slicewise=True wants spatial_dims=2 (a 2D encoder for each slice), not {spatial_dims}")
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}; accepted: {', '.join(POOLINGS)}")
        self.encoder = build_encoder(
            encoder, spatial_dims=spatial_dims, in_channels=in_channels, **(encoder_options or {})
        )
        strides = cast("list[int]", self.encoder.strides)
        channels = cast("list[int]", self.encoder.channels)
        if evidence_stride not in strides:
            raise ValueError(f"evidence_stride={evidence_stride}; encoder {encoder!r} has strides {strides}")
        self.first = strides.index(evidence_stride)
        self.evidence_stride = evidence_stride
        self.coarsest_stride = strides[-1]
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.slicewise = slicewise
        self.views = _views(mirror, spatial_dims)
        self.local = not (mixing or bool(getattr(self.encoder, "mixes", False)))
        self.top_down = TopDown(spatial_dims, channels[self.first :], width)
        self.dropout = nn.Dropout1d(dropout)
        self.mixing = SelfAttentionMixing(width) if mixing else None
        if pooling == "average":
            self.pooling: Pooling = AveragePooling(width, out_channels, bias=bias)
        else:
            self.pooling = EvidencePooling(
                width, out_channels, null_token=null_token, null_score=null_score, bias=bias, gated=pooling == "gated"
            )

    @property
    def bias(self) -> Tensor:
        """``(K,)`` frozen output biases, from which the evidence counts: the buffer itself, on the network's device."""
        return self.pooling.bias

    def scale_output(self, factor: float, offset: Tensor | float = 0.0) -> None:
        """Make the output ``factor * output + offset``, map included; in place. Arguments as of the pooling's."""
        self.pooling.scale_output(factor, offset)

    def without_mirroring(self) -> "AttentionCNN":
        """A copy with the same weights that looks at the image as it is, and at no mirror image of it."""
        plain = copy.deepcopy(self)
        plain.views = []
        return plain

    @torch.jit.export
    def features(self, x: Tensor) -> Tensor:
        """Features at the evidence stride: ``(B, F, *regions)``.

        Raises:
            ValueError: ``x`` has not the dimensions or channels of the network.
        """
        if not torch.jit.is_tracing():
            self._check_input(x)
        if len(self.views) == 0 or self.training:
            return self.encode(x)
        # Whole cells, so that those of a mirrored image are the mirrored cells.
        x = pad_to_multiple(x, self.evidence_stride, self.spatial_dims)
        features = self.encode(x)
        for dims in self.views:
            features = features + self.encode(x.flip(dims)).flip(dims)
        return features / (1 + len(self.views))

    def encode(self, x: Tensor) -> Tensor:
        """Features of the image as it is, without its mirror images; shapes as in :meth:`features`."""
        depth = -1
        if self.slicewise and x.dim() == 5:
            depth = x.shape[4]
            x = x.permute(0, 4, 1, 2, 3).flatten(0, 1)
        cells: list[int] = []
        for size in x.shape[2:]:
            cells.append((size + self.evidence_stride - 1) // self.evidence_stride)
        x = pad_to_multiple(x, self.coarsest_stride, self.spatial_dims)
        features = crop_to(self.top_down(self.encoder(x)[self.first :]), cells)
        if depth >= 0:
            features = features.unflatten(0, [features.shape[0] // depth, depth]).permute(0, 2, 3, 4, 1)
        return features

    def _check_input(self, x: Tensor) -> None:
        fits = x.dim() == self.spatial_dims + 2 or (self.slicewise and x.dim() == 5)
        if not fits or x.shape[1] != self.in_channels or x.numel() == 0:
            wanted = "(batch, channels, height, width)" if self.spatial_dims == 2 else "(batch, channels, x, y, z)"
            if self.slicewise:
                wanted += " or (batch, channels, height, width, slices)"
            raise ValueError(
                f"input of shape {list(x.shape)}; this network takes {wanted} with {self.in_channels} channel(s), "
                "none of them empty"
            )

    @torch.jit.export
    def attend(self, x: Tensor, mask: Optional[Tensor] = None) -> Attended:
        """Logits and evidence in one pass.

        Args:
            x: ``(B, C, *spatial)``.
            mask: ``(B, *regions)`` boolean, True = may be attended; regions as in :meth:`features`.

        Raises:
            ValueError: the mask has another shape than the regions or excludes all of them.
        """
        return self.pool(self.features(x), mask)

    @torch.jit.export
    def pool(self, features: Tensor, mask: Optional[Tensor] = None) -> Attended:
        """The head alone on ``features`` of :meth:`features`; the cheap part of a what-if.

        With ``mixing`` a mask also keeps the excluded regions from being mixed into the others, so the result differs
        from the removal identity of :func:`~medattn_core.networks.attention.pool_evidence`.
        """
        features = self.dropout(features.flatten(2)).reshape(features.shape)
        mixing = self.mixing
        if mixing is not None:
            features = mixing(features, mask)
        return self.pooling(features, mask)

    def look(self, features: Tensor) -> tuple[Attended, Tensor]:
        """The head on all of ``features`` ``(B, F, *regions)``, and the features that it looked at ``(B, F)``."""
        out = self.pool(features)
        return out, attended_features(features, out.weights)

    def ask_again(self, out: Attended, mask: Tensor) -> Attended:
        """The head of a pass again, of some regions alone, whose scores and values stay what they were.

        So a prediction asks (:class:`medattn_core.inference.head.Head`, in float64). Without ``mixing`` it is what
        :meth:`pool` says with this mask.

        Args:
            out: of :meth:`look`, :meth:`pool` or :meth:`attend`, without a mask.
            mask: ``(B, *regions)`` boolean, True = may be attended.

        Raises:
            ValueError: the mask has another shape than the regions or excludes all of them.
        """
        scores, values = out.scores.flatten(2), out.values.flatten(2)
        return pool_evidence(scores, values, out.null_scores, self.bias, mask, list(out.scores.shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, *spatial)``."""
        return self.attend(x, None).logits
