"""Logs of a training: TensorBoard always, MLflow where it is installed and a tracking server is named."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medattn_core.errors import TrainingError
from medattn_core.training.work_folder import EVENTS

if TYPE_CHECKING:
    from monai.engines import SupervisedTrainer

    from medattn_core.training.early_stop import EarlyStop

logger = logging.getLogger(__name__)

RUN = "mlflow_run.txt"
"""File in the log folder: id of the training's MLflow run."""

PATIENCE = 3
"""Epochs in a row that MLflow cannot take before it is left alone: each costs the time of its retries."""


def attach(
    trainer: SupervisedTrainer,
    folder: Path,
    optimizer: Any,
    stop: EarlyStop,
    first_epoch: int = 0,
    *,
    spread: float = 1.0,
) -> None:
    """Write mean losses, learning rate and the validation score after every epoch.

    Args:
        trainer: whose ``state.output`` is a dictionary of losses.
        folder: of the TensorBoard event files; a run that starts anew takes away those of an earlier one, whose curves
            would be drawn into one with its own.
        optimizer: whose learning rate is written.
        stop: whose score is written, where it measures one.
        first_epoch: epochs that are done already; what a stopped run has written beyond them is hidden.
        spread: standard deviation of the targets of a regression, by which its score comes into their unit.

    Raises:
        TrainingError: ``unwritable``: the folder; ``bad_config``: MLflow's store cannot be used.
    """
    from ignite.engine import Events
    from torch.utils.tensorboard import SummaryWriter

    sums: dict[str, float] = defaultdict(float)
    _check_writable(folder)
    store = _mlflow(trainer, folder, first_epoch)  # first: it may refuse, and nothing is taken away then
    if first_epoch == 0:
        for old in folder.glob(EVENTS):
            old.unlink(missing_ok=True)
    writer = SummaryWriter(str(folder), purge_step=first_epoch + 1 if first_epoch else None)

    @trainer.on(Events.ITERATION_COMPLETED)
    def _add(engine: Any) -> None:
        for name, value in engine.state.output.items():
            sums[name] += value

    @trainer.on(Events.EPOCH_COMPLETED)
    def _write(engine: Any) -> None:
        numbers = _epoch(engine, sums, optimizer, stop, spread)
        for name, value in numbers.items():
            writer.add_scalar(name, value, engine.state.epoch)
        writer.flush()
        store(numbers, engine.state.epoch)
        sums.clear()

    trainer.add_event_handler(Events.COMPLETED, lambda _: writer.close())
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda _, error: _end(writer, error))


def _check_writable(folder: Path) -> None:
    """TensorBoard opens its file in a thread, whose error would reach nobody in plain words."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(
            "unwritable",
            f"{folder}: the curves of the training cannot be written ({error.strerror}); make it a folder that may be "
            "written, or choose another output folder",
        ) from error


def _end(writer: Any, error: BaseException) -> None:
    writer.close()
    raise error  # ignite takes a handled exception for a finished run


def _epoch(engine: Any, sums: dict[str, float], optimizer: Any, stop: EarlyStop, spread: float) -> dict[str, float]:
    """Numbers of the epoch that ends, by name."""
    found = {f"train/{name}": value / engine.state.epoch_length for name, value in sums.items()}
    found["train/learning_rate"] = optimizer.param_groups[0]["lr"]
    if stop.last is not None:
        found |= {"validation/score": spread * stop.last, "validation/best": spread * float(stop.best)}
    return found


def _mlflow(trainer: SupervisedTrainer, folder: Path, first_epoch: int) -> Callable[[dict[str, float], int], None]:
    """MONAI's handler, if a store is named and the package is there; one run a curve.

    Returns:
        Called with the numbers of an epoch and its number.

    A store that cannot be reached is said before anything is trained. One that is lost later is said once, and the
    training goes on.

    Raises:
        TrainingError: ``bad_config``: the store cannot be used.
    """
    from ignite.engine import Events
    from monai.utils import optional_import

    if not os.environ.get("MLFLOW_TRACKING_URI") or not optional_import("mlflow")[1]:
        return lambda numbers, epoch: None
    from monai.handlers import MLFlowHandler

    # Its own patience, minutes for each request to a server that is gone, would be spent at every epoch.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        handler = MLFlowHandler(
            tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", "medattn"),
        )
        _choose_run(handler, folder.resolve(), resumed=first_epoch > 0)
        handler.start(trainer)
    except Exception as error:  # of MLflow, its database or its connection; the text may hold a password
        raise TrainingError(
            "bad_config",
            f"MLFLOW_TRACKING_URI: MLflow cannot write there ({type(error).__name__}); name a database "
            "(sqlite:////folder/file.db) or a server that runs, or unset it to train without",
        ) from error
    lost = 0

    def write(what: Callable[[], None]) -> None:
        nonlocal lost
        if lost == PATIENCE:
            return
        try:
            what()
            lost = 0
        except Exception as error:
            lost += 1
            if lost > 1:
                return
            # An error: the command line shows no warnings of libraries, and this one is for the person who trains.
            logger.error("MLflow cannot write (%s); the training goes on without", type(error).__name__)

    trainer.add_event_handler(Events.COMPLETED, lambda _: write(handler.close))
    # Not the handler's own logger: it reads `state.metrics`, which a training has none of.
    return lambda numbers, epoch: write(lambda: handler._log_metrics(numbers, step=epoch))


def _choose_run(handler: Any, folder: Path, resumed: bool) -> None:
    """The run of the training that this folder's was, to be continued or, where it was killed, ended; else a new one.

    Its id lies in the folder. Left to itself the handler takes any run that has not finished, those of others included.
    """
    handler._set_experiment()
    note = folder / RUN
    try:
        run = handler.client.get_run(note.read_text(encoding="utf-8").strip())
        if resumed and run.info.lifecycle_stage == "active":
            handler.client.update_run(run.info.run_id, status="RUNNING")
            handler.cur_run = run
            return
        if run.info.status == "RUNNING":
            handler.client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:  # no note, or the run is not in this store (any more): this one is new
        logger.debug("no earlier MLflow run", exc_info=error)
    name = folder.name if folder.suffix else "/".join(folder.parts[-2:])  # of a fold: BUNDLE.logs/fold0
    handler.cur_run = handler.client.create_run(experiment_id=handler.experiment.experiment_id, run_name=name)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(handler.cur_run.info.run_id, encoding="utf-8")  # half of it is no run: then there is none
