"""`medattn evaluate`: a bundle and a data list in, scores, curves and a page out."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.errors import DataListError, MedAttnError
from medattn_core.evaluation import classification, fidelity, localisation, page, pictures, regression
from medattn_core.evaluation.bootstrap import intervals
from medattn_core.evaluation.maps import MapScores, add_case
from medattn_core.evaluation.saliency import PEERS, Peers
from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs.tables import plain, safe_cell
from medattn_core.training.calibration import expected_calibration_error
from medattn_core.training.data import location_of, targets_of
from medattn_core.volumes import read

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is evaluated.

    Attributes:
        compare: other methods, of :data:`medattn_core.evaluation.saliency.PEERS`.
        compared_cases: on how many cases, drawn at random, maps are compared and their fidelity measured (each costs
            hundreds of passes through the network); 0 leaves it out.
        bootstrap: samples of the intervals.
        seed: of the draws.
    """

    compare: tuple[str, ...] = tuple(PEERS)
    compared_cases: int = 30
    bootstrap: int = 1000
    seed: int = 0


@dataclass
class _Seen:
    """What the predictions of a list gave."""

    cases: list[Case]
    outputs: np.ndarray
    targets: np.ndarray
    predictions: list[_Light]
    rows: list[dict[str, Any]]
    errors: list[dict[str, str]]
    maps: MapScores


