"""`medattn train`: a data list in, a bundle out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from medattn_core import datalists
from medattn_core.arguments import path_of, truth_value, whole_number
from medattn_core.bundles import Bundle, Recipe, load
from medattn_core.bundles.save import as_stored
from medattn_core.device import resolve_device
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.ranges import Range
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
from medattn_core.training.reliability import HeldOut
from medattn_core.training.resolve import choose
from medattn_core.training.run import Asked, Run, Trained
from medattn_core.training.whole_images import outputs_of
from medattn_core.training.work_folder import (
    CHECKPOINT,
    alone,
    check_work_is_own,
    clear_logs,
    clear_work,
)
from medattn_core.training.written import input_check_of, write


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
    asked = Asked(
        data=data, output=output, section=section, folds=folds, validation_fold=validation_fold, resume=resume,
        overwrite=overwrite, device=device, processes=processes, say=say or (lambda _: None), progress=progress,
        reading=reading,
    )  # fmt: skip
    if output.name:  # a folder without a name is refused below
        check_work_is_own(asked.work)
    parts = {} if config is None else read_config(config)
    settings, start = _configured(asked, parts, epochs=epochs, seed=seed, start_from=start_from)
    run = _settled(asked, parts, settings, start)
    with alone(output) if processes.rank == 0 else nullcontext():
        ready = finished(output, asked.work, resume=resume, overwrite=overwrite, settings=run.identity())
        if ready is not None:
            asked.say(f"{output}: finished already; --overwrite trains it anew")
            return ready
        if resume:
            check_work(asked.work, output, len(run.held_out))
        prepared = _read(run)
        return _shared(run, _train_all(run, prepared), prepared)


def _configured(
    asked: Asked,
    parts: Mapping[str, Mapping[str, Any]],
    *,
    epochs: int | None,
    seed: int | None,
    start_from: str | os.PathLike[str] | None,
) -> tuple[TrainingConfig, Bundle | None]:
    """The settings with what overrides them, and the bundle to start from."""
    check_about(dict(parts.get("bundle", {})))
    settings = TrainingConfig.from_dict(dict(parts.get("training", {})))
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    ).for_device(asked.device)
    first = settings.initial_weights if start_from is None else start_from
    start = bundle_named(first) if names_bundle(first) else None
    # By its own name: paths stay at home.
    settings = replace(settings, initial_weights=start.name if start is not None else os.fspath(first))
    if settings.precision == "bf16" and not fast_bf16(asked.device):
        asked.say("precision bf16: this processor lacks it and takes many times as long; fp32 or auto is faster")
    return settings, start


def _settled(asked: Asked, parts: dict[str, dict[str, Any]], settings: TrainingConfig, start: Bundle | None) -> Run:
    """Who trains and who is held out, task, network and settings: all that is knowable from the list, and checked."""
    data, section, folds, say = asked.data, asked.section, asked.folds, asked.say
    about = parts.get("bundle", {})
    cases, held_out, where = gather(
        data, section=section, folds=folds, validation_fold=asked.validation_fold, seed=settings.seed, say=say
    )
    check_truth(data, cases, say, section=section)
    task, size, network, settings = choose(
        data, cases, asked.output.name, parts, settings, start=start, held_out=held_out[0], say=say
    )
    check_listed(cases, held_out, task)
    if not where:
        say(
            "no case is held out: nothing will be measured, and probabilities are not calibrated; --folds K or "
            "--validation-fold N hold some out"
        )
    strides = check_before(
        asked.output, task, size, network, settings,
        about=about, held_out=bool(where), processes=asked.processes.count, start=start,
    )  # fmt: skip
    if settings.start_size < 1:
        say(settings.growth(size, *strides))
    started_from = {} if start is None else origin_of(start)
    whole_list = bool(where) and folds is None and asked.validation_fold is None
    recipe = Recipe(
        data_list=data.name, size=size, hold_out=None if folds else asked.validation_fold, section=section,
        scored_section=HELD_OUT_SECTION if whole_list else section if len(datalists.sections(data)) > 1 else None,
        watched=bool(settings.patience) and bool(where) and folds is None, started_from=started_from,
    )  # fmt: skip
    return Run(
        asked=asked, cases=cases, held_out=held_out, where=where, task=task, size=size, network=network,
        settings=settings, about=about, start=start, started_from=started_from,
        trained_on=fingerprint(data, cases, held_out), recipe=recipe,
    )  # fmt: skip


def _read(run: Run) -> TrainingData:
    """The images, what is to be said of them, and an empty folder for the checkpoints of a new training."""
    asked, cases, say = run.asked, run.cases, run.asked.say
    others = asked.processes.rank > 0
    with nullcontext() if (asked.resume and not asked.overwrite) or others else begun(asked.work):
        prepared = prepare(cases, run.task, run.size, asked.reading)
        say_noticed(prepared.notices, say)
        say_pictures(cases, prepared.pictures, run.task, say)
        say_unused(cases, prepared.located, say)
        say_unlabelled(cases, prepared.located, say)
        say_cropped(cases, prepared.cropped, run.size, say)
        check_labels(prepared, run.held_out, run.task)
    if not asked.resume and not others:
        clear_work(asked.work)  # checkpoints of an earlier run, which a later `resume` would take for this one's
        asked.work.mkdir(parents=True, exist_ok=True)
        clear_logs(asked.log_dir, len(run.held_out))
    return prepared


def _train_all(run: Run, prepared: TrainingData) -> Trained:
    """A network for each fold, and what it says of the cases that it has not seen."""
    done = Trained(members=[], found=[], kept=[])
    several = len(run.held_out) > 1

    def tell(text: str) -> None:
        done.kept.append(text)
        run.asked.say(text)

    for number, chosen in enumerate(run.held_out):
        if several:
            share = f"{int((~chosen).sum())} cases train, {int(chosen.sum())} test"
            run.asked.say(f"fold {number + 1} of {len(run.held_out)}: {share}")
        network = _train_one(run, prepared, chosen, number if several else None, tell)
        network.load_state_dict(as_stored(network.state_dict()))  # what is measured is what is saved
        if chosen.any():
            test = prepared.subset(chosen)
            outputs = outputs_of(network.to(run.asked.processes.device), test)
            done.found.append(
                HeldOut(outputs=outputs, targets=test.targets, patients=test.patients, named=test.patients_named)
            )
        done.members.append(network.to("cpu"))
    return done


def _shared(run: Run, trained: Trained, prepared: TrainingData) -> Bundle:
    """The bundle that the first process writes, and the others wait for."""
    output, processes = run.asked.output, run.asked.processes
    if processes.rank > 0:
        if not processes.agree(True):
            raise TrainingError("unwritable", f"{output}: the first process did not write it; its message says why")
        return load(output)
    try:
        bundle = write(run, trained, input_check_of(run, trained, prepared))
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


def _of_all(progress: Progress | None, number: int, folds: int) -> Progress | None:
    """Progress over all folds, each as long as the one that is trained: the time left is that of the whole training."""
    if progress is None or folds == 1:
        return progress
    return lambda step, steps, losses: progress(number * steps + step, folds * steps, losses)


def _train_one(
    run: Run, prepared: TrainingData, held_out: np.ndarray, number: int | None, tell: Callable[[str], None]
) -> AttentionCNN:
    """Train on what is not held out; the network gives logits, or values in their unit."""
    asked = run.asked
    training = prepared.subset(~held_out)
    validation = prepared.subset(held_out) if held_out.any() else None
    settings = replace(run.settings, seed=run.settings.seed + (number or 0))
    torch.manual_seed(settings.seed)
    network = network_of(run.network)
    work = asked.work if number is None else asked.work / f"fold{number}"
    return fit(
        network, training, run.task, settings,
        device=asked.device, checkpoint=work / CHECKPOINT, resume=asked.resume,
        progress=_of_all(asked.progress, number or 0, len(run.held_out)), validation=validation,
        log_dir=asked.log_dir if number is None else asked.log_dir / work.name,
        network_settings=run.network, start=run.start,
        tell=lambda text: tell(text if number is None else f"fold {number + 1}: {text}"),
    )  # fmt: skip
