"""Which cases make up each step: epochs, balanced draws, batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData


def epoch_order(targets: np.ndarray, *, balanced: bool, generator: torch.Generator) -> np.ndarray:
    """Indices of one epoch: a permutation, or as many draws with every class equally likely.

    Where cases show several labels there are no classes to draw from: a case is then drawn with the mean of the inverse
    frequencies of its labels (Mahajan et al. 2018 take a power of them); "none" counts as a label.
    """
    count = len(targets)
    if not balanced:
        return torch.randperm(count, generator=generator).numpy()
    if bool(((targets > 0.5).sum(axis=1) > 1).any()):
        shown = np.concatenate([targets > 0.5, (targets <= 0.5).all(axis=1, keepdims=True)], axis=1).astype(float)
        weights = (shown / np.maximum(shown.sum(axis=0), 1)).sum(axis=1) / shown.sum(axis=1)
        return torch.multinomial(torch.from_numpy(weights), count, replacement=True, generator=generator).numpy()
    group = np.where(targets.max(axis=1) > 0, targets.argmax(axis=1), targets.shape[1])
    present, sizes = np.unique(group, return_counts=True)
    quota = [count // len(present) + (i < count % len(present)) for i in range(len(present))]
    drawn = []
    for label, size, wanted in zip(present, sizes, quota, strict=True):
        members = np.flatnonzero(group == label)
        # Whole permutations first, so that no case is left out by chance where there is room for all.
        rounds = [torch.randperm(int(size), generator=generator).numpy() for _ in range(math.ceil(wanted / size))]
        drawn.append(members[np.concatenate(rounds)[:wanted]])
    order = np.concatenate(drawn)
    return order[torch.randperm(len(order), generator=generator).numpy()]


class Batches:
    """Indices of the items of each step, one epoch after another: what the trainer iterates over.

    Every case has its turn, unless classes are balanced. Where the list is no multiple of the batch size, the batches
    of an epoch are made equally large (give or take one) rather than the last one small: a batch of one case has no
    batch statistics.

    Seeded by epoch, so that a resumed run draws what the uninterrupted one would have drawn.

    Args:
        data, task, config: of the training.
        processes: that divide each batch evenly; a remainder of the list sits out an epoch, another one each time.
    """

    def __init__(self, data: TrainingData, task: TaskSpec, config: TrainingConfig, processes: int = 1) -> None:
        self.targets, self.config, self.processes = data.targets, config, processes
        self.balanced = config.balanced and task.kind != "regression"
        self.epoch = 0
        self.generator = torch.Generator()

    def __len__(self) -> int:
        shares = len(self.targets) // self.processes
        wanted = math.ceil(shares / max(1, self.config.batch_size // self.processes))
        # Of three cases in batches of two one would be alone. Only who asks for batches of one gets them.
        most = len(self.targets) if self.config.batch_size == 1 else shares * self.processes // 2
        return max(1, min(wanted, most))

    def __iter__(self) -> Iterator[np.ndarray]:
        # Not before the first batch is asked for: `epoch` is set between making the iterator and that.
        seed = self.config.seed * 100_003 + self.epoch
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)
        order = epoch_order(self.targets, balanced=self.balanced, generator=self.generator)
        shares = len(order) // self.processes
        for part in np.array_split(np.arange(shares * self.processes).reshape(shares, self.processes), len(self)):
            yield np.sort(order[part.ravel()])
