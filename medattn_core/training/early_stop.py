"""Stop when the validation metric no longer improves, and keep the weights of its best epoch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from medattn_core.metrics.ranking import macro_auc, mixed, ranking
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import negative_log_likelihood
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData


def outputs_on(network: nn.Module, data: TrainingData, batch: int = 16) -> np.ndarray:
    """Logits (or values) of prepared cases ``(N, K)``, in float32 on the CPU; the network ends in eval mode."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        return np.concatenate(
            [
                network(torch.from_numpy(data.images[i : i + batch]).to(device).float()).cpu().numpy()
                for i in range(0, len(data), batch)
            ]
        )


class EarlyStop:
    """Watches a validation set; does nothing where ``config.patience`` is 0 or there is no such set.

    The score is the macro AUC; the negative mean absolute error in regression; the negative likelihood loss where the
    set has not both kinds of cases of any label, and so no AUC. While images still grow (``config.start_size``) the
    epochs without a better score do not count: the network is then still at the coarse.

    Args:
        config, validation, task: of the training.
        watch: measure without stopping or choosing, for the curve of the logs.
        full_from: first epoch of images of the whole size.
    """

    def __init__(
        self,
        config: TrainingConfig,
        validation: TrainingData | None,
        task: TaskSpec,
        watch: bool = False,
        full_from: int = 0,
    ) -> None:
        self.patience = config.patience if validation is not None else 0
        self.epochs = config.epochs
        self.validation, self.task = validation, task
        self.best, self.best_epoch, self.stopped = -np.inf, 0, False
        self.last: float | None = None
        self.watch = watch
        self.weights: dict[str, Any] | None = None
        self.full_from = full_from

    @property
    def measures(self) -> bool:
        """Whether :meth:`after` looks at the network."""
        return self.validation is not None and bool(self.patience or self.watch)

    def after(self, network: nn.Module, epoch: int) -> bool:
        """Measure after an epoch; whether to stop."""
        if self.validation is None or not (self.patience or self.watch):
            return False
        training = network.training
        outputs = outputs_on(network, self.validation)
        network.train(training)
        score = self.score(outputs, self.validation.targets)
        self.last = score
        if score > self.best:
            self.best, self.best_epoch = score, epoch
            self.weights = copy.deepcopy(network.state_dict()) if self.patience else None
        if not self.patience:
            return False
        self.stopped = epoch - max(self.best_epoch, self.full_from) >= self.patience
        return self.stopped

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        """What is to grow, of outputs ``(N, K)`` on the validation set."""
        if self.task.kind == "regression":
            return -float(np.abs(outputs - targets).mean())
        auc = macro_auc(ranking(outputs, self.task), targets)
        return auc if np.isfinite(auc) else -negative_log_likelihood(outputs, targets, self.task)

    def told(self, last: int, spread: float = 1.0) -> str:
        """Which epoch is kept, and how it scored, in words; none where the last one is kept, unchosen.

        Args:
            last: epoch after which the training ended.
            spread: standard deviation of the targets of a regression, by which its score comes into their unit.
        """
        if self.validation is None or self.weights is None:
            return ""
        if self.task.kind == "regression":
            score = f"mean absolute error {-spread * self.best:.4g} {self.task.unit}".rstrip()
        elif mixed(self.validation.targets > 0.5).any():
            score = f"macro AUC {self.best:.4g}"
        else:
            score = f"loss {-self.best:.4g}"
        stopped = f"stopped after epoch {last}; " if self.stopped and last < self.epochs else ""
        return f"{stopped}epoch {self.best_epoch} is kept (validation {score})"

    def keep(self, network: nn.Module) -> None:
        """Put the weights of the best epoch into the network."""
        if self.weights is not None:
            network.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": float(self.best), "best_epoch": self.best_epoch, "stopped": self.stopped,
                "weights": self.weights}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.stopped, self.weights = state["stopped"], state["weights"]
