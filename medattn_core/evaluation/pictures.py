"""Which curves a set of scores has, drawn into the folder of the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.datalists.case import NO_LABEL
from medattn_core.evaluation import classification, plots
from medattn_core.metrics.ranking import mixed, ranking
from medattn_core.outputs import files
from medattn_core.outputs.text import none_of, pretty
from medattn_core.tasks import TaskSpec

NAMES = {
    "evidence": "evidence",
    "gradcam": "Grad-CAM",
    "gradcam_encoder": "Grad-CAM, last stage",
    "gradcampp": "Grad-CAM++",
    "occlusion": "occlusion",
    "integrated_gradients": "integrated gradients",
}
"""Methods as a reader knows them."""

FILES = {
    "scatter": "predicted.png",
    "roc": "roc.png",
    "precision_recall": "precision_recall.png",
    "reliability": "reliability.png",
    "reliability_confidence": "reliability_confidence.png",
    "confusion": "confusion.png",
    "deletion": "deletion.png",
    "insertion": "insertion.png",
    "froc": "froc.png",
}
"""Name of each picture to its file."""


def draw(
    folder: Path,
    metrics: dict[str, Any],
    outputs: np.ndarray,
    targets: np.ndarray,
    task: TaskSpec,
    confidence: np.ndarray | None = None,
) -> dict[str, Path]:
    """Draw what there is to draw.

    Args:
        folder: of the results.
        metrics: content of metrics.json.
        outputs, targets: ``(N, K)``.
        task: of the model.
        confidence: ``(N,)`` probability that the named label is right, where the model states it.

    Returns:
        Name of each picture to its file.
    """
    drawn: dict[str, Path] = {}

    def keep(name: str, plot: Callable[..., Path], *arguments: Any, **options: Any) -> None:
        with files.replacing(folder / FILES[name]) as temporary:
            plot(temporary, *arguments, **options)
        drawn[name] = folder / FILES[name]

    if task.kind == "regression":
        keep("scatter", plots.scatter, targets[:, 0], outputs[:, 0], pretty(task.unit))
    else:
        p, truth = task.probabilities(outputs), targets > 0.5
        drawable = np.flatnonzero(mixed(truth))
        if len(drawable):
            names = [task.labels[k] for k in drawable]
            ranks = ranking(outputs, task)[:, drawable]
            keep("roc", plots.roc, ranks, truth[:, drawable], names)
            keep("precision_recall", plots.precision_recall, ranks, truth[:, drawable], names)
        shown_as = "share that was right" if task.takes_one else "share of cases that have the label"
        keep("reliability", plots.reliability, *classification.reported_probability(p, truth, task), shown=shown_as)
        if confidence is not None and task.takes_one and truth.any():
            shown = truth.any(axis=1)
            right = truth[np.arange(len(p)), p.argmax(axis=1)]
            keep(
                "reliability_confidence", plots.reliability, confidence[shown], right[shown], given="stated confidence"
            )
        if "confusion_matrix" in metrics:
            labels = [none_of(task.labels) if label == NO_LABEL else label for label in metrics["confusion_labels"]]
            keep("confusion", plots.confusion, np.array(metrics["confusion_matrix"]), labels)
    faith = metrics["fidelity"]
    methods = [name for name in NAMES if name in faith]
    regression = task.kind == "regression"
    suffix = f", {pretty(task.unit)}" if task.unit else ""
    for kind in ("deletion", "insertion") if methods else ():
        keep(
            kind, plots.lines, [100 * s for s in faith["shares"]], {NAMES[m]: faith[m][kind] for m in methods},
            f"per cent of the image {'deleted' if kind == 'deletion' else 'shown'}",
            f"predicted value{suffix}" if regression else "probability of the true label",
            spread=faith["evidence"][f"{kind}_quartiles"], limits=None if regression else (-0.02, 1.02),
        )  # fmt: skip
    froc = metrics["localisation"].get("froc")
    if froc and len(froc["sensitivity"]) > 1:
        keep(
            "froc", plots.lines, froc["false_positives_a_case"], {"evidence": froc["sensitivity"]},
            "false positives per scan", "share of lesions found", limits=(-0.02, 1.02), start=0.0,
        )  # fmt: skip
    return drawn
