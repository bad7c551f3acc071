"""`medattn evaluate`: a bundle and a data list in, scores, curves and a page out."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.arguments import path_of, several, whole_number
from medattn_core.bundles.bundle import METADATA
from medattn_core.bundles.files import sha256
from medattn_core.datalists import Case
from medattn_core.datalists.case import NO_LABEL
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import classification, earlier, examples, localisation, map_summary, page, pictures
from medattn_core.evaluation.cases import check_apart, load_cases, patient_of
from medattn_core.evaluation.decisions import Rule, choose, decisions, thresholds
from medattn_core.evaluation.lock import alone
from medattn_core.evaluation.measure import left_open, measured
from medattn_core.evaluation.run import Progress, Seen, comparable, run
from medattn_core.evaluation.saliency import PEERS, check_names, impossible
from medattn_core.inference import Predictor
from medattn_core.outputs import files
from medattn_core.outputs.tables import plain, safe_cell
from medattn_core.ranges import SEEDS, Range
from medattn_core.tasks import TaskSpec

FEWEST_TO_CHOOSE = 10
"""Predicted validation cases below which no threshold is chosen: the best one on so few is best by chance."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is evaluated.

    Attributes:
        compare: other methods, of :data:`medattn_core.evaluation.saliency.PEERS`; None for all that the network allows.
            One name is a list of one.
        compared_cases: on how many cases that show a label or have a value, drawn at random, maps are compared and
            their fidelity measured (each costs hundreds of passes through the network); 0 leaves it out.
        bootstrap: samples of the intervals.
        seed: of the draws, 0 to 2**32 - 1.
        examples: how many of the worst and of the best cases are shown.

    Raises:
        MedAttnError: ``bad_argument``: a number that is no whole one, or outside of its range; no list of names.
    """

    compare: tuple[str, ...] | None = None
    compared_cases: int = 30
    bootstrap: int = 1000
    seed: int = 0
    examples: int = 3

    def __post_init__(self) -> None:
        for name in ("compared_cases", "bootstrap", "seed", "examples"):
            accepted = Range(low=0, high=SEEDS) if name == "seed" else Range(low=0)
            object.__setattr__(self, name, whole_number(name, getattr(self, name), accepted))
        if self.compare is not None:
            object.__setattr__(self, "compare", several("compare", self.compare, of="names"))


def evaluate(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    section: str | None = None,
    validation: str | os.PathLike[str] | None = None,
    validation_section: str | None = None,
    fold: int | None = None,
    repeat: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    settings: Settings | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model on cases it has not seen.

    Args:
        bundle: name or folder.
        data: data list with labels or values; masks or boxes for the localisation.
        output: folder for ``metrics.json``, ``cases.csv``, curves (PNG) and ``summary.html``.
        section: list within a JSON data list; needed where it has several.
        validation: another list, of other patients, on which the thresholds of the decision and of the overlap of
            each map are chosen; without it, or with fewer than :data:`FEWEST_TO_CHOOSE` cases that could be predicted
            (or maps), they are 0.5 (or the task's own).
        validation_section: as ``section``, of the validation list.
        fold: only the cases of this fold.
        repeat: further bundles of the same task and model grid (other seeds), or one: how much their evidence agrees.
        settings: see :class:`Settings`.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:N`` of several cards.
        overwrite: replace results of another model or list that lie at ``output``; those of the same are replaced
            anyway, and files of others never.
        progress: called with (done, all).

    Returns:
        The content of ``metrics.json``. Cases that fail are listed in its ``errors`` and do not count; masks and
        comparisons that fail in ``place_errors`` and ``map_errors``, and the case counts in the rest. ``validation``
        lists what failed of that list, and says whether thresholds were chosen on it.

    Raises:
        MedAttnError: the bundle, one to repeat with or a list cannot be used, no case could be predicted, results of
            another model or list lie at ``output`` (``other_run``), or another evaluation writes there
            (``unwritable``).
    """
    settings = settings or Settings()
    repeat, fold = several("repeat", repeat), None if fold is None else whole_number("fold", fold, Range(low=0))
    check_names(settings.compare or ())
    data, folder = path_of("data", data), path_of("output", output)
    _check_folder(folder)
    with alone(folder):
        predictor = Predictor.from_bundle(bundle, device=device)
        compare, left_out = _possible(settings, predictor)
        settings = replace(settings, compare=compare)
        task = predictor.task
        others = tuple(Predictor.from_bundle(other, device=device) for other in repeat)
        for other in others:
            _check_repeat(other, predictor)
        cases = load_cases(data, task, section=section, fold=fold)
        measured_on = {
            "bundle": predictor.bundle.name,
            "bundle_version": predictor.bundle.version,
            "weights_sha256": predictor.bundle.weights_sha256,
            "members_sha256": [digest for _, digest in predictor.bundle.members],
            "data": data.name,
            "data_sha256": sha256(data),
            "section": section,
            "fold": fold,
        }
        earlier.check_other(folder, measured_on, overwrite=overwrite)
        if settings.compared_cases and not comparable(cases):
            message = f"{data}: no case shows a label, so there is no map for a true one: nothing is compared"
            left_out.append({"input": str(data), "code": "bad_argument", "message": message, "cases": len(cases)})
        rule, overlap, chosen = Rule(), dict[str, float](), None
        if validation is not None:
            chosen_on = load_cases(validation, task, section=validation_section, option="validation section")
            check_apart(chosen_on, cases, str(validation), str(data))
            first, progress = _in_turn(progress, len(chosen_on), len(cases))
            rule, overlap, chosen = _thresholds(predictor, chosen_on, Path(validation).name, settings, first)
        seen = run(
            predictor, cases, compare=compare, compared_cases=settings.compared_cases, seed=settings.seed,
            others=others, chosen=overlap, progress=progress,
        )  # fmt: skip
        outputs, targets = np.stack(seen.outputs), np.stack(seen.targets)
        patients = [patient_of(case, i) for i, case in enumerate(seen.cases)]
        metrics: dict[str, Any] = {
            **measured_on,
            "members": len(predictor.networks),
            "task": {"kind": task.kind, "labels": list(task.labels), "unit": task.unit},
            "cases": len(seen.cases),
            "patients": len(set(patients)),
            "without_patient": sum(case.patient is None for case in seen.cases),
            "settings": {**asdict(settings), **_chosen(rule, task),
                         "chosen_on": chosen["data"] if chosen is not None and chosen["chosen"] else None},
            "validation": chosen,
            **measured(outputs, targets, seen.stated, patients, task,
                       rule=rule, samples=settings.bootstrap, seed=settings.seed),
        }  # fmt: skip
        metrics["localisation"], metrics["fidelity"] = map_summary.summary(
            seen.maps, overlap, samples=settings.bootstrap, seed=settings.seed
        )
        metrics |= {"warnings": seen.warned.counts, "warning_messages": seen.warned.messages}
        metrics |= {"errors": seen.errors, "place_errors": seen.place_errors, "map_errors": left_out + seen.map_errors}
        metrics = plain(metrics)
        if task.kind != "regression":
            _say(seen, outputs, targets, task, rule)
        _write(folder, metrics, seen, outputs, targets, predictor, settings)
        return metrics


