"""Scores that a bundle states of its held-out cases, against tables counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.tasks import TaskSpec
from medattn_core.training.reliability import HeldOut, assess

TWO = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


def test_who_always_says_the_frequent_label_is_right_of_half_of_the_labels() -> None:
    """Nine in ten cases are of it: as an accuracy that looks well."""
    targets = np.eye(2)[(np.arange(100) % 10 == 0).astype(int)]
    metrics, _ = assess([HeldOut(outputs=np.tile([2.0, 0.0], (100, 1)), targets=targets)], TWO)
    assert metrics["accuracy"] == pytest.approx(0.9)
    assert metrics["balanced_accuracy"] == pytest.approx(0.5)
