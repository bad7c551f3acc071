"""What held-out cases say about a model: measures, temperature, conformal sets, when to abstain, what is unusual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medattn_core.bundles.trust import InputCheck
from medattn_core.networks.attention import attended_features
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import (
    expected_calibration_error,
    fit_abstain,
    fit_confidence,
    fit_conformal,
    fit_conformal_value,
    fit_temperature,
)
from medattn_core.training.data import TrainingData
from medattn_core.training.early_stop import macro_auc
from medattn_core.training.input_check import fit_input_check

FEWEST = 20
"""Held-out cases from which a conformal quantile or a rule to abstain is worth stating."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Outputs ``(N, K)`` of a model (logits before calibration, or values) on cases it has not seen, and the truth."""

    outputs: np.ndarray
    targets: np.ndarray


def assess(found: Sequence[HeldOut], task: TaskSpec) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and calibration record from one or several held-out folds.

    With several folds the calibration error is that of each fold with the temperature of the others; with one it is
    measured where the temperature was fitted.

    Args:
        found: one entry a fold.
        task: of the model.
    """
    outputs = np.concatenate([f.outputs for f in found])
    targets = np.concatenate([f.targets for f in found])
    if task.kind == "regression":
        residuals = (outputs - targets)[:, 0]
        total = float(((targets - targets.mean()) ** 2).sum())
        metrics = {"mae": float(np.abs(residuals).mean()), "r2": 1 - float((residuals**2).sum()) / max(total, 1e-12)}
        enough = len(residuals) >= FEWEST
        return metrics, {"conformal": fit_conformal_value(residuals)} if enough else {}
    temperature = fit_temperature(outputs, targets, task)
    calibration: dict[str, Any] = {"temperature": temperature}
    metrics = {"auc": float(np.mean([macro_auc(f.outputs, f.targets) for f in found]))}
    if task.kind != "multiclass":
        return metrics, calibration
    probabilities = task.probabilities(outputs / temperature)
    metrics["accuracy"] = float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
    metrics["ece"] = float(np.mean([_ece(found, index, temperature, task) for index in range(len(found))]))
    if len(outputs) >= FEWEST:
        calibration["confidence"] = fit_confidence(probabilities, targets)
        calibration["conformal"] = fit_conformal(probabilities, targets)
        abstain = fit_abstain(probabilities, targets)
        if abstain is not None:
            calibration["abstain"] = abstain
    return metrics, calibration


def _ece(found: Sequence[HeldOut], index: int, temperature: float, task: TaskSpec) -> float:
    others = [f for i, f in enumerate(found) if i != index]
    if others:
        temperature = fit_temperature(
            np.concatenate([f.outputs for f in others]), np.concatenate([f.targets for f in others]), task
        )
    own = found[index]
    probability = task.probabilities(own.outputs / temperature).max(axis=1)
    return expected_calibration_error(probability, own.outputs.argmax(axis=1) == own.targets.argmax(axis=1))


@torch.inference_mode()
def features_of(network: AttentionCNN, data: TrainingData, batch: int = 16) -> np.ndarray:
    """What the network looked at in each case, ``(N, F)``."""
    network.eval()
    found = []
    for start in range(0, len(data), batch):
        features = network.features(torch.from_numpy(data.images[start : start + batch].astype(np.float32)))
        found.append(attended_features(features, network.pool(features).weights).numpy())
    return np.concatenate(found)


def learn_input_check(network: AttentionCNN, data: TrainingData, held_out: np.ndarray) -> InputCheck | None:
    """From the held-out cases where there are enough of them, else from all; None for a handful of cases.

    Features of training cases lie closer together than those of new ones, so a limit from them would cry wolf.
    """
    chosen = held_out if held_out.sum() >= FEWEST else np.ones(len(data), bool)
    if chosen.sum() < FEWEST:
        return None
    some = data.subset(chosen)
    return fit_input_check(features_of(network, some), data.statistics)
