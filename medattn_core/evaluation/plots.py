"""The curves as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

INK, SOFT, LINE = "#1c2128", "#5e6670", "#d5d8dc"
COLOURS = ("#2f5d8a", "#c2703d", "#4f8f6b", "#8c5a94", "#9a8b2f", "#b04a5a", "#4a8fa3", "#6f6f6f")


def _figure(width: float = 5.2, height: float = 4.2) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=SOFT)
    for spine in axes.spines.values():
        spine.set_color(LINE)
    axes.grid(color=LINE, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _finish(figure: Any, axes: Any, path: Path, x: str, y: str, *, legend: bool = True) -> Path:
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    if legend:
        axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Software": None})
    return path


def roc(path: Path, probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Path:
    """ROC curve of each label that some cases have and some have not."""
    from sklearn.metrics import auc, roc_curve

    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    for k, label in enumerate(labels):
        truth = targets[:, k] > 0.5
        if truth.any() and not truth.all():
            false, true, _ = roc_curve(truth, probabilities[:, k])
            axes.plot(false, true, color=COLOURS[k % len(COLOURS)], label=f"{label}, AUC {auc(false, true):.3f}")
    axes.set_aspect("equal")
    return _finish(figure, axes, path, "1 - specificity", "sensitivity")


def precision_recall(path: Path, probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Path:
    """Precision over recall of each label."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _figure()
    for k, label in enumerate(labels):
        truth = targets[:, k] > 0.5
        if truth.any() and not truth.all():
            precision, recall, _ = precision_recall_curve(truth, probabilities[:, k])
            score = average_precision_score(truth, probabilities[:, k])
            axes.step(recall, precision, where="post", color=COLOURS[k % len(COLOURS)], label=f"{label}, {score:.3f}")
    axes.set_ylim(0, 1.02)
    axes.set_aspect("equal")
    return _finish(figure, axes, path, "recall (sensitivity)", "precision")


def reliability(path: Path, reported: np.ndarray, right: np.ndarray, bins: int = 10) -> Path:
    """How often the model was right at each probability it gave; the size of a dot is the number of cases."""
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    index = np.clip((reported * bins).astype(int), 0, bins - 1)
    used = [b for b in range(bins) if (index == b).any()]
    x = [float(reported[index == b].mean()) for b in used]
    y = [float(right[index == b].mean()) for b in used]
    size = [20 + 400 * float((index == b).mean()) for b in used]
    axes.plot(x, y, color=COLOURS[0], linewidth=1)
    axes.scatter(x, y, s=size, color=COLOURS[0], alpha=0.75, zorder=3)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_aspect("equal")
    return _finish(figure, axes, path, "probability that was given", "share that was right", legend=False)


def confusion(path: Path, matrix: np.ndarray, labels: Sequence[str]) -> Path:
    """Confusion matrix, coloured by the share of the true label."""
    figure, axes = _figure(1.6 + 1.0 * len(labels), 1.2 + 0.9 * len(labels))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    for i in range(len(labels)):
        for j in range(len(labels)):
            axes.text(j, i, str(int(matrix[i, j])), ha="center", va="center", color="w" if share[i, j] > 0.5 else INK)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    return _finish(figure, axes, path, "said", "true", legend=False)


def scatter(path: Path, truth: np.ndarray, values: np.ndarray, unit: str) -> Path:
    """Predicted over true quantity."""
    figure, axes = _figure()
    low, high = float(min(truth.min(), values.min())), float(max(truth.max(), values.max()))
    axes.plot([low, high], [low, high], color=LINE, linewidth=1)
    axes.scatter(truth, values, s=14, color=COLOURS[0], alpha=0.7)
    axes.set_aspect("equal")
    suffix = f", {unit}" if unit else ""
    return _finish(figure, axes, path, f"true{suffix}", f"predicted{suffix}", legend=False)


def lines(path: Path, x: Sequence[float], series: Mapping[str, Sequence[float]], x_name: str, y_name: str) -> Path:
    """Several curves over the same positions."""
    figure, axes = _figure()
    for index, (name, y) in enumerate(series.items()):
        first = index == 0
        axes.plot(x, y, color=COLOURS[index % len(COLOURS)], linewidth=2.2 if first else 1.3, label=name)
    return _finish(figure, axes, path, x_name, y_name)
