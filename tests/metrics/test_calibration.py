"""Calibration errors of tables whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.metrics.calibration import binned, calibration_error_by_label, expected_calibration_error


def test_calibration_error_of_a_known_table() -> None:
    probability = np.array([0.9] * 10 + [0.6] * 10)
    correct = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    assert expected_calibration_error(probability, correct) == pytest.approx(0.5 * 0.0 + 0.5 * 0.3)


def test_each_case_is_in_one_bin_and_empty_bins_are_left_out() -> None:
    probability = np.array([1.0, 0.5, 0.49, 0.26])
    found = binned(probability, 4)
    assert [probability[held].tolist() for held in found] == [[0.49, 0.26], [0.5], [1.0]]


def test_errors_that_cancel_among_the_most_probable_labels_do_not_cancel_label_by_label() -> None:
    """Of 0.75 for either label one is right always and the other half the time."""
    p = np.array([[0.75, 0.25]] * 10 + [[0.25, 0.75]] * 10)
    targets = np.eye(2)[[0] * 10 + [1] * 5 + [0] * 5]
    right = p.argmax(axis=1) == targets.argmax(axis=1)
    assert expected_calibration_error(p.max(axis=1), right) == pytest.approx(0.0)
    assert calibration_error_by_label(p, targets) == pytest.approx(0.25)


def gaps(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a hundred cases each: what was given, and what was so, 0.2 more of the low and 0.2 less of the high ones."""
    given = np.repeat([low, high], 100)
    shares = np.round([100 * low + 20, 100 * high - 20])
    return given, (np.arange(200) % 100) < np.repeat(shares, 100)


def test_the_bins_of_the_calibration_error_are_fifteenths() -> None:
    """0.34 and 0.39 share one, in which too high and too low cancel; 0.41 and 0.48, with as much of each, do not."""
    assert expected_calibration_error(*gaps(0.34, 0.39)) == pytest.approx(0.0)
    assert expected_calibration_error(*gaps(0.41, 0.48)) == pytest.approx(0.2)
