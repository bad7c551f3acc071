"""Which cases train and which are held out."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from medattn_core import datalists
from medattn_core.datalists import HELD_OUT_SECTION, Case, check_apart, check_section
from medattn_core.datalists.case import NO_LABEL
from medattn_core.datalists.file_checks import doubt_notice
from medattn_core.datalists.load import other_names
from medattn_core.datalists.patients import unnamed
from medattn_core.datalists.plausibility import slips
from medattn_core.datalists.targets import targets_of
from medattn_core.errors import DataListError, Notice, TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training.data import TrainingData, patient_numbers
from medattn_core.training.folds import assign


def gather(
    path: Path,
    *,
    section: str,
    folds: int | None,
    validation_fold: int | None,
    seed: int,
    say: Callable[[str], None],
) -> tuple[list[Case], list[np.ndarray], str]:
    """The cases of a list and who is held out.

    Args:
        path: data list.
        section: list within a JSON object. Another list of it named ``validation`` is held out if no fold is.
        folds, validation_fold: see :func:`medattn_core.training.train`.
        seed: of folds that are drawn.
        say: called with lines for a person.

    Returns:
        All cases; for each run a boolean mask of those it holds out; where they come from, in words.

    Raises:
        MedAttnError: ``bad_datalist``, ``bad_argument``, or ``bad_config``: no such fold.
    """
    check_section(path, section)
    cases = datalists.load(path, section=section)
    others = section != HELD_OUT_SECTION and HELD_OUT_SECTION in datalists.sections(path)
    if others and folds is None and validation_fold is None:
        held = datalists.load(path, section=HELD_OUT_SECTION)
        check_apart(path, cases, held, section=section)
        say(f"held out: {len(held)} cases of the list {HELD_OUT_SECTION!r}")
        chosen = np.arange(len(cases) + len(held)) >= len(cases)
        return cases + held, [chosen], f"the list {HELD_OUT_SECTION!r}"
    if others:
        say(f"the list {HELD_OUT_SECTION!r} is not used: a fold is held out")
    if folds is not None:
        if validation_fold is not None:
            raise TrainingError("bad_argument", "folds and validation_fold: one of them, not both")
        without = unnamed(cases)
        if without is not None:
            say(without)
        number = assign(cases, folds, seed)
        masks = [number == fold for fold in sorted(set(number.tolist()))]
        return cases, masks, "the held-out folds of the cross-validation"
    listed = np.array([-1 if case.fold is None else case.fold for case in cases])
    if validation_fold is None:
        return cases, [np.zeros(len(cases), bool)], ""
    if not (listed == validation_fold).any():
        folds_listed = sorted(set(listed.tolist()) - {-1})
        what = f"the list has {folds_listed}" if folds_listed else "the list names no folds (column `fold`)"
        raise TrainingError("bad_config", f"validation fold {validation_fold}: no such fold; {what}")
    if (listed == validation_fold).all():
        raise TrainingError("bad_config", f"validation fold {validation_fold}: every case is in it, none would train")
    return cases, [listed == validation_fold], f"held-out fold {validation_fold} of the list"


def fingerprint(path: Path, cases: Sequence[Case], held_out: Sequence[np.ndarray]) -> str:
    """Hash of what a list says of its cases, and of who is held out; not of what lies in the images.

    Files count by where they lie beside the list, so that a folder may be moved as a whole.
    """
    found = hashlib.sha256()
    for number, case in enumerate(cases):
        files = [None if file is None else os.path.relpath(file, path.parent) for file in (*case.images, case.mask)]
        said = (files, case.labels, case.value, case.box, case.patient, [bool(chosen[number]) for chosen in held_out])
        found.update(json.dumps(said, default=str).encode())
    return found.hexdigest()


def check_truth(path: Path, cases: Sequence[Case], say: Callable[[str], None], *, section: str | None = None) -> None:
    """Whether there is something to learn, and what `medattn data check` warns of.

    Args:
        path: data list.
        cases: all of them.
        say: called with lines for a person.
        section: list within a JSON object, to look for a truth by another name; None looks for none.

    Raises:
        DataListError: ``bad_datalist``: no truth, or the same for every case.
    """
    if datalists.nothing_to_learn(cases):
        others = () if section is None else other_names(path, section)
        raise DataListError("bad_datalist", f"{path}: {datalists.nothing_to_learn(cases, others)}")
    for notice in slips(cases):
        say(notice.message)
    labels = datalists.label_names(cases)
    if len(labels) == 1 and all(case.labels for case in cases):
        say(f"every case has the label {labels[0]!r}: what it is not is learnt from outside the masks and boxes alone")


def say_unused(cases: Sequence[Case], located: np.ndarray, say: Callable[[str], None]) -> None:
    """How many masks and boxes cover nothing. Where no label is true there is nothing to cover."""
    given = [i for i, case in enumerate(cases) if (case.mask is not None or case.box is not None) and case.labels != ()]
    unused = [i for i in given if not located[i]]
    if unused:
        first = cases[unused[0]]
        say(
            f"masks and boxes: {len(unused)} of {len(given)} cover nothing of what is seen of their scan and are not "
            f"used, the first {first.mask or f'the box of {first.image}'}; `medattn data check` names those that are "
            "empty or lie beside the scan"
        )


def say_unlabelled(cases: Sequence[Case], located: np.ndarray, say: Callable[[str], None]) -> None:
    """How many masks and boxes mark something where no label is true."""
    marked = [case for case, there in zip(cases, located, strict=True) if there and case.labels == ()]
    if marked:
        say(
            f"masks and boxes: {len(marked)} mark something where no label is true ({NO_LABEL!r}), the first that of "
            f"{marked[0].image}; they are taken for what only looks like a finding: attention may rest there, and it "
            "is no background; name the label where it is a finding, or leave the mask or box out"
        )


def say_cropped(
    cases: Sequence[Case], cropped: np.ndarray | None, size: Sequence[int], say: Callable[[str], None]
) -> None:
    """How many images are larger than the model grid, whose rest is not seen."""
    if cropped is None or not cropped.any():
        return
    first = cases[int(np.argmax(cropped))].image
    say(
        f"{int(cropped.sum())} of {len(cases)} images are larger than the grid of {' x '.join(map(str, size))}, and "
        f"only their middle is seen, the first {first}; a larger `size` or `spacing` in the task shows all"
    )


def say_noticed(notices: Sequence[Sequence[tuple[Path, Notice]]], say: Callable[[str], None]) -> None:
    """What the reader noticed, a line a kind: another scan than the one that has the label may be trained on."""
    first: dict[str, tuple[Path, Notice]] = {}
    count = Counter(code for noticed in notices for code in {notice.code for _, notice in noticed})
    for file, notice in chain.from_iterable(notices):
        first.setdefault(notice.code, (file, notice))
    for code, (file, notice) in first.items():
        say(str(doubt_notice(code, f"{count[code]} case{'' if count[code] == 1 else 's'}", file, notice.message)))


def say_pictures(
    cases: Sequence[Case], pictures: np.ndarray | None, task: TaskSpec, say: Callable[[str], None]
) -> None:
    """How many images are single slices, where the network is one of volumes."""
    if task.spatial_dims == 2 or pictures is None or not pictures.any():
        return
    first = cases[int(np.argmax(pictures))].image
    say(
        f"{int(pictures.sum())} of {len(cases)} images are single slices, the first {first}, and the network takes "
        "volumes: they are padded to its depth; train slices and volumes apart, where they are not the same"
    )


def check_listed(cases: Sequence[Case], held_out: Sequence[np.ndarray], task: TaskSpec) -> None:
    """:func:`check_labels`, as far as the list alone tells it: before any image is read.

    Raises:
        MedAttnError: ``bad_config``, or ``bad_datalist``: a case has no label or value, or one that the task has not.
    """
    targets = np.stack([targets_of(case, task) for case in cases])
    located = np.array([case.mask is not None or case.box is not None for case in cases])
    _check_labels(targets, located, patient_numbers(cases), held_out, task)


def check_labels(prepared: TrainingData, held_out: Sequence[np.ndarray], task: TaskSpec) -> None:
    """Every label must be among what is trained on; a patient-wise split of few patients may lose one.

    Raises:
        TrainingError: ``bad_config``.
    """
    patients = np.arange(len(prepared)) if prepared.patients is None else prepared.patients
    _check_labels(prepared.targets, prepared.located, patients, held_out, task)


def _check_labels(
    targets: np.ndarray, located: np.ndarray, patients: np.ndarray, held_out: Sequence[np.ndarray], task: TaskSpec
) -> None:
    if task.kind == "regression":
        return
    true = targets > 0.5
    for number, chosen in enumerate(held_out, start=1):
        trained = true[~chosen]
        missing = [
            (f"a case of {label!r}", true[:, column]) for column, label in enumerate(task.labels)
            if not trained[:, column].any()
        ]  # fmt: skip
        if task.kind == "multilabel" and not located[~chosen].any():
            missing += [
                (f"a case that is not {label!r}", ~true[:, column]) for column, label in enumerate(task.labels)
                if trained[:, column].all()
            ]  # fmt: skip
        if missing:
            what, there = missing[0]
            having = len(set(patients[there].tolist()))
            where = f"fold {number} of {len(held_out)} would train" if len(held_out) > 1 else "it would be trained"
            hint = "list some, or leave the label out of the task"
            if having and len(held_out) > 1:
                hint = "use fewer folds, or spread it over more patients"
                if having == 1:  # who is held out once, with any number of folds
                    hint = "one patient alone has it: leave the label out, or train without folds"
            elif having and chosen.any():
                hint = "hold others out, so that some of them train, or leave the label out of the task"
            raise TrainingError("bad_config", f"{where} without {what}: {hint}")
