"""What is said of a scan is the same wherever it is said: no output states a finding that the model does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medattn_core.batch.scanner import words_of
from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.errors import Notice
from medattn_core.inference.prediction import Prediction
from medattn_core.outputs import tables
from medattn_core.outputs.overview import overview
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from tests.outputs.conftest import Predict

BELOW = (Notice("below_threshold", "no label reaches it"),)
UNSURE = Trust(undecided={"b": Undecided(present_from=0.1, absent_to=0.6)}, coverage=0.9)
ABSTAINS = Trust(abstain_below=0.95)


def predicted(predict: Predict, volume: Volume, probabilities: dict[str, float], **more: Any) -> Prediction:
    """A prediction with these probabilities."""
    of = {name: more.pop(name) for name in ("warnings", "trust") if name in more}
    kind = more.pop("kind", "multiclass")
    p = np.array(list(probabilities.values()))
    one = predict(volume, labels=tuple(probabilities), **more)
    wanted = np.log(p) if one.task.activation == "softmax" else np.log(p / (1 - p))
    head = replace(one.head, bias=one.head.bias + wanted - one.logits)
    return replace(one, task=replace(one.task, kind=kind), head=head, **of)


def in_the_overview(prediction: Prediction) -> str:
    page = overview([tables.record_of(prediction.to_dict())], [None])
    cell = re.findall(r"<td[^>]*>(.*?)</td>", page.split("<tbody>")[1])[1]
    return re.sub("<[^>]+>", "", cell)


TWO, ALONE = {"a": 0.9, "b": 0.3}, {"a": 0.4}


@pytest.mark.parametrize(
    ("probabilities", "options", "command", "picture", "row"),
    [
        (TWO, {}, "a  0.900", "a  90.0 %", "a"),
        (TWO, {"threshold": 0.9}, "a  0.900", "a  90.0 %", "a"),
        ({"a": 0.9, "b": 0.1}, {"activation": "softmax"}, "a  0.900", "a  90.0 %", "a"),
        (TWO, {"threshold": 0.95, "warnings": BELOW}, *["below the threshold: a"] * 3),
        ({"a": 0.9, "b": 0.1}, {"activation": "softmax", "threshold": 0.95, "warnings": BELOW},
         *["below the threshold: a"] * 3),
        (TWO, {"trust": ABSTAINS}, "undecided below 95 %: a", "undecided: a", "undecided: a"),
        (TWO, {"trust": ABSTAINS, "threshold": 0.99, "warnings": BELOW},
         "undecided below 99 %: a", "undecided: a", "undecided: a (below threshold)"),
        (ALONE, {}, *["no a  (a"] * 2, "no a"),
        (ALONE, {"threshold": 0.5, "warnings": BELOW}, *["no a  (a"] * 2, "no a"),
        (ALONE, {"kind": "multilabel"}, *["no a  (a"] * 2, "no a"),
        (ALONE, {"threshold": 0.3}, "a 0.400", "a  40.0 %", "a"),
        (ALONE, {"threshold": 0.3, "trust": ABSTAINS}, "undecided below 95 %: a", *["undecided: a"] * 2),
        (TWO, {"kind": "multilabel"}, "a 0.900", "a  90.0 %", "a"),
        (TWO, {"kind": "multilabel", "trust": UNSURE},
         "a 0.900  undecided from 10 % to 60 %: b 0.300", "a  90.0 %", "a; undecided: b"),
        ({"a": 0.4, "b": 0.3}, {"kind": "multilabel", "trust": UNSURE},
         "undecided from 10 % to 60 %: b 0.300", "undecided: b  (a 40.0 %)", "undecided: b"),
        ({"a": 0.4, "b": 0.3}, {"kind": "multilabel"},
         "none of the labels  (most probable: a 0.400)", "none of the labels  (a 40.0 %)", "none of the labels"),
    ],
)  # fmt: skip
def test_no_output_states_what_another_does_not(
    predict: Predict,
    head_volume: Volume,
    probabilities: dict[str, float],
    options: dict[str, Any],
    command: str,
    picture: str,
    row: str,
) -> None:
    prediction = predicted(predict, head_volume, probabilities, **options)
    assert words_of(prediction).startswith(command)
    assert View.of(prediction).finding.startswith(picture)
    assert in_the_overview(prediction) == row


def test_a_map_of_a_label_that_is_not_said_does_not_say_it(predict: Predict, head_volume: Volume) -> None:
    prediction = predicted(predict, head_volume, TWO)
    assert View(prediction, prediction.evidence("b")).finding == "a  (b 30.0 %)"
    below = replace(prediction, task=replace(prediction.task, threshold=0.95))
    assert View(below, below.evidence("b")).finding == "below the threshold: a  (b 30.0 %)"


def test_a_quantity_has_its_interval_where_it_holds(predict: Predict, head_volume: Volume) -> None:
    size = predict(head_volume, activation="identity", labels=("size",), unit="mL")
    size = replace(size, head=replace(size.head, bias=size.head.bias + 3.5 - size.logits))
    assert words_of(size) == View.of(size).finding == "size  3.5 mL"
    ruled = replace(size, trust=Trust(coverage=0.9, half_width=0.25))
    assert words_of(ruled) == View.of(ruled).finding == "size  3.5 mL (3.25 to 3.75)"
    assert "90 % interval: 3.25 to 3.75 mL" in in_the_overview(ruled)
    doubted = replace(ruled, warnings=(Notice("unlike_training", "it is"),))
    assert words_of(doubted) == View.of(doubted).finding == "size  3.5 mL"
    assert in_the_overview(doubted) == "3.5 mL"


def test_an_older_row_is_read_as_far_as_it_goes() -> None:
    """Of an unfinished batch: neither what was said nor what was left open is in it."""
    older = tables.record_of({"input": "x.nii", "label": "a", "probabilities": TWO})
    kept = {key: value for key, value in older.items() if key not in ("present", "undecided")}
    for warnings, said in (([], "a"), ([notice.to_dict() for notice in BELOW], "below the threshold: a")):
        page = overview([{**kept, "warnings": warnings}], [None])
        assert f"<span>{said}</span></td>" in page
