"""Logs of a training: TensorBoard always, MLflow where it is installed and a tracking server is named."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

    from medattn_core.training.early_stop import EarlyStop


def attach(trainer: SupervisedTrainer, folder: Path, optimizer: Any, stop: EarlyStop, first_epoch: int = 0) -> None:
    """Write mean losses, learning rate and the validation score after every epoch.

    Args:
        trainer: whose ``state.output`` is a dictionary of losses.
        folder: of the TensorBoard event files; a run that starts anew takes away those of an earlier one, whose curves
            would be drawn into one with its own.
        optimizer: whose learning rate is written.
        stop: whose score is written, where it measures one.
        first_epoch: epochs that are done already; what a stopped run has written beyond them is hidden.
    """
    from ignite.engine import Events
    from torch.utils.tensorboard import SummaryWriter

    if first_epoch == 0 and folder.is_dir():
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
    writer = SummaryWriter(str(folder), purge_step=first_epoch + 1 if first_epoch else None)
    sums: dict[str, float] = defaultdict(float)

    @trainer.on(Events.ITERATION_COMPLETED)
    def _add(engine: Any) -> None:
        for name, value in engine.state.output.items():
            sums[name] += value

    @trainer.on(Events.EPOCH_COMPLETED)
    def _write(engine: Any) -> None:
        for name, value in _epoch(engine, sums, optimizer, stop).items():
            writer.add_scalar(name, value, engine.state.epoch)
        writer.flush()

    _mlflow(trainer, sums, optimizer, stop)

    @trainer.on(Events.EPOCH_COMPLETED)
    def _begin(_: Any) -> None:
        sums.clear()

    trainer.add_event_handler(Events.COMPLETED, lambda _: writer.close())
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda _, error: _end(writer, error))


def _end(writer: Any, error: BaseException) -> None:
    writer.close()
    raise error  # ignite takes a handled exception for a finished run


def _epoch(engine: Any, sums: dict[str, float], optimizer: Any, stop: EarlyStop) -> dict[str, float]:
    """Numbers of the epoch that ends, by name."""
    found = {f"train/{name}": value / engine.state.epoch_length for name, value in sums.items()}
    found["train/learning_rate"] = optimizer.param_groups[0]["lr"]
    if stop.last is not None:
        found |= {"validation/score": stop.last, "validation/best": stop.best}
    return found


def _mlflow(trainer: SupervisedTrainer, sums: dict[str, float], optimizer: Any, stop: EarlyStop) -> None:
    """MONAI's handler, if a server is named and the package is there."""
    from monai.utils import optional_import

    if "MLFLOW_TRACKING_URI" not in os.environ or not optional_import("mlflow")[1]:
        return
    from monai.handlers import MLFlowHandler

    def log(engine: Any) -> None:  # its own logger reads `state.metrics`, which a training has none of
        handler._log_metrics(_epoch(engine, sums, optimizer, stop), step=engine.state.epoch)

    handler = MLFlowHandler(
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
        output_transform=lambda output: output,
        iteration_log=False,
        epoch_log=True,
        epoch_logger=log,
    )
    handler.attach(trainer)
