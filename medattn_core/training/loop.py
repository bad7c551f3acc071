"""The training loop: balanced batches, augmentation, losses on logits and map, EMA, cosine schedule, resume."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData
from medattn_core.training.ema import MovingAverage
from medattn_core.training.losses import classification_loss, map_losses, regression_loss

Progress = Callable[[int, int, dict[str, float]], None]


def epoch_order(targets: np.ndarray, *, balanced: bool, generator: torch.Generator) -> np.ndarray:
    """Indices of one epoch: a permutation, or as many draws with every class equally likely."""
    count = len(targets)
    if not balanced:
        return torch.randperm(count, generator=generator).numpy()
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


def _optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))


def _rate(step: int, warmup: int, total: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def fit(
    network: AttentionCNN,
    data: TrainingData,
    task: TaskSpec,
    config: TrainingConfig,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AttentionCNN:
    """Train.

    Args:
        network: changed in place; what is returned is its moving average.
        data: on the model grid.
        task: of the network.
        config: hyperparameters.
        device: torch device.
        checkpoint: file written after every epoch, whole or not at all.
        resume: continue from ``checkpoint`` where it exists; the result is that of an uninterrupted run.
        progress: called after every step with (step, steps, running losses).

    Raises:
        TrainingError: the checkpoint belongs to other settings, or the loss is no longer finite.
    """
    memory_format = torch.channels_last if task.spatial_dims == 2 else torch.channels_last_3d
    network.to(device, memory_format=memory_format).train()  # type: ignore[call-overload]
    optimizer = _optimizer(network, config)
    average = MovingAverage(network, config.ema_decay)
    steps_per_epoch = max(1, len(data) // config.batch_size)
    total, first_epoch = steps_per_epoch * config.epochs, 0
    warmup = max(1, round(config.warmup_epochs * steps_per_epoch))
    identity = {
        "config": config.to_dict(),
        "task": task.to_dict(),
        "network": {name: list(value.shape) for name, value in network.state_dict().items()},
        "data": data.fingerprint(),
    }
    if resume and checkpoint is not None and checkpoint.exists():
        first_epoch = _restore(checkpoint, identity, network, average, optimizer)

    for epoch in range(first_epoch, config.epochs):
        # Seeded by epoch, so that a resumed run draws what the uninterrupted one would have drawn.
        generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
        torch.manual_seed(config.seed * 100_003 + epoch)
        order = epoch_order(data.targets, balanced=config.balanced and task.kind != "regression", generator=generator)
        running: dict[str, float] = {}
        for batch in range(steps_per_epoch):
            step = epoch * steps_per_epoch + batch
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(step, warmup, total)
            chosen = np.sort(order[batch * config.batch_size : (batch + 1) * config.batch_size])
            losses = _losses(network, data, chosen, task, config, generator, device, memory_format)
            loss = torch.stack(list(losses.values())).sum()
            if not bool(torch.isfinite(loss)):
                raise TrainingError(
                    "bad_config", f"the loss is not finite at step {step}; lower learning_rate={config.learning_rate}"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            average.update(network)
            for name, value in losses.items():
                previous = running.get(name, float(value.detach()))
                running[name] = 0.95 * previous + 0.05 * float(value.detach())
            if progress is not None:
                progress(step + 1, total, running)
        if checkpoint is not None:
            _store(checkpoint, identity, epoch + 1, network, average, optimizer)
    return average.network  # type: ignore[return-value]


def _losses(
    network: AttentionCNN,
    data: TrainingData,
    chosen: np.ndarray,
    task: TaskSpec,
    config: TrainingConfig,
    generator: torch.Generator,
    device: str,
    memory_format: torch.memory_format,
) -> dict[str, Tensor]:
    image = torch.from_numpy(data.images[chosen].astype(np.float32))
    mask = torch.from_numpy(data.masks[chosen].astype(np.float32) / 255.0).unsqueeze(1)
    target = torch.from_numpy(data.targets[chosen]).to(device)
    image, moved = config.augmentation(image, mask, generator)
    image = image.to(device, memory_format=memory_format)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        features = network.features(image)
    out = network.pool(features.float())
    if task.kind == "regression":
        losses = {"value": regression_loss(out.logits, target).mean()}
    else:
        losses = {"label": classification_loss(out.logits, target, task.activation, config.losses.smoothing).mean()}
    if moved is not None and task.kind != "regression":
        pool = F.avg_pool2d if task.spatial_dims == 2 else F.avg_pool3d
        inside = pool(moved.to(device), network.evidence_stride)[:, 0]
        # A finding that augmentation pushed out of the picture teaches nothing about location.
        located = torch.from_numpy(data.located[chosen]).to(device) & (inside.flatten(1).sum(dim=1) > 0.5)
        losses |= map_losses(
            out,
            cast(Tensor, network.pooling.bias),
            target,
            inside,
            located,
            config.losses,
            task.activation,
            generator,
        )
    return losses


def _store(
    path: Path, identity: dict[str, Any], epoch: int, network: nn.Module, average: MovingAverage, optimizer: Any
) -> None:
    state = {
        "identity": identity,
        "epoch": epoch,
        "network": network.state_dict(),
        "average": average.network.state_dict(),
        "average_steps": average.steps,
        "optimizer": optimizer.state_dict(),
        "time": time.time(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _restore(path: Path, identity: dict[str, Any], network: nn.Module, average: MovingAverage, optimizer: Any) -> int:
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["identity"] != identity:
        changed = [key for key in identity if state["identity"].get(key) != identity[key]]
        raise TrainingError(
            "bad_config",
            f"{path}: the checkpoint was made with another {', '.join(changed)}; resume with the same settings, "
            "or give another output folder",
        )
    network.load_state_dict(state["network"])
    average.network.load_state_dict(state["average"])
    average.steps = state["average_steps"]
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])
