"""The finding in words: a detection that found nothing must not read like a diagnosis."""

from __future__ import annotations

from typing import Any

import pytest
from MedAttnLib import wording


def multilabel(present: list[str] | None, **probabilities: float) -> dict[str, Any]:
    best = max(probabilities, key=probabilities.__getitem__)
    return {"kind": "multilabel", "label": best, "present": present, "probabilities": probabilities}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (multilabel([], aneurysm=0.62), "<b>No aneurysm found:</b> 62.0 %"),
        (multilabel(["aneurysm"], aneurysm=0.91), "<b>aneurysm 91.0 %</b>"),
        (multilabel([], edema=0.1, mass=0.3), "<b>None of the labels found.</b> mass 30.0 %"),
        (multilabel(["mass", "edema"], edema=0.7, mass=0.8), "<b>mass 80.0 %, edema 70.0 %</b>"),
        (multilabel(None, aneurysm=0.62), "<b>aneurysm 62.0 %</b>"),  # a scene that an older version saved
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass"}, "<b>a 40.0 %</b>"),
    ],
)
def test_what_is_not_found_is_said(result: dict[str, Any], text: str) -> None:
    assert wording.finding(result) == text
