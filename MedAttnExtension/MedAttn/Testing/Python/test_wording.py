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
        (
            {**multilabel([], a=0.4, b=0.3), "kind": "multiclass", "confidence": 0.7},
            "<b>Below the threshold.</b> Most likely: a 40.0 %",
        ),
        ({**multilabel([], a=0.4), "undecided": []}, "<b>No a found.</b> Probability: a 40.0 %"),
        ({**multilabel([], a=0.4), "kind": "multiclass"}, "<b>No a found.</b> Probability: a 40.0 %"),
        ({**multilabel([], a=0.4), "undecided": ["a"], "abstained": True}, "<b>Undecided:</b> a 40.0 %"),
        (
            {**multilabel(["a", "b"], a=0.9, b=0.6, c=0.1), "undecided": ["b"], "abstained": False},
            "<b>a 90.0 %</b><br><b>Undecided:</b> b 60.0 %",
        ),
    ],
)
def test_what_is_not_found_is_said(result: dict[str, Any], text: str) -> None:
    assert wording.finding(result) == text


NOT_KNOWN = "How often such a result is right is not known here:<br>"
STRANGE, PART = "the scan is unlike those the model was trained on", "only a region of interest could speak"


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (("unlike_training",), STRANGE),
        (("masked",), PART),
        (("masked", "unlike_training", "turned"), f"{STRANGE}<br>and {PART}"),
    ],
)
def test_no_reliability_is_claimed_that_does_not_hold(codes: tuple[str, ...], why: str) -> None:
    doubts = {"warnings": [{"code": code, "message": "m"} for code in codes]}
    label = {**multilabel(["a"], a=0.9, b=0.3), "kind": "multiclass", "confidence": 0.7}
    assert wording.finding(label) == "<b>a 90.0 %</b><br>Right in about 70.0 % of such cases"
    assert wording.finding({**label, **doubts}) == f"<b>a 90.0 %</b><br>{NOT_KNOWN}{why}."
    size = {"kind": "regression", "quantity": "size", "value": 3.0, "unit": "mL", "coverage": 0.9, "interval": [1, 5]}
    assert wording.finding(size) == "<b>size: 3 mL</b><br>90 % interval: 1 to 5"
    assert wording.finding({**size, **doubts}) == f"<b>size: 3 mL</b><br>{NOT_KNOWN}{why}."
    # Without a rule nothing is claimed, and nothing is to be taken back.
    assert wording.finding({**label, **doubts, "confidence": None}) == "<b>a 90.0 %</b>"
    assert wording.finding({**size, **doubts, "interval": None}) == "<b>size: 3 mL</b>"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (multilabel([], aneurysm=0.62), []),
        (multilabel(["mass", "edema"], edema=0.7, mass=0.8), ["mass", "edema"]),
        (multilabel(None, aneurysm=0.62), ["aneurysm"]),
        ({**multilabel(["mass", "edema"], edema=0.7, mass=0.8), "undecided": ["edema"]}, ["mass"]),
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass"}, ["a"]),
        ({**multilabel([], a=0.4, b=0.3), "kind": "multiclass"}, []),
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass", "abstained": True, "undecided": None}, []),
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass", "abstained": None, "undecided": None}, ["a"]),
        ({**multilabel(["a"], a=0.9, b=0.6), "abstained": True, "undecided": ["b"]}, ["a"]),
        ({**multilabel(None, a=0.4, b=0.3), "kind": "multiclass", "abstained": True}, []),
        ({"kind": "regression", "label": "volume", "present": None, "probabilities": {}}, ["volume"]),
    ],
)
def test_what_is_said_is_what_stands_out(result: dict[str, Any], said: list[str]) -> None:
    logits = dict.fromkeys(result["probabilities"] or ("volume",), 0.0)
    assert Finding("vtk1", {**result, "logits": logits}, {}, []).said == said


def test_what_cannot_be_decided_is_named_above_the_numbers_and_its_map_fades() -> None:
    result = {**multilabel(["a"], a=0.9, b=0.6), "undecided": ["b"], "abstained": False, "logits": {"a": 2, "b": 0}}
    assert "The model cannot decide about: b." in wording.notices(result, changed=False, live=True)
    fades = {label: Finding("vtk1", result, {"label": label}, []).undecided for label in ("a", "b")}
    assert fades == {"a": False, "b": True}
    unsure = {"kind": "multiclass", "label": "a", "probabilities": {"a": 0.5, "b": 0.4}, "abstained": True}
    assert "The model is not sure enough to decide." in wording.notices(unsure, changed=False, live=True)
    assert Finding("vtk1", {**unsure, "undecided": None}, {"label": "b"}, []).undecided
