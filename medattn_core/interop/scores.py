"""Scores of `evaluate.json`: cases of a data list, and the measures that a bundle documents about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.datalists import TRAINING_SECTION, load
from medattn_core.datalists.targets import targets_of
from medattn_core.interop.engine import Handler
from medattn_core.metrics.ranking import macro_auc, ranking
from medattn_core.metrics.regression import regression_metrics
from medattn_core.tasks import TaskSpec


def cases_of(
    path: str, task: TaskSpec | Mapping[str, Any], fold: int | None = None, section: str = TRAINING_SECTION
) -> list[dict[str, Any]]:
    """Cases of a data list as dictionaries with ``image``, ``source`` and ``target``.

    Args:
        path: data list, CSV or JSON.
        task: of the model, or its ``to_dict`` data.
        fold: only its cases; all where the list names no folds or this is None.
        section: list within a JSON object.

    Raises:
        DataListError: the list is invalid, or a case has no label that the task knows.
    """
    task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))
    cases = load(path, section=section)
    if fold is not None and any(case.fold == fold for case in cases):
        cases = [case for case in cases if case.fold == fold]
    return [
        {
            "image": [str(image) for image in case.images] if case.channels else str(case.image),
            "source": str(case.image),
            "target": targets_of(case, task),
        }
        for case in cases
    ]


def scores(outputs: np.ndarray, targets: np.ndarray, task: TaskSpec) -> dict[str, float]:
    """Accuracy and macro AUC, or mean absolute error and R2: the names of a bundle's ``eval_metrics``.

    Args:
        outputs: ``(N, K)`` logits or values.
        targets: ``(N, K)``.
    """
    if task.kind == "regression":
        return regression_metrics(outputs[:, 0], targets[:, 0])
    found = {"auc": float(macro_auc(ranking(outputs, task), targets))}
    if task.kind == "multiclass":
        found["accuracy"] = float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
    return found


class Scores(Handler):
    """Collects outputs and targets and writes ``metrics.json``; an engine's ``state.metrics`` holds the same.

    Args:
        output_dir: made if absent.
        task: of the model, or its ``to_dict`` data.
    """

    def __init__(self, output_dir: str, task: TaskSpec | Mapping[str, Any]) -> None:
        self.folder = Path(output_dir)
        self.task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))
        self.outputs: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def __call__(self, engine: Any) -> None:
        """Note the items of a batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.outputs.append(np.asarray(output["pred"].detach().cpu(), np.float64).reshape(-1))
            self.targets.append(np.asarray(item["target"], np.float64).reshape(-1))

    def finish(self, engine: Any) -> None:
        """Compute and write."""
        metrics = scores(np.stack(self.outputs), np.stack(self.targets), self.task)
        engine.state.metrics.update(metrics)
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"cases": len(self.outputs), **metrics}, indent=2)
        (self.folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
        self.outputs, self.targets = [], []
