"""How large a step of training is: the optimiser, the course of its rate, the limit of the gradient."""

from __future__ import annotations

import math

import torch
from torch import nn

from medattn_core.training.config import TrainingConfig

BETAS = (0.9, 0.99)
"""Decay of AdamW's means of the gradient and of its square: the second forgets after some hundred steps, with torch's
0.999 after a thousand, which is all that many trainings have."""

LARGEST_GRADIENT = 5.0
"""Norm over all parameters to which a larger gradient is scaled down: one odd batch must not throw the weights far."""


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); what has no two dimensions (biases, norms) does not decay."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS)


def rate(step: int, warmup: int, total: int) -> float:
    """Share of the learning rate at a step from 0: a linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    step = min(step, total)  # a further one does not begin a new wave
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
