"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """Keeps ``average = decay * average + (1 - decay) * weights``, warmed up so that early steps count.

    Buffers that are floating point (batch-norm statistics) are averaged too, the others copied. torch's
    ``swa_utils.AveragedModel`` gives other weights: its first update is a copy, in which the start counts for nothing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after one optimiser step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        # All tensors at once: on a GPU each call by itself would cost more than its arithmetic.
        torch._foreach_lerp_([kept for kept, _ in averaged], [new for _, new in averaged], 1 - decay)
        for kept, new in pairs:
            if not kept.is_floating_point():
                kept.copy_(new)
