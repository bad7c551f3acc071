"""MONAI's trainer with the steps, schedule, moving average and checkpoint of a MedAttn training."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training import checkpoint as checkpoints
from medattn_core.training.batches import Batches
from medattn_core.training.config import TrainingConfig
from medattn_core.training.early_stop import EarlyStop
from medattn_core.training.ema import MovingAverage
from medattn_core.training.losses import classification_loss, regression_loss
from medattn_core.training.norms import SHORT, settle
from medattn_core.training.objective import Objective
from medattn_core.training.steps import LARGEST_GRADIENT, rate
from medattn_core.training.units import InItsUnit, Units


class AttentionTrainer(SupervisedTrainer):
    """Trains the network of an objective; made by :func:`medattn_core.training.loop.build_trainer`.

    Args:
        objective: what a step minimises.
        batches: of its data.
        optimizer: of its network.
        average: of its network.
        stop: looks at the moving average after each epoch.
        first_epoch: epochs that were finished before, in a training that goes on.
        checkpoint: file written after every epoch; None for none.
        identity: what a training must share with the checkpoint to go on from it.

    Attributes:
        units: of the targets.
        done: whether nothing was left to train when this was made.
        total: steps of the schedule.
        running: recent mean of each loss of the epoch.
    """

    def __init__(
        self,
        objective: Objective,
        batches: Batches,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage,
        stop: EarlyStop,
        *,
        first_epoch: int = 0,
        checkpoint: Path | None = None,
        identity: dict[str, Any],
    ) -> None:
        config = objective.config
        # Here and below functions, not methods of this object: it would hold itself, and after a training its network
        # and data would stay in memory until Python looks for such circles.
        super().__init__(
            device=torch.device(objective.processes.device),
            max_epochs=config.epochs,
            train_data_loader=batches,
            network=objective.network,
            optimizer=optimizer,
            loss_function=regression_loss if objective.task.kind == "regression" else classification_loss,
            iteration_update=cast(Any, AttentionTrainer._step),
            epoch_length=len(batches),
            decollate=False,
        )
        self.add_event_handler(Events.STARTED, AttentionTrainer._start_run)
        self.add_event_handler(Events.EPOCH_STARTED, AttentionTrainer._start_epoch)
        self.add_event_handler(Events.EPOCH_COMPLETED, AttentionTrainer._finish_epoch)
        # ignite's repeats an exception that is raised anyway, in foreign words.
        self.logger = logging.Logger(self.logger.name, logging.CRITICAL)
        self.state.epoch, self.state.iteration = first_epoch, first_epoch * len(batches)
        self.objective, self.batches, self.average, self.stop = objective, batches, average, stop
        self.checkpoint, self.identity = checkpoint, identity
        self.units: Units = objective.units
        self.done: bool = first_epoch >= config.epochs or stop.stopped
        self.total = len(batches) * config.epochs
        self.running: dict[str, float] = {}
        self._warmup = max(1, min(round(config.warmup_epochs * len(batches)), self.total // 2))
        self._runs = self._run_from = 0
        self._shown: InItsUnit | None = None

    def show_in_unit(self) -> None:
        """From now on the network predicts in the unit of the task between runs, as the weights of a bundle do.

        Federated learning makes several runs, and reads and sets the weights after each.
        """
        self._shown = InItsUnit(self.objective.network, self.units)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's own, which takes less than ignite's
        """Train; called again, go on.

        Raises:
            TrainingError: the loss or the weights are no longer finite, or the checkpoint cannot be written.
        """
        if self._shown is None:
            super().run()
            return
        # Not by events: there is none that an interrupted run and a failed one have, too.
        self._shown.enter()
        try:
            super().run()
        finally:
            self._shown.leave()

    def result(self) -> AttentionCNN:
        """What is kept: the moving average, or its best epoch, on the CPU, with values in their unit.

        Raises:
            TrainingError: its weights are not finite.
        """
        kept = copy.deepcopy(self._settled()).to("cpu")
        self.stop.keep(kept)
        if not _finite(kept):
            if self.checkpoint is not None:
                self.checkpoint.unlink(missing_ok=True)  # to continue from it would end here again
            raise _diverged("the weights are not finite at the end", self.objective.config)
        self.units.restore(kept)
        return kept

    def _settled(self) -> AttentionCNN:
        """The moving average, with statistics of its own where the steps were too few for the running ones."""
        if self.average.steps > SHORT:
            return cast(AttentionCNN, self.average.network)
        own = cast(AttentionCNN, copy.deepcopy(self.average.network))
        settle(own, self.objective.data, self.objective.config.batch_size, self.objective.config.seed)
        return own

    def _start_run(self) -> None:
        """Of federated learning: each round has a schedule of its own, or one would end at the full rate."""
        self._run_from = self.state.iteration if self._runs else 0
        self._runs += 1

    def _start_epoch(self) -> None:
        self.batches.epoch = self.state.epoch - 1
        self.running.clear()

    def _step(self, chosen: np.ndarray) -> dict[str, float]:
        """One step on the cases of these indices; their losses before it."""
        objective = self.objective
        network, data, config = objective.network, objective.data, objective.config
        step = self.state.iteration - 1 - self._run_from
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, self._warmup, self.total)
        strides = network.coarsest_stride, network.evidence_stride
        size = config.size_at(self.batches.epoch, data.images.shape[2:], *strides)
        losses = objective.losses(chosen, size, self.batches.generator)
        loss = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(loss)):
            raise _diverged(f"the loss is not finite at step {step}", config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        objective.processes.average_gradients(network)
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.average.update(network)
        values = {name: float(value.detach()) for name, value in losses.items()}
        for name, value in values.items():
            self.running[name] = 0.95 * self.running.get(name, value) + 0.05 * value
        return {"loss": sum(values.values()), **values}

    def _finish_epoch(self) -> None:
        epoch = self.state.epoch
        # The loss of a step is that before it: of what the last one did, only the weights tell.
        now = self._settled() if self.stop.measures else self.average.network
        if not _finite(now):
            raise _diverged(f"the weights are not finite after epoch {epoch}", self.objective.config)
        if self.stop.after(now, epoch):
            self.terminate()
        if self.checkpoint is not None:
            network = self.objective.network
            checkpoints.store(self.checkpoint, self.identity, epoch, network, self.average, self.optimizer, self.stop)


def _finite(network: nn.Module) -> bool:
    """Whether all weights and statistics are."""
    return all(bool(value.isfinite().all()) for value in network.state_dict().values())


def _diverged(what: str, config: TrainingConfig) -> TrainingError:
    """The error of a training whose numbers ran away."""
    weights = f", or class_weights={list(config.class_weights)}" if config.class_weights else ""
    return TrainingError("bad_config", f"{what}; lower learning_rate={config.learning_rate}{weights}")
