"""`medattn train`: a data list in, a bundle out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core import datalists
from medattn_core.arguments import path_of, truth_value, whole_number
from medattn_core.bundles import Bundle, Recipe, load, save_bundle
from medattn_core.bundles.save import as_stored
from medattn_core.bundles.trust import InputCheck
from medattn_core.device import resolve_device
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.ranges import Range
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import FEWEST, fold_scale
from medattn_core.training.card_text import evaluation_text
from medattn_core.training.config import TrainingConfig, check_about, read_config
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.from_bundle import bundle_named, origin_of
from medattn_core.training.held_out import (
    HELD_OUT_SECTION,
    check_labels,
    check_listed,
    check_truth,
    fingerprint,
    gather,
    say_cropped,
    say_noticed,
    say_pictures,
    say_unlabelled,
    say_unused,
)
from medattn_core.training.initial import names_bundle
from medattn_core.training.loop import Progress, fit
from medattn_core.training.precision import fast_bf16
from medattn_core.training.preflight import (
    begun,
    check_before,
    check_installed,
    check_work,
    finished,
    network_of,
)
from medattn_core.training.processes import Processes
from medattn_core.training.reliability import HeldOut, assess, learn_input_check
from medattn_core.training.resolve import choose
from medattn_core.training.whole_images import outputs_of
from medattn_core.training.work_folder import (
    CHECKPOINT,
    alone,
    check_work_is_own,
    clear_logs,
    clear_work,
    logs_of,
    work_of,
)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every fold of a training shares."""

    task: TaskSpec
    network: dict[str, Any]
    settings: TrainingConfig
    device: str
    work: Path
    resume: bool
    log_dir: Path
    progress: Progress | None
    trained_on: str
    start: Bundle | None


