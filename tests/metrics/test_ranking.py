"""The order of cases by a label, and the area under the curve of it."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.metrics.ranking import macro_auc, mixed, ranking
from medattn_core.tasks import TaskSpec

SOFTMAX = TaskSpec(name="t", labels=("a", "b"))
SIGMOID = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid")


def test_labels_that_all_or_none_of_the_cases_have_are_not_mixed() -> None:
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    assert mixed(truth).tolist() == [False, False, True]
    assert [bool(mixed(truth[:, k])) for k in range(3)] == [False, False, True]
    assert mixed(truth[:0]).tolist() == [False] * 3


def test_the_order_by_a_softmax_is_that_of_its_log_odds() -> None:
    outputs = np.array([[40.0, 0.0], [50.0, 0.0]])  # as probabilities both are one
    np.testing.assert_allclose(ranking(outputs, SOFTMAX), [[40.0, -40.0], [50.0, -50.0]])
    assert ranking(outputs, SIGMOID) is outputs  # nothing is squeezed to one


def test_the_macro_auc_is_of_the_labels_that_can_show_one() -> None:
    scores = np.array([[0.1, 0.1], [0.2, 0.4], [0.3, 0.3], [0.4, 0.2]])
    targets = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert macro_auc(scores, targets) == pytest.approx(0.75)
    assert np.isnan(macro_auc(scores[:, :1], targets[:, :1]))
