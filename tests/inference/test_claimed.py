"""What tables and the command line claim of a result, and what stays on the prediction to be measured."""

from __future__ import annotations

from dataclasses import replace

from medattn_core.batch.scanner import words_of
from medattn_core.bundles.trust import Trust
from medattn_core.errors import Notice
from medattn_core.evaluation.measure import Stated
from medattn_core.volumes import read


def test_what_is_claimed_goes_with_a_warning_and_what_is_raw_stays(predictor, sample_data):
    """Tables and the command line say what holds; ``medattn evaluate`` measures what the rules give."""
    prediction = predictor(read(sample_data / "brain1_image.nrrd"))
    rules = Trust(coverage=0.9, quantile=0.9, confidence_scale=1.0, abstain_below=1.0)
    sure = replace(prediction, trust=rules, warnings=())
    told = sure.to_dict()
    assert told["label_set"] == list(sure.label_set)
    assert told["confidence"] == sure.confidence
    part = replace(sure, warnings=(Notice("masked", "m"),))
    told = part.to_dict()
    assert (told["label_set"], told["interval"], told["confidence"]) == (None, None, None)
    assert told["abstained"] is True, "a rule not to decide stays in force"
    assert (part.label_set, part.confidence) == (sure.label_set, sure.confidence)
    assert Stated.of(part) == Stated.of(sure)


def test_the_command_line_says_where_the_decision_lies(predictor, sample_data):
    prediction = predictor(read(sample_data / "brain1_image.nrrd"))
    shown = f"{prediction.label}  {prediction.probabilities[prediction.label]:.3f}"
    unsure = replace(prediction, trust=Trust(abstain_below=0.99999))
    assert words_of(unsure) == f"undecided below 99.999 %: {shown}"
    assert words_of(replace(prediction, trust=Trust(abstain_below=0.0))) == shown
    none = replace(prediction, task=replace(prediction.task, kind="multilabel", threshold=1.0))
    assert words_of(none) == f"none of the labels  (most probable: {shown.replace('  ', ' ')})"
