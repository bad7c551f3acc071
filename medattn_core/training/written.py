"""The end of a training: calibration, measures, what is said of them, and the bundle."""

from __future__ import annotations

import numpy as np

from medattn_core.bundles import Bundle, save_bundle
from medattn_core.bundles.trust import InputCheck
from medattn_core.training.calibration import FEWEST, fold_scale
from medattn_core.training.card_text import evaluation_text
from medattn_core.training.data import TrainingData
from medattn_core.training.reliability import assess, learn_input_check
from medattn_core.training.run import Run, Trained
from medattn_core.training.work_folder import clear_work


def input_check_of(run: Run, trained: Trained, prepared: TrainingData) -> InputCheck | None:
    """The input check of the first network; where its features say nothing there is none, and that is said."""
    first = trained.members[0]
    found = learn_input_check(first.to(run.asked.processes.device), prepared, run.held_out[0])
    if found is None and len(prepared) >= FEWEST:
        run.asked.say(
            "the features of all cases are equal: the network has learnt nothing, and no input check is "
            "stored; a smaller learning_rate may help"
        )
    first.to("cpu")
    return found


def write(run: Run, trained: Trained, input_check: InputCheck | None) -> Bundle:
    """Calibrate, measure, say it and write the bundle.

    Args:
        run: what was settled.
        trained: the networks; calibrated in place.
        input_check: of the first one.

    Raises:
        MedAttnError: the bundle cannot be written.
    """
    task, about, where, found, say = run.task, run.about, run.where, trained.found, run.asked.say
    metrics, calibration = dict(about.get("metrics", {})), dict(about.get("calibration", {}))
    if found:
        metrics, calibration = assess(found, task)
        calibration["from"] = where
        if run.start is not None:
            calibration["start"] = f"cases that bundle {run.start.name} was trained on are measured too well"
        if trained.kept:
            calibration["kept"] = list(trained.kept)
        if run.settings.patience:
            calibration["epoch"] = (
                "chosen on the same cases (patience): metrics and calibration are too optimistic for that reason"
            )
    offset = np.array([calibration.get("offset", {}).get(label, 0.0) for label in task.labels])
    for member in trained.members:
        fold_scale(member, 1.0 / float(calibration.get("temperature", 1.0)), offset)
    for name, value in metrics.items():
        say(f"{name.replace('_', ' ')} {value:.4g}")
    if task.threshold is None and metrics.get("label_sensitivity", 1.0) < 0.5:
        say("fewer than half of the labels that are there reach a probability of one half: to say them earlier, name a "
            "`threshold` in the task")  # fmt: skip
    for name in ("note", "epoch", "start", "of"):
        if name in calibration and found:
            say(f"calibration: {calibration[name]}")
    bundle = save_bundle(
        run.asked.output,
        task=task,
        network_settings=run.network,
        state_dict=trained.members[0].state_dict(),
        members=[member.state_dict() for member in trained.members[1:]],
        description=about.get("description", task.description or f"{task.name}, trained with medattn train"),
        version=about.get("version", "0.1.0"),
        card=about.get("card", ""),
        data_license=about.get("data_license", "Licence of the training data: state it here before sharing."),
        metrics=metrics,
        calibration=calibration,
        input_check=input_check,
        training=run.settings.to_dict(),
        recipe=run.recipe,
        trained_on=run.trained_on,
        evaluation=evaluation_text(found, where, calibration, stated=bool(metrics)),
    )
    work = run.asked.work
    clear_work(work)
    if work.is_dir():
        say(f"{work}: kept, for it holds files that are not of the training; move them before the next one")
    return bundle
