"""Scores, intervals, maps: against values known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.evaluation import classification, fidelity, localisation, regression
from medattn_core.evaluation.bootstrap import intervals
from medattn_core.evaluation.decisions import choose
from medattn_core.evaluation.measure import Stated, measured
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import Axis, ModelGrid

TWO = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
ONE = TaskSpec(name="t", labels=("a",), activation="sigmoid", spatial_dims=2, spacing=(1, 1))


def test_interval_widens_where_patients_have_many_images() -> None:
    right = np.repeat(np.arange(20) % 4 != 0, 10).astype(float)  # 15 of 20 patients right, ten images each
    measure = lambda chosen: {"accuracy": float(right[chosen].mean())}  # noqa: E731
    alone = intervals(measure, list(range(200)))["accuracy"]
    patients = intervals(measure, [i // 10 for i in range(200)])["accuracy"]
    assert alone["value"] == patients["value"] == 0.75
    # Standard errors of 0.75 from 200 and from 20 draws: 0.031 and 0.097.
    assert alone["high"] - alone["low"] == pytest.approx(4 * 0.031, abs=0.03)
    assert patients["high"] - patients["low"] == pytest.approx(4 * 0.097, abs=0.08)
    assert set(intervals(measure, [i % 9 for i in range(200)])["accuracy"]) == {"value"}  # too few patients


def test_interval_is_left_out_where_most_samples_cannot_be_measured() -> None:
    measure = lambda chosen: {"x": 1.0 if len(set(chosen.tolist())) > 9 else float("nan")}  # noqa: E731
    assert "low" not in intervals(measure, list(range(10)))["x"]


def test_classification_scores() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8]])
    truth = np.eye(2)[[0, 0, 0, 1]]
    found = classification.scores(p, truth, TWO)
    assert found["accuracy"] == 0.75
    assert found["sensitivity_a"] == pytest.approx(2 / 3)
    assert found["specificity_a"] == 1.0
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["auc_b"] == 1.0
    assert found["brier"] == pytest.approx(np.mean(2 * np.array([0.1, 0.4, 0.55, 0.2]) ** 2))
    rule = choose(p, truth, TWO)
    assert 0.55 < rule.single < 0.8
    assert classification.scores(p, truth, TWO, rule)["accuracy"] == 1.0
    assert np.isnan(classification.scores(p, np.eye(2)[[0, 0, 0, 0]], TWO)["auc"])
    assert choose(p, np.eye(2)[[0, 0, 0, 0]], TWO).single is None


def test_one_finding_and_several_findings() -> None:
    p, truth = np.array([[0.9], [0.4], [0.3]]), np.array([[1.0], [1.0], [0.0]])
    assert classification.scores(p, truth, ONE)["accuracy"] == pytest.approx(2 / 3)
    assert classification.scores(p, truth, ONE, choose(p, truth, ONE))["accuracy"] == 1.0
    found = classification.scores(np.array([[0.9, 0.9], [0.1, 0.8]]), np.array([[1, 1], [0, 0]]), several())
    assert found["accuracy"] == 0.5  # all findings of a case right
    assert found["sensitivity_a"] == 1.0
    assert found["specificity_b"] == 0.0


def test_average_precision_is_the_mean_precision_at_the_cases_that_have_the_label() -> None:
    """In order yes, no, yes: one of one, then two of three. One of the two pairs is in order."""
    found = classification.scores(np.array([[0.9], [0.8], [0.7]]), np.array([[1.0], [0.0], [1.0]]), ONE)
    assert found["average_precision"] == found["average_precision_a"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["auc"] == 0.5


@pytest.mark.parametrize("task", [TWO, ONE], ids=["softmax", "sigmoid"])
def test_probabilities_that_are_one_as_numbers_are_still_told_apart(task: TaskSpec) -> None:
    """Of logits 40 and 50 no probability is below one; that of 50 is the higher for all that."""
    outputs = np.array([[40.0, 0.0], [50.0, 0.0], [40.0, 0.0]])[:, : len(task.labels)]
    truth = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])[:, : len(task.labels)]
    assert (task.probabilities(outputs)[:, 0] == 1).all()
    found = measured(outputs, truth, [Stated()] * 3, ["p", "q", "r"], task)["classification"]
    assert found["auc"]["value"] == found["average_precision"]["value"] == 1.0


def test_trust_scores() -> None:
    truth = np.eye(2)[[0, 1, 1]] > 0.5
    said = np.eye(2, dtype=bool)[[0, 1, 0]]
    found = classification.trust_scores([("a",), ("a", "b"), ("a",)], np.array([False, False, True]), said, truth, TWO)
    assert found == {"set_coverage": pytest.approx(2 / 3), "set_size": pytest.approx(4 / 3),
                     "abstained": pytest.approx(1 / 3), "accuracy_when_decided": 1.0}  # fmt: skip


def test_sides_of_labels_that_are_judged_by_themselves() -> None:
    """``a`` has no rule and counts nowhere; the second case's ``b`` is wrong, the third's is left open."""
    truth = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], bool)
    said = np.array([[0, 1], [0, 0], [0, 1], [0, 0]], bool)
    sides = [{"b": True}, {"b": False}, {"b": None}, {"b": False}]
    found = classification.side_scores(sides, said, truth, several())
    assert found == {"set_coverage": 0.75, "set_coverage_present": 0.5, "set_coverage_absent": 1.0, "abstained": 0.25,
                     "accuracy_when_decided": pytest.approx(2 / 3)}  # fmt: skip
    counts = {name: int(of.sum()) for name, of in classification.side_denominators(sides, truth, several()).items()}
    assert counts == {"set_coverage": 4, "set_coverage_present": 2, "set_coverage_absent": 2, "abstained": 4,
                      "accuracy_when_decided": 3}  # fmt: skip
    two = [{"a": True, "b": one["b"]} for one in sides]
    assert classification.side_scores(two, said, truth, several())["set_coverage"] == pytest.approx(5 / 8)
    assert classification.side_denominators(two, truth, several()) == {}


def several() -> TaskSpec:
    return TaskSpec(name="t", kind="multilabel", labels=("a", "b"), activation="sigmoid")


def test_regression_scores() -> None:
    found = regression.scores(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0]), [(0, 2), (2, 4), (6, 7)])
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(2 / 3))
    assert found["mae_of_the_mean"] == pytest.approx(4 / 3)
    assert found["r2"] == pytest.approx(1 - 2 / 8)
    assert found["mean_error"] == pytest.approx(-2 / 3)
    assert found["interval_coverage"] == pytest.approx(2 / 3)


def test_localisation_scores() -> None:
    evidence = np.zeros((10, 10, 1))
    evidence[2:4, 2:4] = 1.0
    evidence[3, 3] = 2.0
    evidence[8, 8] = -5.0
    inside = np.zeros(evidence.shape, bool)
    inside[3:5, 2:4] = True
    found = localisation.scores(evidence, inside, threshold=0.4)
    assert found["pointing"] == 1.0
    assert found["energy"] == pytest.approx(3 / 5)
    assert found["iou"] == pytest.approx(2 / 6)
    assert localisation.scores(evidence, inside, threshold=0.9)["iou"] == pytest.approx(1 / 4)
    nothing = localisation.scores(np.zeros((4, 4, 1)), np.ones((4, 4, 1), bool))
    assert (nothing["pointing"], nothing["energy"], nothing["iou"]) == (0.0, 0.0, 0.0)
    assert localisation.choose_threshold([localisation.overlaps(evidence, inside)]) <= 0.5


def test_a_voxel_at_the_threshold_itself_is_above_it() -> None:
    at = int(np.argmin(np.abs(localisation.THRESHOLDS - 0.5)))
    evidence = np.array([2.0, 2.0 * localisation.THRESHOLDS[at], 0.0, 0.0])
    curve = localisation.overlaps(evidence, np.array([True, True, False, False]))
    assert curve[at] == 1.0
    assert curve[at + 1] == 0.5
    assert localisation.scores(evidence, np.array([True, True, False, False]))["iou"] == 1.0


def test_what_speaks_against_the_label_is_ranked_too() -> None:
    """The finding has the second of three ranks, before a voxel that speaks against it more."""
    found = localisation.scores(np.array([2.0, -1.0, -3.0]), np.array([False, True, False]))
    assert found["auprc"] == pytest.approx(1 / 2)
    assert localisation.scores(np.array([2.0, -3.0, -1.0]), np.array([False, True, False]))["auprc"] == (
        pytest.approx(1 / 3)
    )


def test_the_froc_score_is_the_mean_at_few_and_at_many_false_alarms() -> None:
    """One of two lesions is found before any alarm, the other after three: from four alarms a scan on both."""
    found = localisation.froc([{"false": [3.0, 2.9, 2.8], "true": [5.0, 1.0], "lesions": 2}])
    assert found["score"] == pytest.approx((4 * 0.5 + 2 * 1.0) / 6)
    late = localisation.froc([{"false": [9.0, 8.0, 7.0, 6.0, 5.5], "true": [5.0, 1.0], "lesions": 2}])
    assert late["score"] == pytest.approx(1.0 / 6)


def test_froc_counts_lesions_once_and_false_positives_a_case() -> None:
    lesions = np.zeros((6, 6, 6), int)
    lesions[1, 1, 1], lesions[4, 4, 4] = 1, 2
    one = localisation.detections([3.0, 2.0, 1.0], [(1, 1, 1), (1, 1, 1), (0, 5, 5)], lesions)
    found = localisation.froc([one, localisation.detections([], [], lesions)])
    assert found["lesions"] == 4
    assert max(found["sensitivity"][:-1]) == pytest.approx(1 / 4)
    assert max(found["false_positives_a_case"]) >= 0.5


@given(st.integers(1, 4), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_cells_on_the_model_grid_keep_their_sum_and_place(cells: int, seed: int) -> None:
    grid = ModelGrid(
        axes=tuple(Axis(native=i, flip=bool(i), count=50, size=8 * cells, step=2.0) for i in range(3)),
        native_shape=(50, 50, 50), native_affine=np.eye(4), spatial_dims=3,
    )  # fmt: skip
    values = np.random.default_rng(seed).normal(size=(cells,) * 3)
    pixels = fidelity.on_model_grid(values, grid, 8)
    assert pixels.shape == grid.shape
    assert float(pixels.sum()) == pytest.approx(values.sum(), abs=1e-3)
    single = np.zeros((cells,) * 3)
    single[0, 0, -1] = 1.0
    peak = np.unravel_index(int(fidelity.on_model_grid(single, grid, 8).argmax()), grid.shape)
    assert tuple(p // 8 for p in peak) == (0, 0, cells - 1)


def test_rank_correlation() -> None:
    x = np.random.default_rng(0).random((5, 5))
    assert fidelity.rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert fidelity.rank_correlation(x, -x) == pytest.approx(-1.0)
    assert fidelity.rank_correlation(x, np.zeros((5, 5))) == 0.0
    assert fidelity.area((0.0, 0.5, 1.0), np.array([1.0, 0.0, 0.0])) == 0.25


def test_balanced_accuracy_of_labels_that_both_kinds_of_cases_have() -> None:
    """``b`` is wrong of all cases, none of which has it: nothing is known of its sensitivity, so it is in no mean."""
    from sklearn.metrics import balanced_accuracy_score

    p = np.array([[0.9, 0.8], [0.2, 0.8], [0.1, 0.8], [0.3, 0.8]])
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    found = classification.scores(p, truth, several())["balanced_accuracy"]
    assert found == pytest.approx(balanced_accuracy_score(truth[:, 0], p[:, 0] >= 0.5)) == 0.75
