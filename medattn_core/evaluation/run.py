"""Predict and score a list, case by case; what goes wrong with one part of a case costs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.datalists import Case, location_of
from medattn_core.datalists.case import NO_LABEL
from medattn_core.datalists.targets import targets_of
from medattn_core.errors import MedAttnError, PredictionError, known_error, log_trace
from medattn_core.evaluation import maps
from medattn_core.evaluation.cases import patient_of
from medattn_core.evaluation.lesions import Lesions
from medattn_core.evaluation.maps import Comparison, MapScores
from medattn_core.evaluation.measure import Stated
from medattn_core.evaluation.saliency import Peers
from medattn_core.evaluation.warned import Warned
from medattn_core.inference import Prediction, Predictor
from medattn_core.volumes import read
from medattn_core.volumes.masks import marked, read_mask

Progress = Callable[[int, int], None]


@dataclass
class Seen:
    """What the predictions of a list gave.

    Attributes:
        cases, numbers: those that could be predicted, and their numbers in the list from 1.
        outputs, targets: ``(N, K)``.
        stated: what each prediction says of its own reliability.
        rows: of the table of cases, without what is decided.
        maps: scores of the maps.
        warned: of what the cases were warned.
        errors: cases that could not be predicted.
        place_errors: masks and boxes that could not be used; the case counts in everything else.
        map_errors: comparisons of maps that failed; likewise. ``cases`` says of how many, where an entry is of several.
    """

    cases: list[Case] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=list)
    stated: list[Stated] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    maps: MapScores = field(default_factory=MapScores)
    warned: Warned = field(default_factory=Warned)
    errors: list[dict[str, str]] = field(default_factory=list)
    place_errors: list[dict[str, str]] = field(default_factory=list)
    map_errors: list[dict[str, Any]] = field(default_factory=list)


def run(
    predictor: Predictor,
    cases: Sequence[Case],
    *,
    compare: tuple[str, ...] = (),
    compared_cases: int = 0,
    seed: int = 0,
    others: Sequence[Predictor] = (),
    chosen: Mapping[str, float] | None = None,
    places: bool = False,
    progress: Progress | None = None,
) -> Seen:
    """Predict every case and score its maps.

    Args:
        predictor: the model.
        cases: with a truth.
        compare: other methods.
        compared_cases: on how many of the :func:`comparable` cases, drawn at random, maps are compared.
        seed: of the draw.
        others: models of the same task, for repeatability.
        chosen: method to the threshold of its map's overlap, where one was chosen.
        places: of other methods only the overlaps are measured, to choose thresholds from.
        progress: called with (done, all).

    Raises:
        MedAttnError: no case could be predicted.
    """
    seen = Seen()
    chosen = chosen or {}
    drawn_from = [i for i in comparable(cases) if not places or cases[i].mask is not None or cases[i].box is not None]
    order = np.random.default_rng(seed).permutation(len(drawn_from))[:compared_cases]
    sample = {drawn_from[i] for i in order}
    comparison: Comparison | Peers | None = None
    if sample and not places:
        comparison = Comparison.of(predictor.networks, compare, seed)
    elif sample and compare:
        comparison = Peers(predictor.networks, compare)
    stacks: list[Case] = []
    lesions = Lesions.of(cases)
    for index, case in enumerate(cases):
        if progress is not None:
            progress(index, len(cases))
        try:
            prediction = predictor(case.images)
        except Exception as error:  # whatever is wrong with one scan, the others count
            seen.errors.append(_entry(case, error))
            continue
        target = targets_of(case, predictor.task)
        seen.cases.append(case)
        seen.numbers.append(index + 1)
        seen.outputs.append(prediction.logits)
        seen.targets.append(target)
        seen.stated.append(Stated.of(prediction))
        seen.maps.patients[index] = patient_of(case, index)
        labels = true_labels(target, prediction)
        row = _row(case, index + 1, prediction)
        inside = _place(seen, case, index, prediction, labels, chosen, lesions, row)
        compared = comparison if index in sample else None
        if compared is not None and labels and maps.is_stack(prediction):
            stacks.append(case)
            compared = None
        _others(seen, case, index, prediction, labels, compared, others, inside, chosen)
        row["warnings"] = ";".join(notice.code for notice in prediction.warnings)
        seen.warned.add(case, prediction.warnings)
        seen.rows.append(row)
    if progress is not None:
        progress(len(cases), len(cases))
    lesions.count(seen.maps)
    if stacks:
        seen.map_errors.append(_entry(stacks[0], _of_stacks(stacks, len(sample))) | {"cases": len(stacks)})
    if not seen.cases:
        first = seen.errors[0]
        raise MedAttnError(
            first["code"], f"none of {len(cases)} cases could be predicted; the first: {first['message']}"
        )
    return seen


def comparable(cases: Sequence[Case]) -> list[int]:
    """Indices of the cases that have a map to compare: where no label is true there is none for the true label."""
    return [index for index, case in enumerate(cases) if case.labels or case.value is not None]


def _of_stacks(stacks: Sequence[Case], sample: int) -> PredictionError:
    """One for all: it says the same of each."""
    return PredictionError(
        "bad_argument",
        f"{stacks[0].image}: a volume, of which this slicewise model pools all slices; fidelity and the other methods "
        f"are measured on single slices only, so not on {len(stacks)} of the {sample} cases drawn for them; give a "
        "list of single slices",
    )


def true_labels(target: np.ndarray, prediction: Prediction) -> list[str]:
    """The labels that a case shows; of a regression its quantity."""
    if prediction.task.kind == "regression":
        return list(prediction.task.labels)
    return [label for label, t in zip(prediction.task.labels, target, strict=True) if t > 0.5]


def _entry(case: Case, error: Exception) -> dict[str, str]:
    """Any error as a row of the errors; the trace of an unexpected one is for ``--verbose``."""
    if not isinstance(error, (MedAttnError, MemoryError)):
        log_trace(error)
    known = known_error(error, case.image)
    return {"input": str(case.image), "code": known.code, "message": known.message}


def _place(
    seen: Seen,
    case: Case,
    index: int,
    prediction: Prediction,
    labels: list[str],
    chosen: Mapping[str, float],
    lesions: Lesions,
    row: dict[str, Any],
) -> np.ndarray | None:
    """Score where the evidence lies; the finding on the scan's voxels, None where its place is not known."""
    inside = None
    try:
        if case.mask is not None or case.box is not None:
            inside = finding(case, prediction, labels)
        if inside is not None:
            key = (index, labels[0])
            row |= {f"map_{name}": v for name, v in maps.add_place(seen.maps, key, prediction, inside, chosen).items()}
        if prediction.task.kind != "regression":  # its mask is what was measured, an organ maybe: no single lesions
            lesions.add(index, labels, prediction, inside if case.mask is not None else None)
    except Exception as error:
        seen.place_errors.append(_entry(case, error))
        lesions.left_out.add(index)
    return inside


