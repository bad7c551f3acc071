"""Attention functions and the pooling layers that keep the map.

Every pooling layer here ends in the same sum: for class ``k`` and region ``i``

    z_k = b_k + sum_i a_ki * s_ki          a: attention weight, s: what the region says

so a map of the contributions ``a * s`` is the decision itself. The layers differ only in how ``a`` is made.

Sources: scaled dot-product attention, Vaswani et al. 2017 (arXiv 1706.03762); gated attention pooling,
Ilse et al. 2018 (arXiv 1802.04712); additive contributions, Javed et al. 2022 (arXiv 2206.01794).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

# `Optional` instead of `X | None` in signatures below: TorchScript on Python 3.10 needs it.
# ruff: noqa: UP045


class Attended(NamedTuple):
    """Logits and everything needed to explain or recompute them, from one pass.

    Attributes:
        logits: ``(B, K)``.
        contributions: ``(B, K, *spatial)``, signed; ``logits = bias + contributions.sum(spatial)``.
        weights: ``(B, K, *spatial)`` attention weights; with the null weight they sum to one.
        scores: ``(B, K, *spatial)`` attention scores before the softmax, ``-inf`` outside the mask.
        values: ``(B, K, *spatial)``, what each region says about each class before weighting.
        null_scores: ``(B, K)`` score of the null token, ``-inf`` where the layer has none.
    """

    logits: Tensor
    contributions: Tensor
    weights: Tensor
    scores: Tensor
    values: Tensor
    null_scores: Tensor


def check_mask(mask: Tensor) -> None:
    """Raise ``ValueError`` if a ``(..., N)`` mask is not boolean or a row of it allows nothing."""
    if mask.dtype != torch.bool:
        raise ValueError(f"the attention mask is {mask.dtype}; it must be boolean (True = may be attended)")
    if not bool(mask.any(dim=-1).all()):
        raise ValueError(
            "the attention mask excludes every region of at least one item; allow at least one region "
            "(True = may be attended), or pass mask=None for the whole image"
        )


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Optional[Tensor] = None,
    scale: Optional[float] = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention that returns its weights.

    ``weights = softmax(query @ key^T * scale)``, ``output = weights @ value`` (Vaswani et al. 2017, eq. 1).

    Args:
        query: ``(..., L, d)``.
        key: ``(..., N, d)``.
        value: ``(..., N, v)``.
        mask: boolean, broadcastable to ``(..., L, N)``; True = may be attended.
        scale: factor on the scores, ``1 / sqrt(d)`` by default.

    Returns:
        output ``(..., L, v)`` and weights ``(..., L, N)``, each row summing to one.

    Raises:
        ValueError: a row of the mask allows nothing (instead of NaN or uniform weights).
    """
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query, key.transpose(-2, -1)) * factor
    if mask is not None:
        check_mask(mask)
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    return torch.matmul(weights, value), weights


def _frozen_bias(out_channels: int, bias: Optional[list[float]]) -> Tensor:
    prior = torch.zeros(out_channels) if bias is None else torch.tensor(bias, dtype=torch.float32)
    if prior.shape != (out_channels,):
        raise ValueError(f"bias has {prior.numel()} values, one for each of the {out_channels} outputs is needed")
    return prior


