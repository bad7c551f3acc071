"""AttentionEnsemble: several networks as one module, for runtimes that load one network from one file."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from medattn_core.networks.attention_cnn import AttentionCNN

# ruff: noqa: UP045  (TorchScript on Python 3.10 needs Optional)

PREFIX = "members."
"""What the names of all weights begin with, followed by the number of the member."""


class EnsembleEvidence(NamedTuple):
    """Means over the members.

    Attributes:
        logits: ``(B, K)``.
        contributions: ``(B, K, *spatial)``; with the mean bias they sum to the logits, as a mean of sums is the sum of
            means.
        weights: ``(B, K, *spatial)``.
    """

    logits: Tensor
    contributions: Tensor
    weights: Tensor


class AttentionEnsemble(nn.Module):
    """The mean of several :class:`~medattn_core.networks.attention_cnn.AttentionCNN` of the same settings.

    Args:
        members: how many.
        settings: keyword arguments of AttentionCNN.

    Raises:
        ValueError: no member, or settings no network can be built from.
    """

    def __init__(self, *, members: int, **settings: Any) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members={members}; at least 1 is needed")
        self.members = nn.ModuleList([AttentionCNN(**settings) for _ in range(members)])
        self.evidence_stride = int(self.members[0].evidence_stride)  # type: ignore[arg-type]

    @torch.jit.export
    def attend(self, x: Tensor, mask: Optional[Tensor] = None) -> EnsembleEvidence:
        """Logits and evidence in one pass; arguments as :meth:`AttentionCNN.attend`."""
        logits: list[Tensor] = []
        contributions: list[Tensor] = []
        weights: list[Tensor] = []
        for member in self.members:
            out = member.attend(x, mask)  # type: ignore[operator]
            logits.append(out.logits)
            contributions.append(out.contributions)
            weights.append(out.weights)
        return EnsembleEvidence(
            torch.stack(logits).mean(dim=0), torch.stack(contributions).mean(dim=0), torch.stack(weights).mean(dim=0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, *spatial)``."""
        return self.attend(x, None).logits
