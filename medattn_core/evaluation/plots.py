"""The curves as PNG."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.metrics.calibration import binned
from medattn_core.metrics.ranking import mixed
from medattn_core.outputs.own_files import SOFTWARE

INK, SOFT, LINE = "#1c2128", "#5e6670", "#d5d8dc"
COLOURS = ("#2f5d8a", "#c2703d", "#4f8f6b", "#8c5a94", "#9a8b2f", "#b04a5a", "#4a8fa3", "#6f6f6f")
STYLES = ("-", "--", ":", "-.")
"""Of lines, one for each round of the colours: with more labels than colours no two look alike."""

TENTHS = 10
"""Bins of the reliability diagram, as its caption says: a dot needs cases enough. The calibration errors have
:data:`medattn_core.metrics.calibration.BINS`."""

IN_LEGEND, IN_MATRIX = 44, 24
"""Characters in a line of a name, so that capitals with the score behind them fit into a legend, too."""

HEADS = (0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.2, 0.9, 0.1)
"""Share of a shortened name that is its beginning; the first that leaves all names different is taken."""


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
    axes.set_xlabel(words(x), color=INK)
    axes.set_ylabel(words(y), color=INK)
    lines, names = axes.get_legend_handles_labels()
    if legend and lines:
        # Below the axes: inside, it covers curves as soon as there are more than a few labels.
        how = {"loc": "outside lower center", "frameon": False, "fontsize": 9, "handlelength": 2.8}
        drawn = figure.legend(lines, names, ncols=1 if len(names) < 4 else 2, **how)
        if drawn.get_window_extent().width > figure.bbox.width:
            drawn.remove()
            drawn = figure.legend(lines, names, ncols=1, **how)
        # The figure grows by it: else the curves would shrink with every label.
        figure.set_figheight(figure.get_figheight() + drawn.get_window_extent().height / figure.dpi)
    figure.savefig(path, format="png", metadata={"Software": SOFTWARE})
    return path


def words(text: str) -> str:
    """Text that matplotlib writes as it is: a dollar sign would start mathematics."""
    return text.replace("$", r"\$")


def _shown(text: str) -> str:
    """A label for a legend; matplotlib leaves out those that begin with an underscore."""
    return words(f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text)


def _cut(text: str, head: float, width: int) -> str:
    """At most two lines of ``width`` characters; left out is what follows the share ``head`` of what is kept."""
    lines, room = textwrap.wrap(text, width), min(2 * width, len(text))
    while len(lines) > 2:
        start = round(head * room)
        first = text[: start + 1].rsplit(" ", 1)[0]  # whole words, where there are any
        last = text[len(text) - room + start :].split(" ", 1)[-1]
        lines = textwrap.wrap(f"{first}\N{HORIZONTAL ELLIPSIS} {last}", width)
        room -= 1  # words do not always fill their line
    return "\n".join(lines)


def short_names(labels: Sequence[str], width: int) -> list[str]:
    """Labels over at most two lines, the long ones without their middle, and different where the labels are."""
    for head in HEADS:
        names = [_cut(label, head, width) for label in labels]
        if len(set(names)) == len(set(labels)):
            return names
    return [_cut(f"{number}: {label}", HEADS[0], width) for number, label in enumerate(labels, 1)]


def _line(index: int) -> dict[str, str]:
    """Colour and style of a curve."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index // len(COLOURS) % len(STYLES)]}