def _at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32: sums over thousands of regions lose completeness below it."""
    return x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x


class Pooling(nn.Module):
    """What the pooling layers share: the call, in full precision, and what others may do to their output.

    Attributes:
        bias: ``(K,)`` frozen biases; a buffer.
        value: from features to what a region says, linear and without a bias of its own.
    """

    if TYPE_CHECKING:  # TorchScript cannot read a postponed annotation
        bias: Tensor
        value: nn.Linear

    def forward(self, features: Tensor, mask: Optional[Tensor] = None) -> Attended:
        """Pool ``features`` (B, F, *spatial); ``mask`` (B, *spatial) boolean, True = may be attended.

        An autocast around the call is switched off: in half precision the scores lose their small differences.
        (TorchScript cannot switch it off; there the scores are half precision, the softmax and the sums are not.)

        Raises:
            ValueError: the mask has another shape than the regions or excludes all of them.
        """
        if not torch.jit.is_scripting():
            device = features.device.type
            if torch.is_autocast_enabled(device):
                with torch.autocast(device, enabled=False):
                    return self._pool(features, mask)
        return self._pool(features, mask)

    def _pool(self, features: Tensor, mask: Optional[Tensor]) -> Attended:
        raise NotImplementedError

    def output_tensors(self) -> list[Tensor]:
        """What :meth:`scale_output` changes: the tensors themselves, without their gradient."""
        return [self.value.weight.detach(), self.bias]

    @torch.no_grad()
    def scale_output(self, factor: float, offset: Tensor | float = 0.0) -> None:
        """Make the output ``factor * output + offset``, map included; in place.

        Args:
            factor: on the logits (or values), and on all contributions.
            offset: on the logits, of all or of each ``(K,)``; the bias takes it, and no contribution.
        """
        self.value.weight.mul_(factor)
        self.bias.mul_(factor).add_(torch.as_tensor(offset, dtype=self.bias.dtype, device=self.bias.device))

    @torch.no_grad()
    def zero_output(self, pooled: Tensor, outputs: Sequence[int]) -> None:
        """Change the values as little as possible, so that features make some outputs zero; in place.

        Args:
            pooled: ``(F,)`` features, weighted by the attention and summed.
            outputs: which of the K.
        """
        for k in outputs:
            row = self.value.weight[k]
            row.add_(-(self.bias[k] + row @ pooled) * pooled / pooled.square().sum().clamp_min(1e-12))


class EvidencePooling(Pooling):
    """Attention pooling followed by one linear layer, written so that the map survives.

    ``e_ki = q_k . W_K f_i / sqrt(d)``, ``a_k = softmax_i(e_k)``, ``s_ki = w_k . f_i``,
    ``z_k = b_k + sum_i a_ki s_ki``. Time and memory are linear in the number of regions.

    The bias is a buffer, not a parameter: with weights that sum to one ``(s + t, b - t)`` is the same model with
    another map, so it is frozen at the prior log-odds (classification) or the mean target (regression).

    Args:
        in_channels: channels F of the features.
        out_channels: classes (or targets) K.
        key_dim: d.
        null_token: add one region that says nothing (``s = 0``), so that a negative image may have an empty map.
        null_score: added to the score of that region. Far above the logarithm of the number of regions the weights
            hardly compete, and the sum grows with the extent of what is found: for volumes and counts.
        bias: K frozen biases, zeros by default.
        gated: score with ``q_k . (tanh(V f) * sigmoid(U f))`` (Ilse et al. 2018, eq. 9) instead of ``q_k . W_K f``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        key_dim: int = 64,
        null_token: bool = True,
        null_score: float = 0.0,
        bias: Optional[list[float]] = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.key_dim = key_dim
        self.gated = gated
        self.null_token = null_token
        self.null_score = float(null_score)
        self.key = nn.Linear(in_channels, key_dim, bias=gated)
        self.gate = nn.Linear(in_channels, key_dim) if gated else nn.Identity()
        self.query = nn.Parameter(torch.randn(out_channels, key_dim) / math.sqrt(key_dim))
        self.null_key = nn.Parameter(torch.zeros(key_dim)) if null_token else None
        self.value = nn.Linear(in_channels, out_channels, bias=False)
        self.register_buffer("bias", _frozen_bias(out_channels, bias))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw what belongs to no layer anew: queries and null key, whose layers reset themselves.

        The null key too, although it begins as zeros: what it learnt is to be gone, and not its scale.
        """
        std = 1.0 / math.sqrt(self.key_dim)
        for parameter in self.parameters(recurse=False):
            parameter.normal_(std=std)

    def _pool(self, features: Tensor, mask: Optional[Tensor]) -> Attended:
        flat = features.to(self.value.weight.dtype).flatten(2).transpose(1, 2)
        keys = self.key(flat)
        if self.gated:
            keys = torch.tanh(keys) * torch.sigmoid(self.gate(flat))
        scale = 1.0 / math.sqrt(self.key_dim)
        scores = torch.matmul(keys, self.query.t()).transpose(1, 2) * scale
        values = self.value(flat).transpose(1, 2)
        null_key = self.null_key
        if null_key is not None:
            null = (torch.matmul(self.query, null_key) * scale + self.null_score).unsqueeze(0).expand(flat.shape[0], -1)
        else:
            null = torch.full_like(scores[:, :, 0], float("-inf"))
        return pool_evidence(scores, values, null, self.bias, mask, list(features.shape[2:]))


class AveragePooling(Pooling):
    """Global average pooling and a linear layer: the baseline, whose map is the class activation map.

    ``a_ki = 1 / N`` over the allowed regions (Zhou et al. 2016, arXiv 1512.04150). Same output as EvidencePooling.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: Optional[list[float]] = None) -> None:
        super().__init__()
        self.value = nn.Linear(in_channels, out_channels, bias=False)
        self.register_buffer("bias", _frozen_bias(out_channels, bias))

    def _pool(self, features: Tensor, mask: Optional[Tensor]) -> Attended:
        flat = features.to(self.value.weight.dtype).flatten(2).transpose(1, 2)
        values = self.value(flat).transpose(1, 2)
        null = torch.full_like(values[:, :, 0], float("-inf"))
        return pool_evidence(torch.zeros_like(values), values, null, self.bias, mask, list(features.shape[2:]))


