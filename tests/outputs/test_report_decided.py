"""What the page of a scan says of labels that are judged by themselves, and of probabilities that nobody calibrated."""

from __future__ import annotations

from dataclasses import replace

from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.errors import Notice
from medattn_core.outputs.report import report
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from tests.outputs.conftest import Predict
from tests.outputs.test_report import words_of


def test_what_is_said_beside_an_undecided_label_is_there(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, threshold=0.5)
    prediction = replace(prediction, task=replace(prediction.task, kind="multilabel"))
    wide, narrow = Undecided(present_from=0.0, absent_to=1.0), Undecided(present_from=1.0, absent_to=0.0)
    first, second, third = prediction.task.labels
    said = {label: label if label in prediction.present else f"no {label}" for label in prediction.task.labels}
    assert set(said.values()) != set(prediction.task.labels), "one of them is not said"
    some = replace(prediction, trust=Trust(coverage=0.9, undecided={first: wide, second: narrow}))
    words = words_of(report(View.of(some)))
    assert f"Undecided: {first}." in words
    assert f"Decided: {said[second]}. By this rule, of scans" in words
    assert f"By the threshold alone, without such a rule: {said[third]}." in words
    every = replace(prediction, trust=Trust(coverage=0.9, undecided=dict.fromkeys(prediction.task.labels, narrow)))
    assert "without such a rule" not in words_of(report(View.of(every)))


def test_probabilities_are_called_calibrated_where_they_are(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume)
    for calibration, calibrated in (
        ({}, False),
        ({"temperature": 1.0, "note": "only 8 held-out cases"}, False),
        ({"temperature": 20.0, "calibrated": False}, False),
        ({"temperature": 1.3}, True),
    ):
        judged = replace(prediction, trust=Trust.from_calibration(calibration, "here"))
        words = words_of(report(View.of(judged)))
        assert ("Calibrated probabilities" in words) == calibrated
        assert judged.to_dict()["calibrated"] is calibrated
        assert ("They are not calibrated: " in words) == (not calibrated)


def test_nothing_is_called_calibrated_for_a_scan_of_another_kind(predict: Predict, head_volume: Volume) -> None:
    """What else the bundle claims or not."""
    for rules in ({}, {"confidence": {"scale": 1.0}}):
        trust = Trust.from_calibration({"temperature": 1.3, **rules}, "here")
        strange = replace(predict(head_volume), trust=trust, warnings=(Notice("unlike_training", "it is unlike"),))
        assert strange.to_dict()["calibrated"] is False
        assert "Calibrated probabilities" not in words_of(report(View.of(strange)))