def roc(path: Path, ranks: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Path:
    """ROC curve of each label that some cases have and some have not, in the order of ``ranks`` ``(N, K)``."""
    from sklearn.metrics import auc, roc_curve

    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    names, truth = short_names(labels, IN_LEGEND), targets > 0.5
    for k in np.flatnonzero(mixed(truth)).tolist():
        false, true, _ = roc_curve(truth[:, k], ranks[:, k])
        name = _shown(f"{names[k]}, AUC {auc(false, true):.3f}")
        axes.plot(false, true, **_line(k), label=name)
    axes.set_aspect("equal")
    return _finish(figure, axes, path, "1 - specificity", "sensitivity")


def precision_recall(path: Path, ranks: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Path:
    """Precision over recall of each label, in the order of ``ranks`` ``(N, K)``."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _figure()
    names, truth = short_names(labels, IN_LEGEND), targets > 0.5
    for k in np.flatnonzero(mixed(truth)).tolist():
        precision, recall, _ = precision_recall_curve(truth[:, k], ranks[:, k])
        score = average_precision_score(truth[:, k], ranks[:, k])
        name = _shown(f"{names[k]}, {score:.3f}")
        axes.step(recall, precision, where="post", **_line(k), label=name)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(-0.02, 1.02)
    axes.set_aspect("equal")
    return _finish(figure, axes, path, "recall (sensitivity)", "precision")


def reliability(
    path: Path,
    reported: np.ndarray,
    right: np.ndarray,
    given: str = "predicted probability",
    shown: str = "share that was right",
) -> Path:
    """How often what was said was so in each tenth of the given probability; each dot says how many it stands for.

    Args:
        path: of the PNG.
        reported: probabilities: of each case that of its label, or of each case and label.
        right: boolean, the same shape: whether it was so.
        given, shown: what the axes are of.
    """
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    used = binned(reported, TENTHS)
    x = [float(reported[held].mean()) for held in used]
    y = [float(right[held].mean()) for held in used]
    count = [int(held.sum()) for held in used]
    axes.plot(x, y, color=COLOURS[0], linewidth=1)
    size = [20 + 300 * n / len(reported) for n in count]
    axes.scatter(x, y, s=size, color=COLOURS[0], alpha=0.75, zorder=3, clip_on=False)
    for across, up, n in zip(x, y, count, strict=True):
        below = up > 0.5  # towards the middle, where there is room
        axes.annotate(str(n), (across, up), xytext=(0, -12 if below else 12), textcoords="offset points", ha="center",
                      va="top" if below else "bottom", fontsize=8, color=SOFT)  # fmt: skip
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    return _finish(figure, axes, path, f"{given}", shown, legend=False)


def confusion(path: Path, matrix: np.ndarray, labels: Sequence[str]) -> Path:
    """Confusion matrix, coloured by the share of the true label."""
    names = short_names(labels, IN_MATRIX)
    long = max(len(line) for name in names for line in name.split("\n"))
    wide = 0.09 * long
    cell = 0.8 if len(labels) <= 5 else 0.45  # on the page all pictures have one width: a wide one has small letters
    figure, axes = _figure(1.6 + wide + cell * len(labels), 1.2 + wide + 0.95 * cell * len(labels))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    for i in range(len(labels)):
        for j in range(len(labels)):
            axes.text(j, i, str(int(matrix[i, j])), ha="center", va="center", color="w" if share[i, j] > 0.5 else INK)
    names = [words(name) for name in names]
    # Upright, names of any length stand beside each other; short ones are easier to read level.
    turned = {"rotation": 90, "multialignment": "right"} if long > 7 else {}
    axes.set_xticks(range(len(labels)), names, **turned)
    axes.set_yticks(range(len(labels)), names)
    return _finish(figure, axes, path, "reported", "true", legend=False)


def scatter(path: Path, truth: np.ndarray, values: np.ndarray, unit: str) -> Path:
    """Predicted over true quantity."""
    figure, axes = _figure()
    low, high = float(min(truth.min(), values.min())), float(max(truth.max(), values.max()))
    axes.plot([low, high], [low, high], color=LINE, linewidth=1)
    axes.scatter(truth, values, s=14, color=COLOURS[0], alpha=0.7)
    axes.set_aspect("equal")
    suffix = f", {unit}" if unit else ""
    return _finish(figure, axes, path, f"true{suffix}", f"predicted{suffix}", legend=False)


def lines(
    path: Path,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_name: str,
    y_name: str,
    *,
    spread: Sequence[Sequence[float]] | None = None,
    limits: tuple[float, float] | None = None,
    start: float | None = None,
) -> Path:
    """Several curves over the same positions.

    Args:
        path: of the PNG.
        x: positions.
        series: name to values; the first is drawn strongest.
        x_name, y_name: of the axes.
        spread: lower and upper quartile of the first, drawn as a band.
        limits: of the vertical axis; equal ones make pictures comparable.
        start: of the horizontal axis, where nothing can lie before it.
    """
    figure, axes = _figure()
    if spread is not None:
        axes.fill_between(x, spread[0], spread[1], color=COLOURS[0], alpha=0.15, linewidth=0)
    for index, (name, y) in enumerate(series.items()):
        first = index == 0
        axes.plot(x, y, **_line(index), linewidth=2.2 if first else 1.3, label=_shown(name))
    if limits is not None:
        axes.set_ylim(*limits)
    if start is not None:
        axes.set_xlim(left=start)
    return _finish(figure, axes, path, x_name, y_name, legend=len(series) > 1)
