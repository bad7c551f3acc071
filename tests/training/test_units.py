"""Values that float32 cannot be trained on."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.errors import TrainingError
from medattn_core.training.data import TrainingData
from medattn_core.training.units import Units


def of(values: list[float]) -> Units:
    count = len(values)
    return Units.of(TrainingData(
        images=np.zeros((count, 1, 8, 8), np.float16), targets=np.array(values, np.float32)[:, None],
        masks=np.zeros((count, 8, 8), np.uint8), located=np.zeros(count, bool), folds=np.zeros(count, int),
    ))  # fmt: skip


@pytest.mark.parametrize("value", [1e30, -1e30, 2e15, np.inf, np.nan])
def test_values_beyond_what_float32_can_square_are_refused(value: float) -> None:
    with pytest.raises(TrainingError, match="give the values in another unit") as caught:
        of([1.0, value, 3.0])
    assert caught.value.code == "bad_config"


def test_the_largest_that_are_accepted_have_their_mean_and_spread() -> None:
    found = of([0.0, 1e15])
    assert (found.mean, found.spread) == pytest.approx((5e14, 5e14))
