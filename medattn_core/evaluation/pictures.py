"""Which curves a set of scores has, drawn into the folder of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.evaluation import plots
from medattn_core.inference import Predictor

NAMES = {
    "evidence": "evidence",
    "gradcam": "Grad-CAM",
    "gradcampp": "Grad-CAM++",
    "occlusion": "occlusion",
    "integrated_gradients": "integrated gradients",
}
"""Methods as a reader knows them."""


def draw(
    folder: Path, metrics: dict[str, Any], outputs: np.ndarray, targets: np.ndarray, predictor: Predictor
) -> dict[str, Path]:
    """Draw what there is to draw.

    Returns:
        Name of each picture to its file.
    """
    task = predictor.task
    drawn: dict[str, Path] = {}
    if task.kind == "regression":
        drawn["scatter"] = plots.scatter(folder / "predicted.png", targets[:, 0], outputs[:, 0], task.unit)
    else:
        p = task.probabilities(outputs)
        mixed = [k for k in range(p.shape[1]) if targets[:, k].min() < targets[:, k].max()]
        if mixed:
            names = [task.labels[k] for k in mixed]
            drawn["roc"] = plots.roc(folder / "roc.png", p[:, mixed], targets[:, mixed], names)
            drawn["precision_recall"] = plots.precision_recall(
                folder / "precision_recall.png", p[:, mixed], targets[:, mixed], names
            )
        if task.kind == "multiclass" and len(task.labels) > 1:
            right = targets[np.arange(len(p)), p.argmax(axis=1)] > 0.5
            drawn["reliability"] = plots.reliability(folder / "reliability.png", p.max(axis=1), right)
            drawn["confusion"] = plots.confusion(
                folder / "confusion.png", np.array(metrics["confusion_matrix"]), task.labels
            )
        else:
            drawn["reliability"] = plots.reliability(folder / "reliability.png", p.ravel(), targets.ravel() > 0.5)
    faith = metrics["fidelity"]
    methods = [name for name in NAMES if name in faith]
    for kind in ("deletion", "insertion") if methods else ():
        series = {NAMES[m]: faith[m][kind] for m in methods}
        what = "predicted value" if task.kind == "regression" else "probability of the true label"
        drawn[kind] = plots.lines(
            folder / f"{kind}.png", [100 * s for s in faith["shares"]], series,
            f"per cent of the image {'deleted' if kind == 'deletion' else 'shown'}", what,
        )  # fmt: skip
    froc = metrics["localisation"].get("froc")
    if froc:
        drawn["froc"] = plots.lines(
            folder / "froc.png", froc["false_positives_a_case"], {"evidence": froc["sensitivity"]},
            "false positives a scan", "lesions found",
        )  # fmt: skip
    return drawn
