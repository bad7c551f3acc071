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
        (multilabel([], aneurysm=0.62), "<b>No aneurysm.</b> Probability: aneurysm 62.0 %"),
        (multilabel(["aneurysm"], aneurysm=0.91), "<b>aneurysm 91.0 %</b>"),
        (multilabel([], edema=0.1, mass=0.3), "<b>None of the labels.</b> Probability: mass 30.0 %"),
        (multilabel(["mass", "edema"], edema=0.7, mass=0.8), "<b>mass 80.0 %, edema 70.0 %</b>"),
        (multilabel(None, aneurysm=0.62), "<b>aneurysm 62.0 %</b>"),  # a scene that an older version saved
        ({**multilabel(["a"], a=0.4, b=0.3), "kind": "multiclass"}, "<b>a 40.0 %</b>"),
        (
            {**multilabel([], a=0.4, b=0.3), "kind": "multiclass", "confidence": 0.7},
            "<b>Below the threshold.</b> Most likely: a 40.0 %",
        ),
        ({**multilabel([], a=0.4), "undecided": []}, "<b>No a.</b> Probability: a 40.0 %"),
        ({**multilabel([], a=0.4), "kind": "multiclass"}, "<b>No a.</b> Probability: a 40.0 %"),
        ({**multilabel([], a=0.4), "undecided": ["a"], "abstained": True}, "<b>Undecided:</b> a 40.0 %"),
        (
            {**multilabel(["a", "b"], a=0.9, b=0.6, c=0.1), "undecided": ["b"], "abstained": False},
            "<b>a 90.0 %</b><br><b>Undecided:</b> b 60.0 %",
        ),
    ],
)
def test_what_is_not_found_is_said(result: dict[str, Any], text: str) -> None:
    assert wording.finding(result) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2829.66, "+2830"), (195.53, "+195.5"), (-30.714, "\N{MINUS SIGN}30.71"), (0.012345, "+0.01235"), (0.0, "0.00")],
)
def test_contributions_have_the_digits_of_the_report(value: float, text: str) -> None:
    assert wording.contribution(value, "mm3", regression=True) == f"{text} mm3"


def test_contributions_to_a_logit_have_two_decimals() -> None:
    texts = [wording.contribution(value, "logit", regression=False) for value in (2.2249, -12.5, -0.001)]
    assert texts == ["+2.22 logit", "\N{MINUS SIGN}12.50 logit", "0.00 logit"]


NOT_KNOWN = "How often such a result is right is not known here:<br>"
STRANGE, PART = "the scan is unlike those the model was trained on", "attention was restricted to a region of interest"
WHOLE = "the model was evaluated on single slices only, not on whole volumes"


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (("unlike_training",), STRANGE),
        (("whole_volume",), WHOLE),
        (("masked",), PART),
        (("masked", "unlike_training", "turned"), f"{STRANGE}<br>and {PART}"),
    ],
)
def test_no_reliability_is_claimed_that_does_not_hold(codes: tuple[str, ...], why: str) -> None:
    strong = "a 90.0 %", "size: 3 mL", "No a."
    if "unlike_training" not in codes:  # else nothing stands out
        strong = tuple(f"<b>{text}</b>" for text in strong)
    doubts = {"warnings": [{"code": code, "message": "m"} for code in codes]}
    label = {**multilabel(["a"], a=0.9, b=0.3), "kind": "multiclass", "confidence": 0.7}
    assert wording.finding(label) == "<b>a 90.0 %</b><br>Right in about 70.0 % of such cases"
    assert wording.finding({**label, **doubts}) == f"{strong[0]}<br>{NOT_KNOWN}{why}."
    size = {"kind": "regression", "quantity": "size", "value": 3.0, "unit": "mL", "coverage": 0.9, "interval": [1, 5]}
    assert wording.finding(size) == "<b>size: 3 mL</b><br>90 % interval: 1 to 5"
    assert wording.finding({**size, **doubts}) == f"{strong[1]}<br>{NOT_KNOWN}{why}."
    # The engine gives neither number nor interval then, but the reasons, be they known here or not.
    order = [code for code in ("unlike_training", "masked", "whole_volume") if code in codes]
    told = {"confidence": None, "interval": None, "unmeasured": dict.fromkeys(order, "a reason")}
    assert wording.finding({**label, **told}) == f"{strong[0]}<br>{NOT_KNOWN}{why}."
    assert wording.finding({**size, **told}) == f"{strong[1]}<br>{NOT_KNOWN}{why}."
    each = {**multilabel([], a=0.4), **told}
    assert wording.finding(each) == f"{strong[2]} Probability: a 40.0 %<br>{NOT_KNOWN}{why}."
    new = wording.finding({**label, **told, "unmeasured": {"of_tomorrow": "<i>"}})
    assert new == f"<b>a 90.0 %</b><br>{NOT_KNOWN}&lt;i&gt;."
    # Without a rule nothing is claimed, and nothing is to be taken back.
    assert wording.finding({**label, **doubts, "confidence": None}) == strong[0]
    assert wording.finding({**size, **doubts, "interval": None}) == strong[1]


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


