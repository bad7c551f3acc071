"""Who trains and who is held out in the comparison on MedMNIST sets."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.medmnist import parts_of
from medattn_core.training.data import TrainingData


def data(count: int) -> TrainingData:
    return TrainingData(
        images=np.zeros((count, 1, 8, 8), np.float16),
        targets=(np.arange(count)[:, None] % 5 == 0).astype(np.float32),
        masks=np.zeros((count, 8, 8), np.uint8), located=np.zeros(count, bool), folds=np.full(count, -1),
    )  # fmt: skip


def test_one_network_holds_the_validation_split_out() -> None:
    ((own, others),) = parts_of(data(20), 6, 0, seed=0)
    assert own.tolist() == list(range(14))
    assert others.tolist() == list(range(14, 20))


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_hold_each_case_out_once(seed: int) -> None:
    whole = data(50)
    parts = parts_of(whole, 10, 5, seed)
    assert sorted(np.concatenate([others for _, others in parts]).tolist()) == list(range(50))
    for own, others in parts:
        assert not set(own.tolist()) & set(others.tolist())
        assert len(own) + len(others) == 50
        assert whole.targets[others].sum() == 2