SAME = ("kind", "labels", "channels", "spatial_dims", "slicewise", "spacing", "size", "field_of_view")
"""What two tasks share whose evidence cells are the same places of every scan, beside the stride."""


def _check_repeat(other: Predictor, predictor: Predictor) -> None:
    """Before the work: cell by cell, maps of two grids would be correlated between different places."""
    names = (*SAME, "slice_spacing") if predictor.task.slicewise else SAME
    pairs = {name: (getattr(other.task, name), getattr(predictor.task, name)) for name in names}
    pairs["evidence stride"] = (other.network.evidence_stride, predictor.network.evidence_stride)
    for name, (its, own) in pairs.items():
        if its != own:
            raise MedAttnError(
                "bad_argument",
                f"{other.bundle.path}: {name} {its!r}, where {predictor.bundle.path} has {own!r}: their maps cannot be "
                "compared cell by cell; give bundles of the same task and model grid, trained with other seeds",
            )


def _possible(settings: Settings, predictor: Predictor) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The methods without one that this network does not allow, and why; one that was asked for is an error."""
    names = tuple(PEERS) if settings.compare is None else settings.compare
    error = impossible(predictor.network, names) if settings.compared_cases else None
    if error is None:
        return names, []
    if settings.compare is not None:
        raise error
    entry = {"input": str(predictor.bundle.path), "code": error.code, "message": error.message,
             "cases": settings.compared_cases}  # fmt: skip
    return tuple(name for name in names if name != "gradcam_encoder"), [entry]


def _in_turn(progress: Progress | None, first: int, second: int) -> tuple[Progress | None, Progress | None]:
    """The progress of two lists one after the other, as that of all their cases."""
    if progress is None:
        return None, None
    both = first + second
    return (lambda done, _: progress(done, both)), (lambda done, _: progress(first + done, both))


def _thresholds(
    predictor: Predictor, cases: Sequence[Case], name: str, settings: Settings, progress: Progress | None
) -> tuple[Rule, dict[str, float], dict[str, Any]]:
    """Of the decision and of the overlap of each map, and what metrics.json says of the list they are chosen on."""
    compare = settings.compare or () if len(cases) >= FEWEST_TO_CHOOSE else ()
    seen = run(
        predictor, cases, compare=compare, compared_cases=settings.compared_cases, seed=settings.seed,
        places=True, progress=progress,
    )  # fmt: skip
    enough = len(seen.cases) >= FEWEST_TO_CHOOSE
    notes = {
        "data": name,
        "cases": len(seen.cases),
        "patients": len({patient_of(case, i) for i, case in enumerate(seen.cases)}),
        "chosen": enough,
        "fewest_cases": FEWEST_TO_CHOOSE,
        "errors": seen.errors,
        "place_errors": seen.place_errors,
        "map_errors": seen.map_errors,
        "maps": {method: len(curves) for method, curves in seen.maps.overlaps.items()},
    }
    rule = Rule()
    if not enough:
        return rule, {}, notes
    if predictor.task.kind != "regression":
        rule = choose(predictor.task.probabilities(np.stack(seen.outputs)), np.stack(seen.targets), predictor.task)
    curves = {method: found for method, found in seen.maps.overlaps.items() if len(found) >= FEWEST_TO_CHOOSE}
    return rule, {method: localisation.choose_threshold(found) for method, found in curves.items()}, notes


def _chosen(rule: Rule, task: TaskSpec) -> dict[str, Any]:
    each = None if rule.each is None else dict(zip(task.labels, rule.each, strict=True))
    return {"decision_threshold": rule.single, "label_thresholds": each, "none_below": rule.none,
            "task_threshold": task.threshold}  # fmt: skip


def _say(seen: Seen, outputs: np.ndarray, targets: np.ndarray, task: TaskSpec, rule: Rule) -> None:
    """What is said of each case, and what is left open, by the rule of all scores, into the table of cases."""
    probabilities = task.probabilities(outputs)
    said = decisions(probabilities, task, rule)
    right = classification.right(said, targets > 0.5, task)
    for row, chosen, hit in zip(seen.rows, said, right, strict=True):
        row["said"] = "|".join(np.array(task.labels)[chosen]) or NO_LABEL
        row["right"] = bool(hit)
    for row, each, stated in zip(seen.rows, probabilities, seen.stated, strict=True):
        if stated.undecided is not None:
            row |= left_open(each, stated.undecided, thresholds(task, rule), task)


def _check_folder(folder: Path) -> None:
    """What no evaluation has written is told before the work, and before anything is put there."""
    try:
        if (folder / METADATA).exists():
            raise MedAttnError("bad_argument", f"{folder}: it is the folder of a bundle; give another for the results")
        earlier.check_strangers(folder)
    except OSError as error:
        raise MedAttnError("unwritable", f"{folder}: {error.strerror}; choose a folder that may be written") from error


def _write(
    folder: Path,
    metrics: dict[str, Any],
    seen: Seen,
    outputs: np.ndarray,
    targets: np.ndarray,
    predictor: Predictor,
    settings: Settings,
) -> None:
    """The numbers first: a picture that fails, or a scan that is no longer there to be drawn, takes none of them."""
    files.make_folder(folder)
    replaced = earlier.results_of(folder)
    files.write_text(
        folder / earlier.METRICS, json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )
    for path in replaced:
        files.remove(path)
    files.write_text(folder / earlier.CASES, _table(seen.rows))
    confidence = [s.confidence for s in seen.stated]
    drawn = pictures.draw(
        folder, metrics, outputs, targets, predictor.task, None if None in confidence else np.array(confidence)
    )
    shown = examples.draw(folder, seen, outputs, targets, predictor, settings.examples)
    files.write_text(folder / earlier.PAGE, page.summary_page(metrics, drawn, shown, predictor.bundle))


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    # The word for none of the labels is no formula, and whoever reads the table compares it with that of the list.
    writer.writerows(
        {name: value if value == NO_LABEL else safe_cell(plain(value)) for name, value in row.items()} for row in rows
    )
    return stream.getvalue()
