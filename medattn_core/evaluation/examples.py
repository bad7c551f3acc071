"""The worst and the best cases as pictures: the evidence on the scan, drawn as in the reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medattn_core.datalists import Case
from medattn_core.datalists.case import NO_LABEL
from medattn_core.errors import log_trace
from medattn_core.evaluation.run import Seen, finding, true_labels
from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs import files, render
from medattn_core.outputs.render import Caption
from medattn_core.outputs.text import none_of, number, percent, pretty
from medattn_core.outputs.view import View
from medattn_core.tasks import TaskSpec

NAME = r"example_(worst|best)_[1-9]\d*\.png"
"""Of a picture, and of no other file."""
WIDTH = 900


@dataclass(frozen=True)
class Example:
    """One picture: ``worst`` or ``best``, the number of the case, the file, what it shows, whether in three planes."""

    kind: str
    case: int
    path: Path
    words: str
    wide: bool


def ranked(outputs: np.ndarray, targets: np.ndarray, task: TaskSpec) -> np.ndarray:
    """Indices of the cases from the worst to the best.

    By the absolute error of a value; by the probability of what is true of a case: of its label, of none where it has
    none, in multi-label the mean over the labels.
    """
    if task.kind == "regression":
        return np.argsort(-np.abs(outputs - targets)[:, 0], kind="stable")
    p, truth = task.probabilities(outputs), targets > 0.5
    if task.kind == "multilabel":
        of_truth = np.where(truth, p, 1 - p).mean(axis=1)
    else:
        of_truth = np.where(truth.any(axis=1), (p * truth).max(axis=1), 1 - p.max(axis=1))
    return np.argsort(of_truth, kind="stable")


def draw(
    folder: Path, seen: Seen, outputs: np.ndarray, targets: np.ndarray, predictor: Predictor, count: int
) -> list[Example]:
    """Draw the ``count`` worst and the ``count`` best cases; those that cannot be drawn are left out.

    The scans were not kept, so these few are predicted again. File names stay out of the pictures: they may be names.
    """
    order = ranked(outputs, targets, predictor.task)
    worst = list(order[:count])
    best = [i for i in order[::-1][:count] if i not in worst]
    found = []
    for kind, chosen in (("worst", worst), ("best", best)):
        for rank, index in enumerate(chosen, start=1):
            path = folder / f"example_{kind}_{rank}.png"
            row, case = seen.rows[index], seen.numbers[index]
            try:
                prediction = predictor(seen.cases[index].images)
                inside = _marked(seen.cases[index], prediction, targets[index])
                words = _picture(path, prediction, case, row, _label(prediction, targets[index], kind), inside)
            except Exception as error:  # a picture less; the numbers are there
                log_trace(error, f"example {kind} {rank} was not drawn")
                path.unlink(missing_ok=True)
                continue
            found.append(Example(kind, case, path, words, min(prediction.volume.shape) > 1))
    return found


def _label(prediction: Prediction, target: np.ndarray, kind: str) -> str:
    """The label whose map is drawn: the most probable; of several in a worst case the one furthest from true."""
    task = prediction.task
    if kind != "worst" or task.kind != "multilabel":
        return prediction.label
    return task.labels[int(np.abs(task.probabilities(prediction.logits) - target).argmax())]


def _marked(case: Case, prediction: Prediction, target: np.ndarray) -> np.ndarray | None:
    """The known finding, as far as the scores of the map use it: what is wrong with others is said there."""
    try:
        return finding(case, prediction, true_labels(target, prediction))
    except Exception:  # whatever it is: a line less, the picture is there
        return None


def _picture(
    path: Path, prediction: Prediction, case: int, row: dict[str, object], label: str, inside: np.ndarray | None
) -> str:
    view = View(prediction, prediction.evidence(label))
    first = view.regions[0] if view.regions else None
    if prediction.value is not None:
        unit = f" {pretty(prediction.unit)}" if prediction.unit else ""
        words = f"true {number(float(str(row['true'])), 4)}{unit}, predicted {number(prediction.value, 4)}{unit}"
    else:
        words = _answer(prediction, row, label)
    caption = Caption(title=f"Case {case}", subtitle=words, sides=view.sides)
    shown = view.planes(first, inside)
    picture = render.overlay(shown, view.window, view.scale, caption, mark=first is not None, width=WIDTH)
    files.write_bytes(path, render.png(picture))
    return words


def _answer(prediction: Prediction, row: dict[str, object], label: str) -> str:
    """What is true, what was said or left undecided, and the probability of the label whose map is drawn."""
    none = none_of(prediction.task.labels)
    true, said = ([] if row[name] == NO_LABEL else str(row[name]).split("|") for name in ("true", "said"))
    left = str(row["undecided"]).split("|") if row.get("undecided") else []
    left = left or ([prediction.label] if row.get("abstained") else [])
    sure = [one for one in said if one not in left]
    parts = [f"said: {', '.join(sure) or none}"] if sure or not left else []
    parts += [f"undecided: {', '.join(left)}"] if left else []
    words = f"true: {', '.join(true) or none}, {'; '.join(parts)}"
    given = percent(prediction.probabilities[label])
    if not prediction.task.takes_one:
        return f"{words}; {label} {given}"
    return f"{words}{'' if row['said'] == label else f' (most probable: {label})'}, {given}"