def test_the_limits_of_what_is_undecided_are_said() -> None:
    """With the finding where it is undecided, else under the probabilities; scenes of older versions know none."""
    one = {**multilabel([], a=0.2), "undecided": ["a"], "abstained": True, "limits": {"a": [0.11829, 0.3624]}}
    assert wording.finding(one) == "<b>Undecided from 11.8 % to 36.2 %:</b> a 20.0 %"
    assert "Undecided" not in wording.note(one)
    sure = {**one, **multilabel(["a"], a=0.9), "undecided": [], "abstained": False}
    assert wording.finding(sure) == "<b>a 90.0 %</b>"
    assert wording.note(sure).startswith("Undecided from 11.8 % to 36.2 %.\n")
    two = {
        **multilabel(["c"], a=0.2, b=0.3, c=0.9),
        "undecided": ["b", "a"],
        "limits": {"a": [0.1, 0.5], "b": [0, 0.4]},
    }
    assert wording.finding(two) == (
        "<b>c 90.0 %</b><br><b>Undecided from 0 % to 40 %:</b> b 30.0 %<br><b>Undecided from 10 % to 50 %:</b> a 20.0 %"
    )
    most = {**multilabel(["a"], a=0.6, b=0.3), "kind": "multiclass", "abstained": True, "undecided": None}
    assert wording.finding(most) == "<b>Undecided.</b> Most likely: a 60.0 %"
    most["limits"] = {"a": [0.0, 0.91586], "b": [0.0, 0.91586]}
    assert wording.finding(most) == "<b>Undecided below 91.6 %.</b> Most likely: a 60.0 %"
    assert "Undecided below 91.6 %." in wording.note({**most, "abstained": False})
    assert wording.limit(0.0004) == "0.04 %"


def test_whether_probabilities_are_calibrated_is_said() -> None:
    """Under the table; nothing of quantities, and of scenes of older versions, which do not know."""
    text = "Not calibrated: how often such a probability is right is not known."
    one = multilabel(["a"], a=0.9)
    assert text in wording.note({**one, "calibrated": False}).split("\n")
    yes = {**one, "calibrated": True, "unmeasured": {}}
    assert "Calibrated on held-out cases." in wording.note(yes).split("\n")
    elsewhere = (
        {**yes, "unmeasured": {"masked": "m"}},
        {**one, "calibrated": False, "unmeasured": {"masked": "m"}},  # the finding says it, and a warning
        {**yes, "warnings": [{"code": "whole_volume", "message": "m"}]},
    )
    for known in (*elsewhere, one, {"kind": "regression", "value": 3.0, "calibrated": None}):
        assert "alibrated" not in wording.note(known)


def test_what_the_share_of_a_single_label_means_is_said() -> None:
    """Of a decision that has a rule of shares and no confidence: it is not the chance that it is right."""
    one = {**multilabel([], a=0.003), "undecided": [], "abstained": False, "limits": {"a": [0.1, 0.86]}}
    rule = {**one, "coverage": 0.95, "confidence": None, "calibrated": True, "unmeasured": {}}
    assert wording.note(rule).startswith(
        "Calibrated on held-out cases.\nOf scans with it, as of scans without it, 95 % are judged rightly\n"
        "or left undecided. That is not the chance that this answer is right.\nUndecided from 10 % to 86 %.\n"
    )
    two = {**rule, **multilabel([], a=0.003, b=0.2), "limits": {"a": [0.1, 0.86], "b": [0.1, 0.86]}}
    others = ({"confidence": 0.7}, {"coverage": None}, {"undecided": ["a"]}, {"unmeasured": {"masked": "m"}}, two)
    for other in others:
        assert "not the chance" not in wording.note({**rule, **other})


def test_whether_another_answer_would_be_undecided() -> None:
    most = {"kind": "multiclass", "abstained": False, "limits": {"a": [0.0, 0.9], "b": [0.0, 0.9]}}
    assert wording.leaves_open(most, {"a": 0.6, "b": 0.4}, "b")
    assert not wording.leaves_open(most, {"a": 0.95, "b": 0.4}, "b"), "the most probable one decides"
    assert not wording.leaves_open({**most, "limits": None}, {"a": 0.6, "b": 0.4}, "a")
    assert not wording.leaves_open({**most, "abstained": None}, {"a": 0.6, "b": 0.4}, "a"), "none of the labels"
    each = {"kind": "multilabel", "abstained": False, "limits": {"a": [0.1, 0.86]}}
    assert [wording.leaves_open(each, {"a": share, "b": 0.5}, "a") for share in (0.05, 0.5, 0.9)] == [
        False,
        True,
        False,
    ]
    assert not wording.leaves_open(each, {"a": 0.5, "b": 0.5}, "b"), "it has no rule"
