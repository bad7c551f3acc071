"""Training through MONAI's engine: balanced batches, losses on logits and map, EMA, cosine schedule, resume."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medattn_core.bundles.bundle import Bundle
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training import checkpoint as checkpoints
from medattn_core.training import logs
from medattn_core.training.batches import Batches
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData
from medattn_core.training.early_stop import EarlyStop
from medattn_core.training.ema import MovingAverage
from medattn_core.training.from_bundle import bundle_named, origin_of
from medattn_core.training.initial import names_bundle, start_from
from medattn_core.training.losses import (
    classification_loss,
    map_losses,
    regression_loss,
    regression_map_loss,
    together_loss,
)
from medattn_core.training.norms import SHORT, settle
from medattn_core.training.precision import sound_bf16
from medattn_core.training.processes import Processes
from medattn_core.training.steps import LARGEST_GRADIENT, optimizer_of, rate
from medattn_core.training.units import InItsUnit, Units, start_at_mean

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

Progress = Callable[[int, int, dict[str, float]], None]


def build_trainer(
    network: AttentionCNN,
    data: TrainingData,
    task: TaskSpec,
    config: TrainingConfig,
    *,
    max_epochs: int | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    validation: TrainingData | None = None,
    log_dir: Path | None = None,
    network_settings: Mapping[str, Any] | None = None,
    start: Bundle | None = None,
) -> SupervisedTrainer:
    """MONAI's trainer with the steps, schedule, moving average, checkpoint and logs of a MedAttn training.

    Args:
        network, data, task, config, device, checkpoint, resume, progress, validation, log_dir,
            network_settings, start: see :func:`fit`.
        max_epochs: instead of ``config.epochs``, for the schedule too.

    Returns:
        A trainer whose ``run()`` trains ``network``. ``trainer.result()`` is what is kept afterwards: the moving
        average, or its best epoch, with values in their unit.

    Raises:
        TrainingError: the checkpoint belongs to other settings; later, in ``run``, if the loss is no longer finite.
    """
    from ignite.engine import Events
    from monai.engines import SupervisedTrainer

    config = (config if max_epochs is None else replace(config, epochs=max_epochs)).for_device(device)
    units = Units.of(data) if task.kind == "regression" else Units()
    if task.kind == "regression":
        data = units.standardised(data)
        validation = units.standardised(validation) if validation is not None else None
    known = start_from(network, start or config.initial_weights, task, spread=units.spread)
    if task.kind == "regression":
        start_at_mean(network, data, units.mean, units.spread, known=[label in known for label in task.labels])
    processes = Processes(device)
    if config.batch_size % processes.count or len(data) < processes.count:
        raise TrainingError(
            "bad_config",
            f"batch_size={config.batch_size} of {len(data)} cases for {processes.count} processes; a multiple of "
            f"{processes.count} is needed, and no fewer cases",
        )
    device = processes.device
    memory_format = torch.channels_last if task.spatial_dims == 2 else torch.channels_last_3d
    processes.prepare(network)
    network.to(device, memory_format=memory_format).train()  # type: ignore[call-overload]
    optimizer = optimizer_of(network, config)
    average = MovingAverage(network, config.ema_decay)
    batches = Batches(data, task, config, processes.count)
    total = len(batches) * config.epochs
    warmup = max(1, min(round(config.warmup_epochs * len(batches)), total // 2))
    identity = {
        "config": config.to_dict(),
        "task": task.to_dict(),
        "network": {
            "settings": json.loads(json.dumps(dict(network_settings or {}))),
            "shapes": {name: list(value.shape) for name, value in network.state_dict().items()},
        },
        "data": data.fingerprint(),
        "held-out data": validation.fingerprint() if validation is not None else "",
        **({"started_from": origin_of(start)} if start is not None else {}),
    }
    # A third of a step's work a case and view: the curve costs less than a tenth of the epoch, or patience asks for it.
    looks = 0 if validation is None else len(validation) * (1 + len(network.views))
    strides = network.coarsest_stride, network.evidence_stride
    stop = EarlyStop(
        config, validation, task, watch=0 < 4 * looks <= len(data),
        full_from=config.full_size_from(data.images.shape[2:], *strides),
    )  # fmt: skip
    first_epoch = 0
    if resume and checkpoint is not None and checkpoint.exists():
        first_epoch = checkpoints.restore(checkpoint, identity, network, average, optimizer, stop)
    running: dict[str, float] = {}

    round_from = 0

    def update(engine: Any, chosen: np.ndarray) -> dict[str, float]:
        step = engine.state.iteration - 1 - round_from
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, warmup, total)
        size = config.size_at(batches.epoch, data.images.shape[2:], *strides)
        losses = _losses(
            network, data, chosen, size, task, config, batches.generator, device, memory_format, processes, units
        )
        loss = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(loss)):
            raise _diverged(f"the loss is not finite at step {step}", config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        processes.average_gradients(network)
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        average.update(network)
        values = {name: float(value.detach()) for name, value in losses.items()}
        for name, value in values.items():
            running[name] = 0.95 * running.get(name, value) + 0.05 * value
        return {"loss": sum(values.values()), **values}

    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=config.epochs,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=regression_loss if task.kind == "regression" else classification_loss,
        iteration_update=update,
        epoch_length=len(batches),
        decollate=False,
    )
    trainer.state.epoch, trainer.state.iteration = first_epoch, first_epoch * len(batches)
    # It repeats an exception that is raised anyway, in foreign words. Its own logger is that of all trainers there are.
    trainer.logger = logging.Logger(trainer.logger.name, logging.CRITICAL)

    def settled() -> AttentionCNN:
        """The moving average, with statistics of its own where the steps were too few for the running ones."""
        if average.steps > SHORT:
            return cast(AttentionCNN, average.network)
        own = cast(AttentionCNN, copy.deepcopy(average.network))
        settle(own, data, config.batch_size, config.seed)
        return own

    rounds = 0

    @trainer.on(Events.STARTED)
    def _round(engine: Any) -> None:
        """Of federated learning: each round has a schedule of its own, or one would end at the full rate."""
        nonlocal round_from, rounds
        round_from = engine.state.iteration if rounds else 0
        rounds += 1

    @trainer.on(Events.EPOCH_STARTED)
    def _start(engine: Any) -> None:
        batches.epoch = engine.state.epoch - 1
        running.clear()

    @trainer.on(Events.EPOCH_COMPLETED)
    def _finish(engine: Any) -> None:
        # The loss of a step is that before it: of what the last one did, only the weights tell.
        now = settled() if stop.measures else average.network
        if not _finite(now):
            raise _diverged(f"the weights are not finite after epoch {engine.state.epoch}", config)
        if stop.after(now, engine.state.epoch):
            engine.terminate()
        if checkpoint is not None and processes.rank == 0:
            checkpoints.store(checkpoint, identity, engine.state.epoch, network, average, optimizer, stop)

    if progress is not None:
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: progress(engine.state.iteration, total, running)
        )
    trainer.done = first_epoch >= config.epochs or stop.stopped  # type: ignore[attr-defined]
    if log_dir is not None and processes.rank == 0 and not trainer.done:  # type: ignore[attr-defined]
        logs.attach(trainer, log_dir, optimizer, stop, first_epoch, spread=units.spread)

    def result() -> AttentionCNN:
        kept = copy.deepcopy(settled()).to("cpu")
        stop.keep(kept)
        if not _finite(kept):
            if checkpoint is not None and processes.rank == 0:
                checkpoint.unlink(missing_ok=True)  # to continue from it would end here again
            raise _diverged("the weights are not finite at the end", config)
        units.restore(kept)
        return kept

    trainer.result, trainer.units = result, units  # type: ignore[attr-defined]
    return trainer


def _finite(network: nn.Module) -> bool:
    """Whether all weights and statistics are."""
    return all(bool(value.isfinite().all()) for value in network.state_dict().values())


def _diverged(what: str, config: TrainingConfig) -> TrainingError:
    """The error of a training whose numbers ran away."""
    weights = f", or class_weights={list(config.class_weights)}" if config.class_weights else ""
    return TrainingError("bad_config", f"{what}; lower learning_rate={config.learning_rate}{weights}")


def trainer_of(
    network: AttentionCNN,
    data: TrainingData,
    task: dict[str, Any],
    config: dict[str, Any],
    *,
    started_from: dict[str, str] | None = None,
    **options: Any,
) -> SupervisedTrainer:
    """:func:`build_trainer` from plain data, for the `train.json` of a bundle.

    Between its runs the network predicts in the unit of the task, as the weights of a bundle do.

    Args:
        network, data, task, config, options: as there.
        started_from: what the bundle says of the one that its training started from: other weights are refused.
    """
    settings = TrainingConfig.from_dict(config)
    name = settings.initial_weights
    start = bundle_named(name, started_from) if names_bundle(name) else None
    trainer = build_trainer(network, data, TaskSpec.from_dict(task), settings, start=start, **options)
    shown = InItsUnit(network, trainer.units)  # type: ignore[attr-defined]
    run = trainer.run

    def run_within(*args: Any, **options: Any) -> Any:
        """Not by events: there is none that an interrupted run and a failed one have, too."""
        shown.enter()
        try:
            return run(*args, **options)
        finally:
            shown.leave()

    trainer.run = run_within  # type: ignore[method-assign]
    return trainer


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
    validation: TrainingData | None = None,
    log_dir: Path | None = None,
    network_settings: Mapping[str, Any] | None = None,
    start: Bundle | None = None,
) -> AttentionCNN:
    """Train, through MONAI's :class:`~monai.engines.SupervisedTrainer`.

    Under ``torchrun`` each process takes its part of every batch; the result is that of one process.

    Args:
        network: changed in place; what is returned is its moving average, on the CPU.
        data: on the model grid.
        task: of the network.
        config: hyperparameters.
        device: torch device.
        checkpoint: file written after every epoch, whole or not at all.
        resume: continue from ``checkpoint`` where it exists; the result is that of an uninterrupted run.
        progress: called after every step with (step, steps, running losses).
        validation: held-out cases for ``config.patience``.
        log_dir: folder for TensorBoard.
        network_settings: arguments of ``network``: a checkpoint of others is refused, where shapes alone would fit.
        start: bundle whose weights are the first, instead of what ``config.initial_weights`` names.

    Raises:
        TrainingError: the checkpoint belongs to other settings, or the loss or the weights are no longer finite.
    """
    trainer = build_trainer(
        network, data, task, config, device=device, checkpoint=checkpoint, resume=resume, progress=progress,
        validation=validation, log_dir=log_dir, network_settings=network_settings, start=start,
    )  # fmt: skip
    if not trainer.done:  # type: ignore[attr-defined]
        trainer.run()
    return cast(AttentionCNN, trainer.result())  # type: ignore[attr-defined]


def _losses(
    network: AttentionCNN,
    data: TrainingData,
    chosen: np.ndarray,
    size: tuple[int, ...],
    task: TaskSpec,
    config: TrainingConfig,
    generator: torch.Generator,
    device: str,
    memory_format: torch.memory_format,
    processes: Processes,
    units: Units,
) -> dict[str, Tensor]:
    image = torch.from_numpy(data.images[chosen]).to(device).float()
    known = data.located[chosen]
    # Masks of cases without a known place are empty: moving them along would be work for nothing.
    mask = torch.from_numpy(data.masks[chosen]).to(device).float().div_(255).unsqueeze(1) if known.any() else None
    target = torch.from_numpy(data.targets[chosen]).to(device)
    image, moved, longer = config.augmentation(image, mask, generator, size, task.spacing)
    if config.zoom_power:
        # On fewer pixels everything is as much smaller as after a zoom.
        smaller = (math.prod(size) / math.prod(data.images.shape[2:])) ** (1 / task.spatial_dims)
        target = units.zoomed(target, (smaller * longer.to(device).unsqueeze(1)) ** config.zoom_power)
    image = processes.part(image).contiguous(memory_format=memory_format)
    half = config.precision == "bf16" and sound_bf16(device, size, network.coarsest_stride)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
        features = network.features(image)
    out = network.pool(processes.gather(features.float()))
    if task.kind == "regression":
        losses = {"value": regression_loss(out.logits, target).mean()}
    else:
        per_item = classification_loss(
            out.logits,
            target,
            task.activation,
            config.losses.smoothing,
            focal=config.focal_gamma,
            weights=torch.tensor(config.class_weights, device=device) if config.class_weights else None,
        )
        losses = {"label": per_item.mean()}
        if config.losses.together > 0 and task.activation == "sigmoid":
            together = together_loss(out, network.bias, target, generator, config.losses.smoothing)
            losses["together"] = config.losses.together * together
    if moved is not None and mask is not None:
        pool = F.avg_pool2d if task.spatial_dims == 2 else F.avg_pool3d
        inside = pool(moved, network.evidence_stride)[:, 0]
        # A finding that augmentation pushed out of the picture teaches nothing about location; a small one does.
        pixels = math.prod(moved.shape[2:]) / math.prod(mask.shape[2:])
        whole = mask.flatten(1).sum(dim=1) * pixels * longer.to(device) ** task.spatial_dims
        there = moved.flatten(1).sum(dim=1)
        located = torch.from_numpy(known).to(device) & (there > 0.5 * whole) & (there > 0)
        if task.kind == "regression":
            if bool(located.any()) and config.losses.location > 0:
                total = target[:, 0] - network.bias[0]
                location = regression_map_loss(out.contributions, inside, total, located)
                losses["location"] = config.losses.location * location
            return losses
        losses |= map_losses(
            out,
            network.bias,
            target,
            inside,
            located,
            config.losses,
            task.activation,
            generator,
        )
    return losses
