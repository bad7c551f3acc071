"""What is said: one rule, none of the labels included; thresholds chosen on validation cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medattn_core.bundles.trust import Undecided
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import classification
from medattn_core.evaluation.cases import load_cases
from medattn_core.evaluation.decisions import Rule, choose, decisions
from medattn_core.evaluation.measure import Stated, left_open, measured
from medattn_core.tasks import TaskSpec

ONE = TaskSpec(name="t", labels=("a",), activation="sigmoid", spatial_dims=2, spacing=(1, 1))
EITHER = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", spatial_dims=2, spacing=(1, 1))
THREE = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
SEVERAL = TaskSpec(name="t", kind="multilabel", labels=("a", "b"), activation="sigmoid")


def test_none_of_the_labels_is_an_answer_and_no_label_a() -> None:
    """Two cases without a label: once none is said, once a label is. Without a threshold a label always is."""
    task = replace(EITHER, threshold=0.5)
    p = np.array([[0.9, 0.1], [0.2, 0.7], [0.3, 0.1], [0.8, 0.2]])
    truth = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], float)
    assert classification.scores(p, truth, EITHER)["accuracy"] == 0.5
    assert classification.scores(p, truth, EITHER)["sensitivity_none_of_the_labels"] == 0.0
    found = classification.scores(p, truth, task)
    assert found["accuracy"] == 0.75
    assert found["accuracy_most_probable"] == 1.0
    assert found["sensitivity_none_of_the_labels"] == 0.5
    assert found["specificity_none_of_the_labels"] == 1.0
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    matrix = classification.confusion(decisions(p, task), truth > 0.5, task)
    assert matrix["confusion_labels"] == ["a", "b", "-"]
    assert matrix["confusion_matrix"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert matrix["confusion_by_label"]["a"] == {
        "true_positive": 1, "false_negative": 0, "false_positive": 1, "true_negative": 2,
    }  # fmt: skip


def test_one_label_or_none() -> None:
    p, truth = np.array([[0.9], [0.4], [0.3]]), np.array([[1.0], [1.0], [0.0]])
    found = classification.confusion(decisions(p, ONE), truth > 0.5, ONE)
    assert (found["confusion_labels"], found["confusion_matrix"]) == (["a", "-"], [[1, 1], [0, 1]])
    rule = choose(p, truth, ONE)
    assert rule.single == pytest.approx(0.35)
    assert decisions(p, ONE, rule).tolist() == [[True], [True], [False]]


def test_the_threshold_of_the_task_stands_in() -> None:
    task = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", spatial_dims=2, spacing=(1, 1), threshold=0.8)
    assert decisions(np.array([[0.7, 0.1], [0.9, 0.1]]), task).tolist() == [[False, False], [True, False]]


def test_softmax_names_a_label_unless_it_has_a_threshold() -> None:
    p, truth = np.array([[0.4, 0.3, 0.3], [0.1, 0.8, 0.1]]), np.eye(3)[:2]
    assert decisions(p, THREE).tolist() == [[True, False, False], [False, True, False]]
    found = classification.confusion(np.eye(3, dtype=bool), np.eye(3, dtype=bool), THREE)
    assert found["confusion_labels"] == ["a", "b", "c"]
    task = replace(THREE, threshold=0.5)
    assert decisions(p, task).tolist() == [[False, False, False], [False, True, False]]
    found = classification.confusion(decisions(p, task), truth > 0.5, task)
    assert found["confusion_labels"] == ["a", "b", "c", "-"]
    assert found["confusion_matrix"] == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    scores = classification.scores(p, truth, task)
    assert (scores["accuracy"], scores["accuracy_most_probable"]) == (0.5, 1.0)
    assert choose(p, truth, task).none is None  # every case has a label: nothing to choose it on


def test_each_label_of_several_has_its_own_threshold() -> None:
    p = np.array([[0.2, 0.9], [0.1, 0.8], [0.05, 0.95], [0.3, 0.6]])
    truth = np.array([[1, 1], [0, 0], [0, 1], [1, 0]], float)
    rule = choose(p, truth, SEVERAL)
    assert rule.each == (pytest.approx(0.15), pytest.approx(0.85))
    assert rule.single is None
    assert np.array_equal(decisions(p, SEVERAL, rule), truth > 0.5)
    assert classification.scores(p, truth, SEVERAL, rule)["accuracy"] == 1.0
    assert "confusion_matrix" not in classification.confusion(truth > 0.5, truth > 0.5, SEVERAL)


def test_each_of_three_labels_is_measured_at_its_threshold() -> None:
    """c is never the most probable label, and yet its probability tells it from the rest."""
    p = np.array([[0.7, 0.28, 0.02], [0.2, 0.75, 0.05], [0.5, 0.2, 0.3], [0.3, 0.45, 0.25]])
    truth = np.eye(3)[[0, 1, 2, 2]]
    rule = choose(p, truth, THREE)
    found = classification.scores(p, truth, THREE, rule)
    assert found["sensitivity_c"] == 0.0
    assert found["sensitivity_at_threshold_c"] == 1.0
    assert found["specificity_at_threshold_c"] == 1.0
    assert "sensitivity_at_threshold_c" not in classification.scores(p, truth, THREE)


def test_trust_is_measured_where_it_means_something() -> None:
    """The two last cases have no label: no set can hold it, and abstaining was never about them."""
    truth = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], bool)
    said = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], bool)
    sets = [("a",), ("a",), ("a", "b"), ()]
    found = classification.trust_scores(sets, np.array([False, False, True, True]), said, truth, EITHER)
    assert found == {"set_coverage": 0.5, "set_size": 1.0, "abstained": 0.0, "accuracy_when_decided": 0.5}
    assert classification.trust_scores(sets, None, said[:, :1], truth[:, :1], ONE) == {}


def test_nobody_abstaining_is_a_number_with_an_interval() -> None:
    logits, truth = np.array([[2.0, 0.0], [0.0, 2.0]] * 10), np.eye(2)[[0, 1] * 10]
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    stated = [Stated(label_set=("a",), confidence=0.9, abstained=False)] * 20
    found = measured(logits, truth, stated, [str(i) for i in range(20)], task, samples=50)["classification"]
    assert found["abstained"]["value"] == 0.0
    assert 0.05 < found["abstained"]["high"] < 0.3
    assert "abstained" not in measured(logits, truth, [Stated()] * 20, ["p"] * 20, task)["classification"]


def test_confidence_is_measured_on_cases_that_have_a_label() -> None:
    outputs, targets = np.array([[2.0, -2.0], [-2.0, 2.0], [3.0, -3.0]]), np.array([[1, 0], [0, 1], [0, 0]])
    stated = [Stated(confidence=one) for one in (0.9, 0.7, 0.8)]
    found = measured(outputs, targets, stated, ["p", "q", "r"], EITHER, samples=0)["classification"]["ece_confidence"]
    assert found["value"] == pytest.approx((0.1 + 0.3) / 2)


def test_a_list_with_several_sections(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    path = tmp_path / "list.json"
    path.write_text(
        '{"labels": ["a"], "training": [{"image": "a.png", "label": "a"}], "test": [{"image": "b.png", "label": "a"}]}'
    )
    with pytest.raises(MedAttnError, match=r"list\.json: it has the lists training, test; name one") as caught:
        load_cases(path, ONE)
    assert caught.value.code == "bad_argument"
    assert [case.image.name for case in load_cases(path, ONE, section="test")] == ["b.png"]
    path.write_text('{"labels": ["a"], "test": [{"image": "b.png", "label": "a"}]}')
    assert [case.image.name for case in load_cases(path, ONE)] == ["b.png"]
    table = tmp_path / "list.csv"
    table.write_text("image,label\na.png,a\n")
    with pytest.raises(MedAttnError, match=r"list\.csv.*JSON"):
        load_cases(table, ONE, section="test")
    bare = tmp_path / "bare.json"
    bare.write_text('[{"image": "b.png", "label": "a"}]')
    with pytest.raises(MedAttnError, match="one bare list"):
        load_cases(bare, ONE, section="validation")


def test_a_rule_without_choices_is_the_default() -> None:
    p = np.random.default_rng(0).random((20, 2))
    assert np.array_equal(decisions(p, SEVERAL, Rule()), decisions(p, SEVERAL))


def test_what_is_left_open_is_measured_at_the_thresholds_that_decide() -> None:
    """Absence is credible up to 0.6: a label that is said from 0.7 on is never left open above it."""
    p = np.array([[0.55, 0.2], [0.65, 0.2], [0.75, 0.2], [0.1, 0.2]] * 5)
    truth = np.array([[0, 1], [0, 0], [1, 0], [0, 0]] * 5, float)
    stated = [Stated(undecided={"a": Undecided(present_from=0.52, absent_to=0.6)})] * 20
    patients = [str(i) for i in range(20)]
    logits = np.log(p / (1 - p))
    found = measured(logits, truth, stated, patients, SEVERAL, samples=50)["classification"]
    assert found["abstained"]["value"] == 0.25  # 0.55 is said, and absence is still credible
    assert found["set_coverage"]["value"] == 0.75  # 0.65 is decided, wrongly
    assert found["accuracy_when_decided"]["value"] == pytest.approx(2 / 3)
    assert found["abstained"]["low"] > 0.05  # of twenty, not of the five that show a label
    chosen = measured(logits, truth, stated, patients, SEVERAL, rule=Rule(each=(0.7, None)), samples=50)[
        "classification"
    ]
    assert chosen["abstained"]["value"] == 0.5  # presence is credible from 0.52 on
    assert chosen["set_coverage"]["value"] == 1.0
    assert chosen["accuracy_when_decided"]["value"] == 1.0


def test_the_table_of_cases_leaves_open_what_the_scores_leave_open() -> None:
    rules = {"b": Undecided(present_from=0.52, absent_to=0.6)}
    usual, chosen = np.array([0.5, 0.5]), np.array([0.5, 0.7])
    p = np.array([0.2, 0.65])
    assert left_open(p, rules, usual, SEVERAL) == {"label_set": "b|a", "undecided": "", "abstained": False}
    assert left_open(p, rules, chosen, SEVERAL) == {"label_set": "b|a", "undecided": "b", "abstained": True}
    p = np.array([0.9, 0.3])
    assert left_open(p, rules, chosen, SEVERAL) == {"label_set": "a", "undecided": "", "abstained": False}
