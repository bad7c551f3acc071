"""The legend over the slice views: what it says, whether its ticks are exact, and how much it covers."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import ROOT
from MedAttnLib import overlay
from stand_ins.desk import Camera, Desk
from test_scene import EVIDENCE, place

LIMITS = [step * 10.0**power for power in range(-2, 4) for step in (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)]
"""Ends of the scale that the core chooses."""


def ticks(limit: float) -> list[str]:
    """What the legend's actor writes: the range in equal steps, through the format."""
    low, high = -limit, limit
    return [(overlay.LEGEND_FORMAT % (low + n / 4 * (high - low))).strip() for n in range(5)]


def test_ticks_are_those_of_the_report() -> None:
    code = (
        "import json, sys; from medattn_core.outputs.colour import Scale; "
        "from medattn_core.outputs.legend import Legend; "
        "print(json.dumps([Legend.of(Scale(limit=x, visible=x / 5, unit='')).ticks for x in json.load(sys.stdin)]))"
    )
    ask = [os.environ["MEDATTN_PYTHON"], "-c", code]
    text = json.dumps(LIMITS)
    out = subprocess.run(ask, cwd=ROOT, check=True, capture_output=True, text=True, input=text).stdout
    for limit, page in zip(LIMITS, json.loads(out), strict=True):
        shown = ticks(limit)
        assert [float(tick) for tick in shown] == [float(tick.replace("\N{MINUS SIGN}", "-")) for tick in page], limit
        assert shown[2] == "0"
        assert not any("e" in tick for tick in shown)


def test_ticks_of_a_quantity_are_plain_numbers(desk: Desk) -> None:
    assert ticks(1000.0) == ["-1000", "-500", "0", "500", "1000"]
    assert ticks(2.5) == ["-2.5", "-1.25", "0", "1.25", "2.5"]
    assert ticks(25.0)[3] == "12.5"
    node = place(desk, desk.volume(np.zeros((4, 5, 6)), np.eye(4)), np.ones((4, 5, 6)), limit=1000.0, visible=200.0)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetLabelFormat() == overlay.LEGEND_FORMAT
    assert legend.GetNumberOfLabels() == 5
    assert not legend.GetUseColorNamesForLabels()


@pytest.mark.parametrize(
    ("evidence", "unit", "undecided", "title"),
    [
        ({"label": "glioma"}, "logit/mL", False, "for glioma\nlogit/mL"),
        ({"label": "glioma"}, "logit/mL", True, "for glioma\nlogit/mL\nundecided"),
        ({"label": "glioma", "against": "pituitary"}, "logit/mL", False, "for glioma\nvs pituitary\nlogit/mL"),
        ({"label": "volume"}, "mm3/mL", False, "raises volume\nmm3/mL"),
        ({"label": "vestibular schwannoma"}, "logit/mL", False, "for vestibular\nschwannoma\nlogit/mL"),
    ],
)
def test_what_the_legend_says(evidence: dict, unit: str, undecided: bool, title: str) -> None:
    assert overlay.legend_title(evidence, unit, undecided) == title
    assert all(len(line) <= overlay.TITLE_WIDTH for line in title.split("\n"))


def covered(desk: Desk, camera: Camera, node: Any) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the legend's picture in a view."""
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    shots = []
    for visible in (True, False):
        legend.SetVisibility(visible)
        legend.Modified()
        shots.append(camera.shoot("Red").astype(int))
    changed = np.abs(shots[0] - shots[1]).max(axis=-1) > 8
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("size", [420, 1000])
@pytest.mark.parametrize(("label", "unit", "limit"), [("glioma", "logit/mL", 1.2), ("volume", "mm3/mL", 1000.0)])
def test_it_keeps_to_the_upper_right_corner(
    size: int, label: str, unit: str, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest it gets with a short label, an undecided result: less than a quarter by two fifths of the view."""
    monkeypatch.setitem(EVIDENCE, "label", label)
    monkeypatch.setitem(EVIDENCE, "unit", unit)
    desk = Desk(size=size)
    camera = Camera(desk)
    try:
        grey = desk.volume(np.full((20, 30, 40), 100, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "grey")
        node = place(desk, grey, np.zeros((20, 30, 40)), undecided=True, limit=limit, visible=limit / 5)
        top, bottom, left, right = (edge / size for edge in covered(desk, camera, node))
    finally:
        camera.close()
        desk.close()
    assert 0.0 < top < 0.08
    assert 0.3 < bottom < 0.42, "five ticks below each other need some room"
    assert 0.75 < left < 0.88
    assert 0.97 < right < 1.0, "the last letters are not cut off"
