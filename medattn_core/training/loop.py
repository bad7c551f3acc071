"""Training through MONAI's engine: a trainer of a network, data and settings, and the run of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from medattn_core.training.objective import Objective
from medattn_core.training.processes import Processes
from medattn_core.training.steps import optimizer_of
from medattn_core.training.units import Units, start_at_mean

if TYPE_CHECKING:
    from medattn_core.training.trainer import AttentionTrainer

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
) -> AttentionTrainer:
    """A trainer whose ``run()`` trains ``network``, and whose ``result()`` is what is kept afterwards.

    Under ``torchrun`` each process takes its part of every batch; the result is that of one process.

    Args:
        network: changed in place; what is kept is its moving average.
        data: on the model grid.
        task: of the network.
        config: hyperparameters.
        max_epochs: instead of ``config.epochs``, for the schedule too.
        device: torch device.
        checkpoint: file written after every epoch, whole or not at all.
        resume: continue from ``checkpoint`` where it exists; the result is that of an uninterrupted run.
        progress: called after every step with (step, steps, running losses).
        validation: held-out cases for ``config.patience``.
        log_dir: folder for TensorBoard.
        network_settings: arguments of ``network``: a checkpoint of others is refused, where shapes alone would fit.
        start: bundle whose weights are the first, instead of what ``config.initial_weights`` names.

    Raises:
        TrainingError: the checkpoint belongs to other settings; later, in ``run`` and ``result``, if the loss or the
            weights are no longer finite.
    """
    # Not at the top: whoever trains nothing needs no MONAI.
    from medattn_core.training.trainer import AttentionTrainer

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
    objective = Objective(network=network, data=data, task=task, config=config, processes=processes, units=units)
    processes.prepare(network)
    network.to(processes.device, memory_format=objective.memory_format).train()  # type: ignore[call-overload]
    optimizer = optimizer_of(network, config)
    average = MovingAverage(network, config.ema_decay)
    stop = _early_stop(objective, validation)
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
    first_epoch = 0
    if resume and checkpoint is not None and checkpoint.exists():
        first_epoch = checkpoints.restore(checkpoint, identity, network, average, optimizer, stop)
    writes = processes.rank == 0
    trainer = AttentionTrainer(
        objective,
        Batches(data, task, config, processes.count),
        optimizer,
        average,
        stop,
        first_epoch=first_epoch,
        checkpoint=checkpoint if writes else None,
        identity=identity,
    )
    if progress is not None:
        from ignite.engine import Events

        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: progress(engine.state.iteration, engine.total, engine.running)
        )
    if log_dir is not None and writes and not trainer.done:
        logs.attach(trainer, log_dir, optimizer, stop, first_epoch, spread=units.spread)
    return trainer


def _early_stop(objective: Objective, validation: TrainingData | None) -> EarlyStop:
    """What watches the held-out cases."""
    network, data, config = objective.network, objective.data, objective.config
    # A third of a step's work a case and view: the curve costs less than a tenth of the epoch, or patience asks for it.
    looks = 0 if validation is None else len(validation) * (1 + len(network.views))
    strides = network.coarsest_stride, network.evidence_stride
    return EarlyStop(
        config, validation, objective.task, watch=0 < 4 * looks <= len(data),
        full_from=config.full_size_from(data.images.shape[2:], *strides),
    )  # fmt: skip


def trainer_of(
    network: AttentionCNN,
    data: TrainingData,
    task: dict[str, Any],
    config: dict[str, Any],
    *,
    started_from: dict[str, str] | None = None,
    **options: Any,
) -> AttentionTrainer:
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
    trainer.show_in_unit()
    return trainer


def fit(
    network: AttentionCNN,
    data: TrainingData,
    task: TaskSpec,
    config: TrainingConfig,
    *,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> AttentionCNN:
    """Train, from the start or where a checkpoint left off, and return what is kept, on the CPU.

    Args:
        network, data, task, config, options: of :func:`build_trainer`.
        tell: called with the epoch that early stopping chose, in words.

    Raises:
        TrainingError: the checkpoint belongs to other settings, or the loss or the weights are no longer finite.
    """
    trainer = build_trainer(network, data, task, config, **options)
    if not trainer.done:
        trainer.run()
    kept = trainer.result()
    # Of a training that had ended before it was interrupted, too: its checkpoint knows the same.
    words = trainer.stop.told(trainer.state.epoch, trainer.units.spread)
    if tell is not None and words:
        tell(words)
    return kept