def train(
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    start_from: str | os.PathLike[str] | None = None,
    device: str = "auto",
    resume: bool = False,
    validation_fold: int | None = None,
    folds: int | None = None,
    section: str = datalists.TRAINING_SECTION,
    overwrite: bool = False,
    progress: Progress | None = None,
    reading: Any = None,
    say: Callable[[str], None] | None = None,
) -> Bundle:
    """Train a model and write it as a bundle.

    Args:
        data: data list (JSON or CSV).
        output: bundle folder to write; appears only when whole.
        config: JSON or YAML file, or a dictionary, with the optional parts ``task``, ``network``, ``training`` and
            ``bundle`` (``docs/settings.md``). In regression ``network.bias`` is the value, in its unit, above which the
            evidence counts: zero by default. Of a dictionary the parts ``task`` and ``training`` may be a TaskSpec and
            a TrainingConfig.
        epochs, seed: override the configuration. Whole numbers may be numpy's here, or written ``8.0``, and so in
            ``validation_fold`` and ``folds``.
        start_from: bundle whose weights are the first, and whose grid and network are kept where the configuration
            names no other; or ``imagenet``. Overrides ``initial_weights`` of the configuration.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:N`` of several cards.
        resume: continue an interrupted run of the same settings; a finished one is given back as it is.
        validation_fold: hold this fold out, measure on it, and calibrate there. Without it and ``folds``, the list
            ``validation`` of a JSON data list is held out, if there is one.
        folds: cross-validate over so many patient-wise folds (those of the list, where it names them) and keep all
            models as an ensemble; calibrated on the held-out cases.
        section: the list within a JSON data list that is trained on.
        overwrite: replace a bundle that lies at ``output``.
        progress: called after every step with (step, steps, losses).
        reading: called with (done, all) while images are read.
        say: called with lines for a person: what was chosen, what was measured.

    Raises:
        MedAttnError: invalid data list, configuration or image; the code says which.
    """
    check_installed()
    epochs, seed = _whole("epochs", epochs), _whole("seed", seed)
    validation_fold, folds = _whole("validation_fold", validation_fold), _whole("folds", folds)
    for name, value in (("resume", resume), ("overwrite", overwrite)):
        truth_value(name, value, kind=TrainingError)
    data, output = path_of("data", data), path_of("output", output)
    # Of several processes each takes a card of its own, and none touches that of another.
    device = resolve_device(device, used=int(os.environ.get("WORLD_SIZE", "1")) == 1)
    processes = Processes(device)
    if processes.rank > 0:  # the first process speaks and writes for all
        say = progress = reading = None
    say = say or (lambda _: None)
    if output.name:  # a folder without a name is refused below
        check_work_is_own(work_of(output))
    parts = {} if config is None else read_config(config)
    about = parts.get("bundle", {})
    check_about(about)
    settings = TrainingConfig.from_dict(parts.get("training", {}))
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    ).for_device(device)
    first = settings.initial_weights if start_from is None else start_from
    start = bundle_named(first) if names_bundle(first) else None
    # By its own name: paths stay at home.
    settings = replace(settings, initial_weights=start.name if start is not None else os.fspath(first))
    if settings.precision == "bf16" and not fast_bf16(device):
        say("precision bf16: this processor lacks it and takes many times as long; fp32 or auto is faster")
    cases, held_out, where = gather(
        data, section=section, folds=folds, validation_fold=validation_fold, seed=settings.seed, say=say
    )
    check_truth(data, cases, say, section=section)
    task, size, network_settings, settings = choose(
        data, cases, output.name, parts, settings, start=start, held_out=held_out[0], say=say
    )
    check_listed(cases, held_out, task)
    if not where:
        say(
            "no case is held out: nothing will be measured, and probabilities are not calibrated; --folds K or "
            "--validation-fold N hold some out"
        )
    strides = check_before(
        output, task, size, network_settings, settings,
        about=about, held_out=bool(where), processes=processes.count, start=start,
    )  # fmt: skip
    if settings.start_size < 1:
        say(settings.growth(size, *strides))
    work = work_of(output)
    trained_on = fingerprint(data, cases, held_out)
    started_from = {} if start is None else origin_of(start)
    plain = {"task": task.to_dict(), "network": network_settings, "training": settings.to_dict(),
             "trained_on": trained_on, **({"started_from": started_from} if started_from else {})}  # fmt: skip
    with alone(output) if processes.rank == 0 else nullcontext():
        ready = finished(output, work, resume=resume, overwrite=overwrite, settings=json.loads(json.dumps(plain)))
        if ready is not None:
            say(f"{output}: finished already; --overwrite trains it anew")
            return ready
        if resume:
            check_work(work, output, len(held_out))
        with nullcontext() if (resume and not overwrite) or processes.rank > 0 else begun(work):
            prepared = prepare(cases, task, size, reading)
            say_noticed(prepared.notices, say)
            say_pictures(cases, prepared.pictures, task, say)
            say_unused(cases, prepared.located, say)
            say_unlabelled(cases, prepared.located, say)
            say_cropped(cases, prepared.cropped, size, say)
            check_labels(prepared, held_out, task)
        if not resume and processes.rank == 0:
            clear_work(work)  # checkpoints of an earlier run, which a later `resume` would take for this one's
            work.mkdir(parents=True, exist_ok=True)
            clear_logs(logs_of(output), len(held_out))
        whole_list = bool(where) and folds is None and validation_fold is None
        recipe = Recipe(
            data_list=data.name, size=size, hold_out=None if folds else validation_fold, section=section,
            scored_section=HELD_OUT_SECTION if whole_list else section if len(datalists.sections(data)) > 1 else None,
            watched=bool(settings.patience) and bool(where) and folds is None, started_from=started_from,
        )  # fmt: skip
        run = _Run(
            task=task,
            network=network_settings,
            settings=settings,
            device=device,
            work=work,
            resume=resume,
            log_dir=logs_of(output),
            progress=progress,
            trained_on=trained_on,
            start=start,
        )
        members, found = [], []
        kept: list[str] = []

        def tell(text: str) -> None:
            kept.append(text)
            say(text)

        for number, chosen in enumerate(held_out):
            if len(held_out) > 1:
                share = f"{int((~chosen).sum())} cases train, {int(chosen.sum())} test"
                say(f"fold {number + 1} of {len(held_out)}: {share}")
            whole = replace(run, progress=_of_all(progress, number, len(held_out)))
            trained = _train_one(whole, prepared, chosen, number if len(held_out) > 1 else None, tell)
            trained.load_state_dict(as_stored(trained.state_dict()))  # what is measured is what is saved
            if chosen.any():
                test = prepared.subset(chosen)
                outputs = outputs_of(trained.to(processes.device), test)
                found.append(
                    HeldOut(outputs=outputs, targets=test.targets, patients=test.patients, named=test.patients_named)
                )
            members.append(trained.to("cpu"))
        if processes.rank > 0:
            if not processes.agree(True):
                raise TrainingError("unwritable", f"{output}: the first process did not write it; its message says why")
            return load(output)
        try:
            input_check = learn_input_check(members[0].to(processes.device), prepared, held_out[0])
            if input_check is None and len(prepared) >= FEWEST:
                say(
                    "the features of all cases are equal: the network has learnt nothing, and no input check is "
                    "stored; a smaller learning_rate may help"
                )
            members[0].to("cpu")
            bundle = _write(run, output, members, found, kept, where, about, recipe, say, input_check)
        except BaseException:
            processes.agree(False)  # the others wait for the bundle
            raise
        processes.agree(True)
        return bundle


