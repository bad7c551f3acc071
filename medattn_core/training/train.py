"""`medattn train`: a data list in, a bundle out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core import datalists
from medattn_core.bundles import BUNDLE_NAME, Bundle, Recipe, check_target, load, save_bundle
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import fold_scale
from medattn_core.training.config import TrainingConfig, read_config
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.early_stop import outputs_on
from medattn_core.training.folds import assign
from medattn_core.training.loop import Progress, fit
from medattn_core.training.plan import describe, plan_network, plan_task
from medattn_core.training.processes import Processes
from medattn_core.training.reliability import HeldOut, assess, learn_input_check


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every fold of a training shares."""

    task: TaskSpec
    network: dict[str, Any]
    settings: TrainingConfig
    device: str
    work: Path
    resume: bool
    progress: Progress | None


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
    folds: int | None = None,
    progress: Progress | None = None,
    reading: Any = None,
    say: Callable[[str], None] | None = None,
) -> Bundle:
    """Train a model and write it as a bundle.

    Args:
        data: data list (JSON or CSV).
        output: bundle folder to write; appears only when whole.
        config: JSON file or dictionary with the optional parts ``task``, ``network``, ``training``, ``bundle``. In
            regression ``network.bias`` is the value, in its unit, above which the evidence counts: zero by default.
        epochs, seed: override the configuration.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: continue an interrupted run of the same settings.
        validation_fold: hold this fold out, measure on it, and calibrate there.
        folds: cross-validate over so many patient-wise folds (those of the list, where it names them) and keep all
            models as an ensemble; calibrated on the held-out cases.
        progress: called after every step with (step, steps, losses).
        reading: called with (done, all) while images are read.
        say: called with lines for a person: what was chosen, what was measured.

    Raises:
        MedAttnError: invalid data list, configuration or image; the code says which.
    """
    output = Path(output)
    processes = Processes()
    if processes.rank > 0:  # the first process speaks and writes for all
        say = progress = reading = None
    say = say or (lambda _: None)
    parts = config if isinstance(config, dict) else read_config(Path(config)) if config is not None else {}
    cases = datalists.load(Path(data))
    try:
        task, size = plan_task(cases, dict(parts.get("task", {})), output.name)
    except (TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"task settings: {error}; see TaskSpec for what each key takes") from error
    settings = TrainingConfig.from_dict(dict(parts.get("training", {})))
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    )
    device = _device(device)
    settings = settings.for_device(device)
    network_settings = plan_network(task, dict(parts.get("network", {})))
    for line in describe(task, size, network_settings, settings):
        say(line)
    held_out = _held_out(cases, folds, validation_fold, settings.seed)
    _check_before(output, task, size, network_settings, settings)
    prepared = prepare(cases, task, size, reading)
    _check_labels(prepared, held_out, task)
    run = _Run(
        task=task,
        network=network_settings,
        settings=settings,
        device=device,
        work=output.with_name(output.name + ".training"),
        resume=resume,
        progress=progress,
    )
    members, found = [], []
    for number, chosen in enumerate(held_out):
        if len(held_out) > 1:
            say(f"fold {number + 1} of {len(held_out)}: {int((~chosen).sum())} cases train, {int(chosen.sum())} test")
        trained = _train_one(run, prepared, chosen, number if len(held_out) > 1 else None)
        members.append(trained)
        if chosen.any():
            test = prepared.subset(chosen)
            found.append(HeldOut(outputs=outputs_on(trained, test), targets=test.targets))
    about = dict(parts.get("bundle", {}))
    where = "the held-out folds of the cross-validation" if len(found) > 1 else f"held-out fold {validation_fold}"
    metrics, calibration = dict(about.get("metrics", {})), dict(about.get("calibration", {}))
    if found:
        metrics, calibration = assess(found, task)
        calibration["from"] = where
    if processes.rank > 0:
        processes.wait()
        return load(output)
    for trained in members:
        fold_scale(trained, 1.0 / float(calibration.get("temperature", 1.0)))
    for name, value in metrics.items():
        say(f"{name.replace('_', ' ')} {value:.4g}")
    bundle = save_bundle(
        output,
        task=task,
        network_settings=network_settings,
        state_dict=members[0].state_dict(),
        members=[member.state_dict() for member in members[1:]],
        description=about.get("description", task.description or f"{task.name}, trained with medattn train"),
        version=about.get("version", "0.1.0"),
        card=about.get("card", ""),
        data_license=about.get("data_license", "Licence of the training data: state it here before sharing."),
        metrics=metrics,
        calibration=calibration,
        input_check=learn_input_check(members[0], prepared, held_out[0]),
        training=settings.to_dict(),
        recipe=Recipe(data_list=Path(data).name, size=size, hold_out=None if folds else validation_fold),
    )
    shutil.rmtree(run.work, ignore_errors=True)
    processes.wait()
    return bundle


