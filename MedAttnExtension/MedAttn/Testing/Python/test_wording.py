"""The finding in words: a detection that found nothing must not read like a diagnosis."""

from __future__ import annotations

from typing import Any

import pytest
from MedAttnLib import wording
from MedAttnLib.finding import Finding


def multilabel(present: list[str] | None, **probabilities: float) -> dict[str, Any]:
    best = max(probabilities, key=probabilities.__getitem__)
    return {"kind": "multilabel", "label": best, "present": present, "probabilities": probabilities}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (multilabel([], aneurysm=0.62), "<b>No aneurysm found.</b> Probability: aneurysm 62.0 %"),
        (multilabel(["aneurysm"], aneurysm=0.91), "<b>aneurysm 91.0 %</b>"),
        (multilabel([], edema=0.1, mass=0.3), "<b>None of the labels found.</b> Probability: mass 30.0 %"),
        (multilabel(["mass", "edema"], edema=0.7, mass=0.8), "<b>mass 80.0 %, edema 70.0 %</b>"),
        (multilabel(None, aneurysm=0.62), "<b>aneurysm 62.0 %</b>"),  # a scene that an older version saved
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass"}, "<b>a 40.0 %</b>"),
    ],
)
def test_what_is_not_found_is_said(result: dict[str, Any], text: str) -> None:
    assert wording.finding(result) == text


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (multilabel([], aneurysm=0.62), []),
        (multilabel(["mass", "edema"], edema=0.7, mass=0.8), ["mass", "edema"]),
        (multilabel(None, aneurysm=0.62), ["aneurysm"]),
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass"}, ["a"]),
        ({"kind": "regression", "label": "volume", "present": None, "probabilities": {}}, ["volume"]),
    ],
)
def test_what_is_said_is_what_stands_out(result: dict[str, Any], said: list[str]) -> None:
    logits = dict.fromkeys(result["probabilities"] or ("volume",), 0.0)
    assert Finding("vtk1", {**result, "logits": logits}, {}, []).said == said
