"""Cases on the model grid, as training takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medattn_core import datalists
from medattn_core.tasks import TaskSpec
from medattn_core.training.data import prepare


def test_a_mask_is_255_inside_of_its_box_and_0_elsewhere(squares: Path) -> None:
    task = TaskSpec(name="squares", labels=("bright", "dark"), spatial_dims=2, spacing=(1.0, 1.0))
    cases = datalists.load(squares)[:4]
    found = prepare(cases, task, (64, 64))
    assert found.located.all()
    for case, mask in zip(cases, found.masks, strict=True):
        x, y, width, height = (int(n) for n in case.box)
        expected = np.zeros((64, 64), np.uint8)
        expected[y : y + height, x : x + width] = 255
        assert sorted(np.unique(mask).tolist()) == [0, 255]
        assert mask.sum() == expected.sum()
