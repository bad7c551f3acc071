"""`medattn train`: a data list in, a bundle out."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core import datalists
from medattn_core.bundles import Bundle, check_target, save_bundle
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import expected_calibration_error, fit_temperature, fold_scale
from medattn_core.training.config import TrainingConfig, read_config
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.loop import Progress, fit
from medattn_core.training.plan import plan_network, plan_task


def train(
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | dict[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = False,
    validation_fold: int | None = None,
    progress: Progress | None = None,
    reading: Any = None,
) -> Bundle:
    """Train a model and write it as a bundle.

    Args:
        data: data list (JSON or CSV).
        output: bundle folder to write; appears only when whole.
        config: JSON file or dictionary with the optional parts ``task``, ``network``, ``training``, ``bundle``.
        epochs, seed: override the configuration.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: continue an interrupted run of the same settings.
        validation_fold: hold this fold out, measure on it, and fit the temperature there.
        progress: called after every step with (step, steps, losses).
        reading: called with (done, all) while images are read.

    Raises:
        MedAttnError: invalid data list, configuration or image; the code says which.
    """
    output = Path(output)
    parts = config if isinstance(config, dict) else read_config(Path(config)) if config is not None else {}
    cases = datalists.load(Path(data))
    task, size = plan_task(cases, dict(parts.get("task", {})), output.name)
    settings = TrainingConfig.from_dict(dict(parts.get("training", {})))
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    )
    network_settings = plan_network(task, dict(parts.get("network", {})))
    folds = np.array([-1 if case.fold is None else case.fold for case in cases])
    if validation_fold is not None and not (folds == validation_fold).any():
        raise TrainingError(
            "bad_config", f"validation fold {validation_fold}: no such fold; the list has {sorted(set(folds.tolist()))}"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("bad_argument", f"device {device!r}: this torch sees no CUDA device; accepted: auto, cpu")
    torch.manual_seed(settings.seed)
    try:
        network = AttentionCNN(**network_settings)
    except (TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"network settings: {error}") from error
    _check_before(output, task, size, network, network_settings)
    prepared = prepare(cases, task, size, reading)
    training = prepared if validation_fold is None else prepared.subset(folds != validation_fold)
    mean, spread = 0.0, 1.0
    if task.kind == "regression":
        mean, spread = float(training.targets.mean()), float(training.targets.std()) or 1.0
        training = replace(training, targets=(training.targets - mean) / spread)

    work = output.with_name(output.name + ".training")
    trained = fit(
        network, training, task, settings,
        device=device, checkpoint=work / "checkpoint.pt", resume=resume, progress=progress,
    ).to("cpu")  # fmt: skip
    if task.kind == "regression":
        fold_scale(trained, spread, mean)
    about = dict(parts.get("bundle", {}))
    metrics: dict[str, Any] = dict(about.get("metrics", {}))
    calibration: dict[str, Any] = {}
    if validation_fold is not None:
        metrics = _validate(trained, prepared.subset(folds == validation_fold), task)
        if "temperature" in metrics:
            calibration = {"temperature": metrics.pop("temperature"), "from": f"held-out fold {validation_fold}"}
    elif "temperature" in about:  # measured elsewhere, such as on the held-out folds of a cross-validation
        fold_scale(trained, 1.0 / float(about["temperature"]))
        calibration = {"temperature": float(about["temperature"]), "from": about.get("calibrated_on", "configuration")}
    bundle = save_bundle(
        output,
        task=task,
        network_settings=network_settings,
        state_dict=trained.state_dict(),
        description=about.get("description", task.description or f"{task.name}, trained with medattn train"),
        version=about.get("version", "0.1.0"),
        card=about.get("card", ""),
        data_license=about.get("data_license", "Licence of the training data: state it here before sharing."),
        metrics=metrics,
        calibration=calibration,
        training=settings.to_dict(),
    )
    shutil.rmtree(work, ignore_errors=True)
    return bundle


def _check_before(
    output: Path, task: TaskSpec, size: tuple[int, ...], network: AttentionCNN, settings: dict[str, Any]
) -> None:
    """Everything about the result that is knowable before hours of training: writes and loads an untrained bundle.

    Raises:
        MedAttnError: the name, target, size or network settings would be refused afterwards.
    """
    stride = network.evidence_stride
    if any(n % stride for n in size):
        raise TrainingError(
            "bad_config", f"training size {list(size)}: each must be a multiple of the evidence stride {stride}"
        )
    check_target(output)
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(
            Path(folder) / output.name,
            task=task,
            network_settings=settings,
            state_dict=network.state_dict(),
            description="a trial",
            version="0.0.0",
        )


def outputs_on(network: AttentionCNN, data: TrainingData, batch: int = 16) -> np.ndarray:
    """Logits (or values) of prepared cases ``(N, K)``, in float32 on the CPU."""
    network.eval()
    with torch.inference_mode():
        return np.concatenate(
            [
                network(torch.from_numpy(data.images[i : i + batch].astype(np.float32))).numpy()
                for i in range(0, len(data), batch)
            ]
        )


def _validate(network: AttentionCNN, data: TrainingData, task: TaskSpec) -> dict[str, float]:
    """Measure on the held-out fold; classification is calibrated there (the head is changed in place)."""
    logits = outputs_on(network, data)
    if task.kind == "regression":
        return {"mae": float(np.abs(logits - data.targets).mean())}
    temperature = fit_temperature(logits, data.targets, task)
    fold_scale(network, 1.0 / temperature)
    metrics = {"temperature": temperature}
    if task.kind == "multiclass":
        correct = logits.argmax(axis=1) == data.targets.argmax(axis=1)
        probability = task.probabilities(logits / temperature).max(axis=1)
        metrics |= {"accuracy": float(correct.mean()), "ece": expected_calibration_error(probability, correct)}
    return metrics