def _held_out(
    cases: list[datalists.Case], folds: int | None, validation_fold: int | None, seed: int
) -> list[np.ndarray]:
    """Boolean masks of the cases that each run holds out; one mask of none where everything trains."""
    if folds is not None:
        if validation_fold is not None:
            raise TrainingError("bad_argument", "folds and validation_fold: one of them, not both")
        number = assign(cases, folds, seed)
        return [number == fold for fold in sorted(set(number.tolist()))]
    listed = np.array([-1 if case.fold is None else case.fold for case in cases])
    if validation_fold is None:
        return [np.zeros(len(cases), bool)]
    if not (listed == validation_fold).any():
        folds_listed = sorted(set(listed.tolist()) - {-1})
        what = f"the list has {folds_listed}" if folds_listed else "the list names no folds (column `fold`)"
        raise TrainingError("bad_config", f"validation fold {validation_fold}: no such fold; {what}")
    return [listed == validation_fold]


def _check_labels(prepared: TrainingData, held_out: list[np.ndarray], task: TaskSpec) -> None:
    """Every label must be among what is trained on; a patient-wise split of few patients may lose one."""
    if task.kind == "regression":
        return
    for number, chosen in enumerate(held_out, start=1):
        shown = prepared.targets[~chosen].max(axis=0, initial=0)
        missing = [label for label, some in zip(task.labels, shown, strict=True) if some == 0]
        if missing:
            where = f"fold {number} of {len(held_out)} would train" if len(held_out) > 1 else "it would be trained"
            raise TrainingError(
                "bad_config",
                f"{where} without a case of {missing[0]!r}: use fewer folds, or spread it over more patients",
            )


def _train_one(run: _Run, prepared: TrainingData, held_out: np.ndarray, number: int | None) -> AttentionCNN:
    """Train on what is not held out; the network gives logits, or values in their unit."""
    training = prepared.subset(~held_out)
    validation = prepared.subset(held_out) if held_out.any() else None
    settings = replace(run.settings, seed=run.settings.seed + (number or 0))
    torch.manual_seed(settings.seed)
    network = _network(run.network)
    work = run.work if number is None else run.work / f"fold{number}"
    logs = run.work.with_name(run.work.name.removesuffix(".training") + ".logs")
    return fit(
        network, training, run.task, settings,
        device=run.device, checkpoint=work / "checkpoint.pt", resume=run.resume, progress=run.progress,
        validation=validation, log_dir=logs if number is None else logs / work.name,
    )  # fmt: skip


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("bad_argument", f"device {device!r}: this torch sees no CUDA device; accepted: auto, cpu")
    return device


def _network(settings: dict[str, Any]) -> AttentionCNN:
    try:
        return AttentionCNN(**settings)
    except (TypeError, ValueError) as error:
        raise TrainingError("bad_config", f"network settings: {error}") from error


def _check_before(
    output: Path, task: TaskSpec, size: tuple[int, ...], settings: dict[str, Any], training: TrainingConfig
) -> None:
    """Everything about the result that is knowable before hours of training: writes and loads an untrained bundle.

    Raises:
        MedAttnError: the name, target, size or network settings would be refused afterwards.
    """
    network = _network(settings)
    stride = network.evidence_stride
    if any(n % stride for n in size):
        raise TrainingError(
            "bad_config", f"training size {list(size)}: each must be a multiple of the evidence stride {stride}"
        )
    if len(training.class_weights) not in (0, len(task.labels)):
        raise TrainingError(
            "bad_config", f"class_weights has {len(training.class_weights)} values for {len(task.labels)} labels"
        )
    check_target(output)
    if not BUNDLE_NAME.fullmatch(output.name):
        raise TrainingError(
            "bad_argument", f"{output}: name {output.name!r}; letters, digits, '.', '_', '-' are accepted"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent):
            pass
    except OSError as error:
        raise TrainingError("unwritable", f"{output}: {error.strerror}; choose a folder that may be written") from error
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(
            Path(folder) / output.name,
            task=task,
            network_settings=settings,
            state_dict=network.state_dict(),
            description="a trial",
            version="0.0.0",
        )