def pool_evidence(
    scores: Tensor,
    values: Tensor,
    null_scores: Tensor,
    bias: Tensor,
    mask: Optional[Tensor],
    spatial: list[int],
) -> Attended:
    """The sum itself: softmax over the allowed regions and the null token, then ``bias + sum(a * s)``.

    Without the regions R the logit is known from this one pass, because the softmax only renormalises:
    ``z(-R) - b = (z - b - sum_R c) / (1 - sum_R a)``; looking only at R: ``b + sum_R c / (sum_R a + a_null)``, where
    ``a_null = 1 - sum a`` stays, as the null token is no region and cannot be taken away.
    Both cancel in floating point where R holds nearly all (or none) of the weight: call this function again with the
    scores and values of the first pass and the mask instead, which is exact and as cheap.

    Args:
        scores, values: ``(B, K, N)``.
        null_scores: ``(B, K)``, ``-inf`` for no null token.
        bias: ``(K,)``.
        mask: ``(B, *spatial)`` boolean or None.
        spatial: the shape that N unfolds to.

    Raises:
        ValueError: the mask has another shape than the regions or excludes all of them.
    """
    scores, values = _at_least_float32(scores), _at_least_float32(values)
    null_scores, bias = _at_least_float32(null_scores), _at_least_float32(bias)
    if mask is not None:
        if list(mask.shape[1:]) != list(spatial) or mask.shape[0] != scores.shape[0]:
            raise ValueError(
                f"the attention mask has shape {list(mask.shape)}; it must be (batch, regions): "
                f"{list(scores.shape[:1]) + list(spatial)}"
            )
        flat_mask = mask.flatten(1)
        check_mask(flat_mask)
        scores = scores.masked_fill(~flat_mask.unsqueeze(1), float("-inf"))
    # The softmax over regions plus null, without concatenating: one log-sum-exp over both.
    total = torch.logaddexp(torch.logsumexp(scores, dim=2), null_scores)
    weights = torch.exp(scores - total.unsqueeze(2))
    contributions = weights * values
    logits = bias + contributions.sum(dim=2)
    shape = list(scores.shape[:2]) + list(spatial)
    return Attended(
        logits,
        contributions.reshape(shape),
        weights.reshape(shape),
        scores.reshape(shape),
        values.reshape(shape),
        null_scores,
    )


def attended_features(features: Tensor, weights: Tensor) -> Tensor:
    """What the model looked at, as one vector an image: the mean of the features under the attention.

    Args:
        features: ``(B, F, *spatial)`` as the pooling layer got them.
        weights: ``(B, K, *spatial)`` of :class:`Attended`; averaged over classes.

    Returns:
        ``(B, F)``.
    """
    share = weights.mean(dim=1).flatten(1)
    share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.bmm(features.float().flatten(2), share.unsqueeze(2).to(torch.float32)).squeeze(2)


class SelfAttentionMixing(nn.Module):
    """One pre-norm residual self-attention block over regions, through torch's fused kernel (N x N work).

    The classic formulation, kept for comparison: it mixes the whole image, so evidence after it is exact over
    features but each feature has seen everything.

    Args:
        channels: feature channels, divisible by ``heads``.
        heads: attention heads.
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        if channels % heads != 0:
            raise ValueError(f"channels={channels} is not divisible by heads={heads}")
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, features: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """``(B, F, *spatial)`` in and out; regions outside ``mask`` (B, *spatial) are not attended to."""
        batch, channels = features.shape[0], features.shape[1]
        flat = features.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm(flat)).reshape(batch, flat.shape[1], 3, self.heads, channels // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        attn_mask: Optional[Tensor] = None
        if mask is not None:
            flat_mask = mask.flatten(1)
            check_mask(flat_mask)
            attn_mask = flat_mask[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=attn_mask)
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, flat.shape[1], channels))
        return (flat + mixed).transpose(1, 2).reshape(features.shape)