def evaluate(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    validation: str | os.PathLike[str] | None = None,
    fold: int | None = None,
    repeat: tuple[str | os.PathLike[str], ...] = (),
    settings: Settings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model on cases it has not seen.

    Args:
        bundle: name or folder.
        data: data list with labels or values; masks or boxes for the localisation.
        output: folder for ``metrics.json``, ``cases.csv``, curves (PNG) and ``summary.html``.
        validation: another list, on which the threshold of the decision and of the map's overlap are chosen; without
            it both are 0.5.
        fold: only the cases of this fold.
        repeat: further bundles of the same task (other seeds): how much their evidence agrees.
        settings: see :class:`Settings`.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: called with (done, all).

    Returns:
        The content of ``metrics.json``. Cases that fail are listed in its ``errors`` and do not count.

    Raises:
        MedAttnError: the bundle or a list cannot be used, or no case could be predicted.
    """
    settings = settings or Settings()
    predictor = Predictor.from_bundle(bundle, device=device)
    others = tuple(Predictor.from_bundle(other, device=device) for other in repeat)
    task = predictor.task
    for other in others:
        if other.task.labels != task.labels or other.network.evidence_stride != predictor.network.evidence_stride:
            raise MedAttnError(
                "bad_argument",
                f"{other.bundle.path}: another task than {predictor.bundle.path}; give one of other seeds",
            )
    cases = _cases(data, fold, predictor)
    folder = Path(output)
    _check_writable(folder)
    threshold: float | None = None
    overlap: float | None = None
    if validation is not None:
        chosen_on = _run(predictor, _cases(validation, None, predictor), Settings(compared_cases=0), (), None, None)
        if task.kind != "regression":
            threshold = classification.best_threshold(task.probabilities(chosen_on.outputs), chosen_on.targets, task)
        if chosen_on.maps.overlaps:
            overlap = localisation.choose_threshold(chosen_on.maps.overlaps)
    seen = _run(predictor, cases, settings, others, overlap, progress)
    metrics: dict[str, Any] = {
        "bundle": predictor.bundle.name,
        "bundle_version": predictor.bundle.version,
        "weights_sha256": predictor.bundle.weights_sha256,
        "members": len(predictor.networks),
        "task": {"kind": task.kind, "labels": list(task.labels), "unit": task.unit},
        "data": Path(data).name,
        "fold": fold,
        "cases": len(seen.cases),
        "patients": len({_group(case, i) for i, case in enumerate(seen.cases)}),
        "patients_named": all(case.patient is not None for case in seen.cases),
        "settings": {**asdict(settings), "decision_threshold": threshold,
                     "chosen_on": None if validation is None else Path(validation).name},
        **_scores(seen, predictor, threshold, settings),
    }  # fmt: skip
    metrics["localisation"], metrics["fidelity"] = seen.maps.summary(overlap)
    metrics["errors"] = seen.errors
    metrics = plain(metrics)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures.draw(folder, metrics, seen.outputs, seen.targets, predictor)
    _write(folder / "cases.csv", _table(seen.rows))
    _write(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write(folder / "summary.html", page.summary_page(metrics, drawn, predictor.bundle))
    return metrics


def _cases(data: str | os.PathLike[str], fold: int | None, predictor: Predictor) -> list[Case]:
    cases = datalists.load(Path(data))
    if fold is not None:
        listed = sorted({case.fold for case in cases if case.fold is not None})
        cases = [case for case in cases if case.fold == fold]
        if not cases:
            raise DataListError("bad_argument", f"{data}: no case in fold {fold}; folds listed: {listed or 'none'}")
    for case in cases:
        targets_of(case, predictor.task)  # a wrong label is an error of the list, not of one image
    return cases


def _check_writable(folder: Path) -> None:
    """Before the work, not after it; nothing is left behind."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise MedAttnError("unwritable", f"{folder}: {error.strerror}; choose a folder that may be written") from error


def _group(case: Case, index: int) -> str:
    return case.patient or f"\0{index}"


def _run(
    predictor: Predictor,
    cases: list[Case],
    settings: Settings,
    others: tuple[Predictor, ...],
    overlap: float | None,
    progress: Progress | None,
) -> _Seen:
    task = predictor.task
    maps = MapScores()
    rng = np.random.default_rng(settings.seed)
    sample = set(rng.permutation(len(cases))[: settings.compared_cases].tolist())
    peers = Peers(predictor.network, settings.compare) if sample else None
    random = fidelity.randomised(predictor.network, settings.seed) if sample else None
    kept: list[Case] = []
    outputs, targets, rows = [], [], []
    predictions: list[_Light] = []
    errors: list[dict[str, str]] = []
    for index, case in enumerate(cases):
        if progress is not None:
            progress(index, len(cases))
        target = targets_of(case, task)
        try:
            prediction = predictor(case.images)
            channels = tuple(read(file) for file in case.channels)
            place = location_of(case, prediction.volume)
            labels = [
                label for label, t in zip(task.labels, target, strict=True) if task.kind == "regression" or t > 0.5
            ]
            found: dict[str, float] = {}
            for label in labels:
                found = add_case(
                    maps, prediction, channels, predictor, label, None if place is None else place >= 0.5,
                    threshold=overlap, peers=peers if index in sample else None, random=random, others=others,
                    several=case.mask is not None,
                )  # fmt: skip
        except MedAttnError as error:
            errors.append({"input": str(case.image), "code": error.code, "message": error.message})
            continue
        kept.append(case)
        outputs.append(prediction.logits)
        targets.append(target)
        rows.append(_row(case, prediction, found))
        # The scan itself is not kept: a list may be larger than memory.
        predictions.append(_Light.of(prediction))
    if progress is not None:
        progress(len(cases), len(cases))
    if not kept:
        first = errors[0]
        raise MedAttnError(
            first["code"], f"none of {len(cases)} cases could be predicted; the first: {first['message']}"
        )
    return _Seen(kept, np.stack(outputs), np.stack(targets), predictions, rows, errors, maps)


@dataclass(frozen=True)
class _Light:
    """What the scores need of a prediction."""

    label_set: tuple[str, ...] | None
    interval: tuple[float, float] | None
    confidence: float | None
    abstained: bool

    @classmethod
    def of(cls, prediction: Prediction) -> _Light:
        return cls(prediction.label_set, prediction.interval, prediction.confidence, prediction.abstained)


def _row(case: Case, prediction: Prediction, place: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"image": str(case.image), "fold": case.fold}
    if prediction.value is not None:
        interval = prediction.interval or (None, None)
        row |= {"true": case.value, "predicted": prediction.value, "low": interval[0], "high": interval[1]}
    else:
        said = prediction.label
        if prediction.task.kind == "multilabel":
            said = "|".join(label for label, p in prediction.probabilities.items() if p >= 0.5) or "-"
        row |= {"true": "|".join(case.labels or ()) or "-", "said": said}
        row |= {f"probability_{label}": p for label, p in prediction.probabilities.items()}
        row["label_set"] = "|".join(prediction.label_set) if prediction.label_set is not None else None
        row |= {"confidence": prediction.confidence, "abstained": prediction.abstained}
    row |= {f"map_{name}": value for name, value in place.items()}
    row["warnings"] = ";".join(notice.code for notice in prediction.warnings)
    return row


def _scores(seen: _Seen, predictor: Predictor, threshold: float | None, settings: Settings) -> dict[str, Any]:
    task, targets = predictor.task, seen.targets
    groups = [_group(case, index) for index, case in enumerate(seen.cases)]
    if task.kind == "regression":
        stated = [p.interval for p in seen.predictions]
        known = None if any(i is None for i in stated) else np.array(stated, float)

        def measure_values(chosen: np.ndarray) -> dict[str, float]:
            some = None if known is None else [(float(low), float(high)) for low, high in known[chosen]]
            return regression.scores(seen.outputs[chosen, 0], targets[chosen, 0], some)

        return {"regression": intervals(measure_values, groups, samples=settings.bootstrap, seed=settings.seed)}
    probabilities = task.probabilities(seen.outputs)
    said = classification.decisions(probabilities, task, threshold)
    sets = [p.label_set for p in seen.predictions]
    abstained = np.array([p.abstained for p in seen.predictions])
    given = [p.confidence for p in seen.predictions]
    confidence = None if any(c is None for c in given) else np.array(given, float)

    def measure(chosen: np.ndarray) -> dict[str, float]:
        found = classification.scores(probabilities[chosen], targets[chosen], task, threshold)
        if task.kind == "multiclass":
            some = None if any(s is None for s in sets) else [sets[i] or () for i in chosen]
            found |= classification.trust_scores(some, abstained[chosen], said[chosen], targets[chosen] > 0.5, task)
            if confidence is not None:
                right = probabilities[chosen].argmax(axis=1) == targets[chosen].argmax(axis=1)
                found["ece_confidence"] = expected_calibration_error(confidence[chosen], right)
        return found

    result: dict[str, Any] = {
        "classification": intervals(measure, groups, samples=settings.bootstrap, seed=settings.seed)
    }
    if task.kind == "multiclass" and len(task.labels) > 1:
        from sklearn.metrics import confusion_matrix

        matrix = confusion_matrix(targets.argmax(axis=1), said.argmax(axis=1), labels=range(len(task.labels)))
        result["confusion_matrix"] = matrix.tolist()
    return result


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: safe_cell(plain(value)) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    """Under its final name only when whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        os.replace(temporary, path)
    except OSError as error:
        raise MedAttnError("unwritable", f"{path}: {error.strerror}; choose a folder that may be written") from error
    finally:
        temporary.unlink(missing_ok=True)
