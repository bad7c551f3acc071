"""Curves and matrices of many labels with long names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core.evaluation import plots

LONG = [f"A very long finding name number {k}, of the left lower lobe" for k in range(10)]
MANY = [f"finding {k}" for k in range(14)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Figure and axes of each picture."""
    found: list[tuple[Any, Any]] = []
    finish = plots._finish

    def kept(figure: Any, axes: Any, *rest: Any, **more: Any) -> Path:
        found.append((figure, axes))
        return finish(figure, axes, *rest, **more)

    monkeypatch.setattr(plots, "_finish", kept)
    return found


@pytest.mark.parametrize("plot", [plots.roc, plots.precision_recall])
@pytest.mark.parametrize("labels", [MANY[:3], LONG, MANY, ["W" * 20] * 4, ["GLIOMA OF THE HAND " * 12, "a", "b", "c"]])
def test_the_legend_is_whole(
    tmp_path: Path, drawn: list[tuple[Any, Any]], plot: Callable[..., Path], labels: list[str]
) -> None:
    """All names lie inside the picture, each line looks different, and the curves keep their size."""
    rng = np.random.default_rng(0)
    targets = np.eye(len(labels))[np.arange(60) % len(labels)]
    plot(tmp_path / "plot.png", rng.normal(size=targets.shape) + targets, targets, labels)
    (figure, axes) = drawn[0]
    (legend,) = figure.legends
    place = legend.get_window_extent()
    assert place.x0 >= 0
    assert place.y0 >= 0
    assert place.x1 <= figure.bbox.width
    assert not place.overlaps(axes.get_window_extent())
    assert axes.get_window_extent().height > 350
    lines, names = axes.get_legend_handles_labels()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(labels)
    assert all(name[-5:].startswith((" 0.", "0.", "1.")) for name in names)
    if labels is LONG:
        assert [name.replace("\n", " ").rsplit(",", 1)[0] for name in names] == LONG
        assert len({text.get_window_extent().x0 for text in legend.get_texts()}) == 1


def test_names_in_a_matrix_differ(tmp_path: Path, drawn: list[tuple[Any, Any]]) -> None:
    plots.confusion(tmp_path / "plot.png", np.eye(10, dtype=int), LONG)
    axes = drawn[0][1]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        names = [tick.get_text() for tick in ticks]
        assert len(set(names)) == 10
        assert all(name.startswith("A very long") and name.endswith("lower lobe") for name in names)
        boxes = [tick.get_window_extent() for tick in ticks]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))


@pytest.mark.parametrize(("labels", "names"), [
    (["glioma", "no tumour"], ["glioma", "no tumour"]),
    (["enlarged cardiomediastinum"], ["enlarged\ncardiomediastinum"]),
    # Under 48 characters, but over two lines of words.
    (["mild degenerative osteochondropathy of the knee"], ["mild degenerative… of\nthe knee"]),
    # No cut of 48 characters tells these apart.
    (["x" * 90 + k + "x" * 90 for k in "ab"], [f"{n}:…\n{'x' * 24}" for n in (1, 2)]),
    ([""], [""]),
])  # fmt: skip
def test_short_names(labels: list[str], names: list[str]) -> None:
    assert plots.short_names(labels, 24) == names
