"""The members of an ensemble as one network, for what looks at a network from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medattn_core.networks.attention_cnn import AttentionCNN


class Mean(nn.Module):
    """Mean of the members' outputs: what the ensemble says.

    Args:
        networks: one or several of the same task and evidence stride.
    """

    def __init__(self, networks: Sequence[AttentionCNN]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.evidence_stride = networks[0].evidence_stride

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, *spatial)``, of the evidence cells ``(B, *cells)`` of a mask alone."""
        members = cast("list[AttentionCNN]", list(self.members))
        return torch.stack([member.attend(x, mask).logits for member in members]).mean(dim=0)


def device_of(network: nn.Module) -> torch.device:
    """Where the network lies: what is passed to it must lie there too."""
    return next(network.parameters()).device
