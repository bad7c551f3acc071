"""TaskSpec: what it refuses, what it writes, and probabilities at the ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medattn_core.errors import TaskError
from medattn_core.tasks import ACTIVATIONS, INTENSITY_RULES, KINDS, IntensityRule, TaskSpec

NAMED: dict[str, Any] = {"name": "t", "labels": ("a", "b")}
TASKS = {
    "plain": TaskSpec(**NAMED),
    "full": TaskSpec(
        name="brain",
        description="one line",
        activation="sigmoid",
        labels=("glioma", "meningioma", "pituitary"),
        modality=("MR",),
        spatial_dims=2,
        slicewise=True,
        spacing=(0.9, 0.9),
        slice_spacing=6.0,
        size=(256, 256),
        field_of_view=240.0,
        intensity=IntensityRule(rule="percentile", lower=1, upper=99),
        threshold=0.5,
    ),
    "channels": TaskSpec(
        **NAMED,
        channels=("ct", "pet"),
        intensity=(IntensityRule(rule="window", lower=-100, upper=300), IntensityRule()),
    ),
    "multilabel": TaskSpec(**NAMED, kind="multilabel", activation="sigmoid"),
    "regression": TaskSpec(name="v", kind="regression", activation="identity", labels=("volume",), unit="mL"),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_round_trip_through_json(task: TaskSpec) -> None:
    again = TaskSpec.from_dict(json.loads(json.dumps(task.to_dict(), allow_nan=False)))
    assert again == task
    assert again.to_dict() == task.to_dict()
    assert isinstance(again.labels, tuple)
    assert [type(rule) for rule in again.intensities] == [IntensityRule] * len(task.channels)
    assert again.size is None or isinstance(again.size, tuple)


def test_lists_become_tuples() -> None:
    task = TaskSpec(name="t", labels=["a", "b"], modality=["MR"], spacing=[1, 1, 2], size=[4.0, 4, 4])  # type: ignore[arg-type]
    assert (task.labels, task.modality, task.spacing, task.size) == (("a", "b"), ("MR",), (1, 1, 2), (4, 4, 4))
    hash(task)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "ranking"}, "kind 'ranking'; accepted: multiclass, multilabel, regression"),
        ({"activation": "relu"}, "activation 'relu'; accepted: softmax, sigmoid, identity"),
        ({"activation": "identity"}, "identity goes with regression only"),
        ({"kind": "regression"}, "identity goes with regression only"),
        ({"labels": ()}, "labels are empty"),
        ({"labels": ("a", "b", "a")}, "labels repeat: ['a', 'b', 'a']"),
        ({"kind": "multilabel"}, "multilabel wants activation 'sigmoid'"),
        ({"labels": ("a",)}, "softmax wants at least two labels"),
        ({"kind": "regression", "activation": "identity"}, "regression has one quantity"),
        ({"spatial_dims": 4}, "spatial_dims 4; accepted: 2, 3"),
        ({"slicewise": True}, "slicewise wants spatial_dims 2"),
        ({"spacing": (1.0, 1.0)}, "spacing (1.0, 1.0) has not 3 values"),
        ({"spatial_dims": 2}, "spacing (1.0, 1.0, 1.0) has not 2 values"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing (1.0, 0.0, 1.0) must be positive"),
        ({"spacing": (1.0, -2.0, 1.0)}, "must be positive"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "must be positive"),
        ({"spacing": (1.0, float("inf"), 1.0)}, "must be positive"),
        ({"slice_spacing": 0.0}, "slice_spacing 0.0 must be positive"),
        ({"slice_spacing": "5"}, "slice_spacing '5' must be positive"),
        ({"spacing": (1.0, "1", 1.0)}, "must be positive numbers"),
        ({"size": (4, 4.5, 4)}, "size (4, 4.5, 4) must be whole numbers"),
        ({"size": ("4", 4, 4)}, "must be whole numbers"),
        ({"field_of_view": 10**400}, "field_of_view 1000"),
        ({"field_of_view": float("inf")}, "field_of_view inf must be a number"),
        ({"description": 5}, "description 5 must be a text"),
        ({"slicewise": "no"}, "slicewise 'no' must be true or false, without quotes"),
        ({"size": (4, 4)}, "size (4, 4) has not 3 values"),
        ({"size": (4, 0, 4)}, "size (4, 0, 4) must be positive"),
        ({"intensity": (IntensityRule(),) * 2}, "intensity has 2 rules for the channels image; accepted: one for all"),
        ({"channels": ("ct", "pet"), "intensity": (IntensityRule(),)}, "intensity has 1 rules for the channels ct, p"),
        ({"intensity": ()}, "intensity has 0 rules"),
        ({"intensity": ["window"]}, "an object of rule, lower and upper, or a list of one a channel"),
        ({"labels": 5}, "labels 5; a list of texts is needed"),
        ({"labels": {"a": 1, "b": 2}}, "labels {'a': 1, 'b': 2}; a list of texts"),
        ({"labels": [False, True]}, "labels [False, True] must be texts; numbers, yes and no are texts in quotes"),
        ({"modality": 5}, "modality 5; a list of texts"),
        ({"channels": None}, "channels None; a list of texts"),
        ({"spacing": None}, "spacing None; a list of numbers"),
        ({"spacing": "111"}, "spacing '111'; a list of numbers"),
        ({"size": 5}, "size 5; a list of whole numbers"),
    ],
)
def test_what_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError) as caught:
        TaskSpec(**{**NAMED, **change})
    assert caught.value.code == "bad_task"
    assert caught.value.message.startswith("task 't': ")
    assert said in caught.value.message
    with pytest.raises(TaskError, match="task 't'"):
        TaskSpec.from_dict({**TASKS["plain"].to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": "zscore"}, "intensity rule 'zscore'; accepted: foreground_mean, percentile, window"),
        ({"lower": 5.0}, "intensity bounds 5.0, 5.0: upper must exceed lower"),
        ({"upper": -1.0}, "upper must exceed lower"),
        ({"upper": float("nan")}, "upper must exceed lower"),
    ],
)
def test_intensity_rules_that_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError) as caught:
        IntensityRule(**change)
    assert caught.value.code == "bad_task"
    assert said in caught.value.message
    with pytest.raises(TaskError, match="intensity"):
        TaskSpec.from_dict({**NAMED, "intensity": change})


def test_keys_that_are_missing_or_unknown() -> None:
    for data, said in (
        ({"labels": ["a", "b"]}, "name"),
        ({**NAMED, "colour": 1}, "colour"),
        ({**NAMED, True: 1, "foo": 2}, "unknown key True; accepted: name"),  # YAML reads `on` as true
        ({**NAMED, 5: None}, r"unknown key 5 \(a comma .* write the decimal point as '\.'\); accepted: name"),
        ({**NAMED, "intensity": {"lower": 0, 5: None}}, r"key 5 \(a comma between digits\? .*; accepted: rule"),
        ({**NAMED, "intensity": {"low": 5}}, "unknown key 'low'; accepted: rule, lower, upper"),
    ):
        with pytest.raises(TaskError, match=said) as caught:
            TaskSpec.from_dict(data)
        assert caught.value.code == "bad_task"


def test_a_task_without_a_name_says_where_it_comes_from() -> None:
    with pytest.raises(TaskError, match=r"name must be a text .*; a training takes that of its output folder"):
        TaskSpec(**{**NAMED, "name": ""})


def test_dimensions_are_a_whole_number() -> None:
    assert type(TaskSpec(**NAMED, spatial_dims=3.0).spatial_dims) is int  # type: ignore[arg-type]


def test_every_accepted_value_is_accepted() -> None:
    assert {task.kind for task in TASKS.values()} == set(KINDS)
    assert {task.activation for task in TASKS.values()} == set(ACTIVATIONS)
    assert {IntensityRule(rule=rule).rule for rule in INTENSITY_RULES} == set(INTENSITY_RULES)


def test_index_of_a_label() -> None:
    task = TASKS["full"]
    assert [task.index(label) for label in task.labels] == [0, 1, 2]
    with pytest.raises(TaskError, match="'Glioma'; brain has: glioma, meningioma, pituitary") as caught:
        task.index("Glioma")
    assert caught.value.code == "unknown_label"


def test_softmax_values_and_extremes() -> None:
    task = TASKS["plain"]
    np.testing.assert_allclose(task.probabilities(np.array([0.0, np.log(3.0)])), [0.25, 0.75])
    with np.errstate(all="raise", under="ignore"):
        result = task.probabilities(np.array([[1e4, -1e4], [1e4, 1e4], [-1e4, -1e4 + 1]], np.float32))
    np.testing.assert_allclose(result[:2], [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(result[2], [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
    assert result.dtype == np.float64


def test_sigmoid_values_and_extremes() -> None:
    task = TASKS["multilabel"]
    np.testing.assert_allclose(task.probabilities(np.array([0.0, np.log(3.0)])), [0.5, 0.75])
    with np.errstate(all="raise", under="ignore"):
        result = task.probabilities(np.array([-1e4, 1e4], np.float32))
    np.testing.assert_array_equal(result, [0, 1])


def test_regression_passes_values() -> None:
    np.testing.assert_array_equal(TASKS["regression"].probabilities(np.array([-3310.5])), [-3310.5])


@given(st.lists(st.floats(-700, 700), min_size=2, max_size=2), st.floats(-500, 500))
def test_softmax_sums_to_one_and_does_not_know_an_offset(logits: list[float], offset: float) -> None:
    result = TASKS["plain"].probabilities(np.array(logits))
    assert result.sum() == pytest.approx(1, abs=1e-12)
    assert (result >= 0).all()
    np.testing.assert_allclose(TASKS["plain"].probabilities(np.array(logits) + offset), result, atol=1e-9)


@given(st.floats(-30, 30))
def test_sigmoid_against_its_definition(logit: float) -> None:
    task = replace(TASKS["multilabel"], labels=("a",))
    (probability,) = task.probabilities(np.array([logit]))
    (other,) = task.probabilities(np.array([-logit]))
    assert probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-12)
    assert probability + other == pytest.approx(1, abs=1e-12)


def test_what_earlier_versions_wrote_for_nothing_is_nothing() -> None:
    plain = TaskSpec(name="t", labels=("a", "b"))
    early = TaskSpec(name="t", labels=("a", "b"), description=None, slicewise=0, field_of_view=0)  # type: ignore[arg-type]
    assert early == plain
    assert TaskSpec(name="t", labels=("a", "b"), slicewise=None) == plain  # type: ignore[arg-type]


def test_numbers_of_a_header_are_numbers() -> None:
    """`get_zooms` of nibabel gives float32, which JSON does not know."""
    task = TaskSpec(
        name="t", labels=("a", "b"), spacing=tuple(np.array([1, 1, 2], np.float32)), size=(np.int64(8),) * 3
    )
    assert json.dumps(task.to_dict()) == json.dumps(replace(task, spacing=(1.0, 1.0, 2.0), size=(8, 8, 8)).to_dict())


ONE_OF = ("sigmoid", "softmax")
EACH_ALONE = {"multilabel": ("a", "b"), "multiclass": ("a",)}


@pytest.mark.parametrize("activation", ONE_OF)
def test_the_most_probable_label_is_said_unless_it_stays_below_a_threshold(activation: str) -> None:
    """Whatever the activation; one half means nothing where one label is said of several."""
    task = TaskSpec(name="t", labels=("a", "b", "c"), activation=activation)
    p = np.array([[0.1, 0.3, 0.2], [0.8, 0.1, 0.1]])
    assert task.said(p).tolist() == [[False, True, False], [True, False, False]]
    assert replace(task, threshold=0.5).said(p).tolist() == [[False] * 3, [True, False, False]]
    assert replace(task, threshold=0.3).said(p[0]).tolist() == [False, True, False]
    assert task.said(p, least=0.5).tolist() == [[False] * 3, [True, False, False]]
    assert replace(task, threshold=0.9).said(p, best=np.array([2, 1]), least=0.1).argmax(axis=1).tolist() == [2, 1]


@pytest.mark.parametrize(("kind", "labels"), EACH_ALONE.items())
def test_labels_that_are_judged_by_themselves_are_said_from_the_threshold_on(
    kind: str, labels: tuple[str, ...]
) -> None:
    task = TaskSpec(name="t", kind=kind, labels=labels, activation="sigmoid")
    p = np.array([0.5, 0.4])[: len(labels)]
    assert task.said(p).tolist() == [True, False][: len(labels)]
    assert replace(task, threshold=0.4).said(p).all()
    assert not replace(task, threshold=0.6).said(p).any()
    assert task.said(p, least=np.array([0.6, 0.3])[: len(labels)]).tolist() == [False, True][: len(labels)]


def test_a_quantity_is_always_said() -> None:
    assert TASKS["regression"].said(np.array([[-3.0], [0.0]])).all()
