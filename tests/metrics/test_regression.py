"""Errors of predicted quantities."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.metrics.regression import regression_metrics


def test_error_and_r2_of_a_known_table() -> None:
    found = regression_metrics(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0]))
    assert found == {"mae": pytest.approx(2 / 3), "r2": pytest.approx(1 - 2 / 8)}


def test_values_that_differ_by_their_rounding_alone_have_no_r2() -> None:
    assert set(regression_metrics(np.array([3.1, 2.9]), np.full(2, np.float32(3.3)))) == {"mae"}