FOLDS = {"validation_fold": Range(low=0), "folds": Range(low=2)}
"""What says who is held out."""


def _whole(name: str, value: Any) -> int | None:
    """A number that :func:`train` is given: late it would end a training, or stand in the bundle as no JSON."""
    code = "bad_argument" if name in FOLDS else "bad_config"
    accepted = {**TrainingConfig.ranges, **FOLDS}[name]
    return None if value is None else whole_number(name, value, accepted, code=code, kind=TrainingError)


def _write(
    run: _Run,
    output: Path,
    members: Sequence[AttentionCNN],
    found: Sequence[HeldOut],
    kept: Sequence[str],
    where: str,
    about: dict[str, Any],
    recipe: Recipe,
    say: Callable[[str], None],
    input_check: InputCheck | None,
) -> Bundle:
    """Calibrate, measure, say it and write the bundle."""
    task = run.task
    metrics, calibration = dict(about.get("metrics", {})), dict(about.get("calibration", {}))
    if found:
        metrics, calibration = assess(found, task)
        calibration["from"] = where
        if run.start is not None:
            calibration["start"] = f"cases that bundle {run.start.name} was trained on are measured too well"
        if kept:
            calibration["kept"] = list(kept)
        if run.settings.patience:
            calibration["epoch"] = (
                "chosen on the same cases (patience): metrics and calibration are too optimistic for that reason"
            )
    offset = np.array([calibration.get("offset", {}).get(label, 0.0) for label in task.labels])
    for trained in members:
        fold_scale(trained, 1.0 / float(calibration.get("temperature", 1.0)), offset)
    for name, value in metrics.items():
        say(f"{name.replace('_', ' ')} {value:.4g}")
    if task.threshold is None and metrics.get("label_sensitivity", 1.0) < 0.5:
        say("fewer than half of the labels that are there reach a probability of one half: to say them earlier, name a "
            "`threshold` in the task")  # fmt: skip
    for name in ("note", "epoch", "start", "of"):
        if name in calibration and found:
            say(f"calibration: {calibration[name]}")
    bundle = save_bundle(
        output,
        task=task,
        network_settings=run.network,
        state_dict=members[0].state_dict(),
        members=[member.state_dict() for member in members[1:]],
        description=about.get("description", task.description or f"{task.name}, trained with medattn train"),
        version=about.get("version", "0.1.0"),
        card=about.get("card", ""),
        data_license=about.get("data_license", "Licence of the training data: state it here before sharing."),
        metrics=metrics,
        calibration=calibration,
        input_check=input_check,
        training=run.settings.to_dict(),
        recipe=recipe,
        trained_on=run.trained_on,
        evaluation=evaluation_text(found, where, calibration, stated=bool(metrics)),
    )
    clear_work(run.work)
    if run.work.is_dir():
        say(f"{run.work}: kept, for it holds files that are not of the training; move them before the next one")
    return bundle


def _of_all(progress: Progress | None, number: int, folds: int) -> Progress | None:
    """Progress over all folds, each as long as the one that is trained: the time left is that of the whole training."""
    if progress is None or folds == 1:
        return progress
    return lambda step, steps, losses: progress(number * steps + step, folds * steps, losses)


def _train_one(
    run: _Run, prepared: TrainingData, held_out: np.ndarray, number: int | None, tell: Callable[[str], None]
) -> AttentionCNN:
    """Train on what is not held out; the network gives logits, or values in their unit."""
    training = prepared.subset(~held_out)
    validation = prepared.subset(held_out) if held_out.any() else None
    settings = replace(run.settings, seed=run.settings.seed + (number or 0))
    torch.manual_seed(settings.seed)
    network = network_of(run.network)
    work = run.work if number is None else run.work / f"fold{number}"
    return fit(
        network, training, run.task, settings,
        device=run.device, checkpoint=work / CHECKPOINT, resume=run.resume, progress=run.progress,
        validation=validation, log_dir=run.log_dir if number is None else run.log_dir / work.name,
        network_settings=run.network, start=run.start,
        tell=lambda text: tell(text if number is None else f"fold {number + 1}: {text}"),
    )  # fmt: skip
