"""Stop when the validation metric no longer improves, and keep the weights of its best epoch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData


def outputs_on(network: nn.Module, data: TrainingData, batch: int = 16) -> np.ndarray:
    """Logits (or values) of prepared cases ``(N, K)``, in float32 on the CPU; the network ends in eval mode."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        return np.concatenate(
            [
                network(torch.from_numpy(data.images[i : i + batch].astype(np.float32)).to(device)).cpu().numpy()
                for i in range(0, len(data), batch)
            ]
        )


def macro_auc(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean area under the ROC curve over the classes that have both kinds of cases; 0.5 if none has."""
    from sklearn.metrics import roc_auc_score

    truth = targets > 0.5
    mixed = [k for k in range(truth.shape[1]) if truth[:, k].any() and not truth[:, k].all()]
    return float(np.mean([roc_auc_score(truth[:, k], logits[:, k]) for k in mixed])) if mixed else 0.5


class EarlyStop:
    """Watches a validation set; does nothing where ``config.patience`` is 0 or there is no such set."""

    def __init__(self, config: TrainingConfig, validation: TrainingData | None, task: TaskSpec) -> None:
        self.patience = config.patience if validation is not None else 0
        self.validation, self.task = validation, task
        self.best, self.best_epoch, self.stopped = -np.inf, 0, False
        self.weights: dict[str, Any] | None = None

    def after(self, network: nn.Module, epoch: int) -> bool:
        """Measure after an epoch; whether to stop."""
        if not self.patience or self.validation is None:
            return False
        training = network.training
        outputs = outputs_on(network, self.validation)
        network.train(training)
        if self.task.kind == "regression":
            score = -float(np.abs(outputs - self.validation.targets).mean())
        else:
            score = macro_auc(outputs, self.validation.targets)
        if score > self.best:
            self.best, self.best_epoch = score, epoch
            self.weights = copy.deepcopy(network.state_dict())
        self.stopped = epoch - self.best_epoch >= self.patience
        return self.stopped

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