def finding(case: Case, prediction: Prediction, labels: list[str]) -> np.ndarray | None:
    """The marked finding of a case on the scan's voxels, boolean; None where none is known.

    Raises:
        MedAttnError: its mask or box cannot be used.
    """
    mask = None
    if case.mask is not None:
        mask = read_mask(case.mask)
        if not marked(mask.data, mask.format).any():
            return None  # drawn, and nothing was there to draw
    what = str(case.mask) if case.mask is not None else f"{case.image}: its box"
    if not labels:
        raise PredictionError(
            "bad_mask",
            f"{what} marks a finding, and no label is true of the case ({NO_LABEL!r}); name the label, or leave it out",
        )
    place = location_of(case, prediction.volume, mask)
    if place is None:
        return None
    inside = place >= 0.5
    if not place.any():
        raise PredictionError("empty_mask", f"{what} lies beside the scan; draw it on this scan, or check its geometry")
    if not inside.any():
        raise PredictionError(
            "empty_mask", f"{what} covers less than half of any voxel of the scan; mark one voxel or more"
        )
    if inside.all():
        raise PredictionError("bad_mask", f"{what} covers the whole scan; mark the finding alone")
    if len(labels) > 1:
        raise PredictionError(
            "bad_mask",
            f"{what} is one place for the {len(labels)} labels {', '.join(labels)}, and which of them it shows is not "
            "known; give masks for images with one label",
        )
    return inside


def _others(
    seen: Seen,
    case: Case,
    index: int,
    prediction: Prediction,
    labels: list[str],
    comparison: Comparison | Peers | None,
    others: Sequence[Predictor],
    inside: np.ndarray | None,
    chosen: Mapping[str, float],
) -> None:
    """Compare the maps of a case with those of other methods and models, each label and kind of comparison alone."""
    if comparison is None and not others:
        return
    failed: list[dict[str, str]] = []
    with _alone(failed, case):
        channels = tuple(read(file) for file in case.channels)
        for key in ((index, label) for label in labels):
            if others:
                with _alone(failed, case):
                    maps.add_repeats(seen.maps, key, prediction, channels, others)
            if isinstance(comparison, Comparison):
                with _alone(failed, case):
                    maps.add_comparison(seen.maps, key, prediction, channels, comparison, inside, chosen)
            elif comparison is not None and inside is not None:
                with _alone(failed, case):
                    maps.add_overlaps(seen.maps, key, prediction, channels, comparison, inside)
    seen.map_errors += failed


@contextmanager
def _alone(failed: list[dict[str, str]], case: Case) -> Iterator[None]:
    """What goes wrong here ends here, and is said once a case: of several labels it is often the same."""
    try:
        yield
    except Exception as error:
        entry = _entry(case, error)
        if entry not in failed:
            failed.append(entry)


def _row(case: Case, number: int, prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {"case": number, "image": str(case.image), "fold": case.fold}
    if prediction.value is not None:
        interval = prediction.interval or (None, None)
        return row | {"true": case.value, "predicted": prediction.value, "low": interval[0], "high": interval[1]}
    row |= {"true": "|".join(case.labels or ()) or "-", "said": "", "right": ""}
    row |= {f"probability_{label}": p for label, p in prediction.probabilities.items()}
    row["label_set"] = "|".join(prediction.label_set) if prediction.label_set is not None else None
    row["undecided"] = "|".join(prediction.undecided) if prediction.undecided is not None else None
    return row | {"confidence": prediction.confidence, "abstained": prediction.abstained}
