"""Logs of a training: TensorBoard always, MLflow where it is installed and a tracking server is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

    from medattn_core.training.early_stop import EarlyStop


def attach(trainer: SupervisedTrainer, folder: Path, optimizer: Any, stop: EarlyStop) -> None:
    """Write losses, learning rate and the validation metric after every epoch.

    Args:
        trainer: whose ``state.output`` is a dictionary of losses.
        folder: of the TensorBoard event files.
        optimizer: whose learning rate is written.
        stop: whose metric is written, where it measures one.
    """
    from ignite.engine import Events
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    @trainer.on(Events.EPOCH_COMPLETED)
    def _write(engine: Any) -> None:
        epoch = engine.state.epoch
        for name, value in engine.state.output.items():
            writer.add_scalar(f"train/{name}", value, epoch)
        writer.add_scalar("train/learning_rate", optimizer.param_groups[0]["lr"], epoch)
        if stop.patience and stop.best > -float("inf"):
            writer.add_scalar("validation/best", stop.best, epoch)
        writer.flush()

    trainer.add_event_handler(Events.COMPLETED, lambda _: writer.close())
    if "MLFLOW_TRACKING_URI" in os.environ:
        _mlflow(trainer)


def _mlflow(trainer: SupervisedTrainer) -> None:
    """MONAI's handler, if the package is there."""
    from monai.utils import optional_import

    _, found = optional_import("mlflow")
    if not found:
        return
    from monai.handlers import MLFlowHandler

    MLFlowHandler(
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
        output_transform=lambda output: output,
        iteration_log=False,
        epoch_logger=None,
    ).attach(trainer)
