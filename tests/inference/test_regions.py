"""Regions: which cells are one."""

from __future__ import annotations

import numpy as np

from medattn_core.inference.regions import connected_parts


def test_cells_that_touch_at_a_corner_are_two_regions() -> None:
    cells = np.zeros((3, 3, 1))
    cells[0, 0], cells[1, 1] = 1.0, 2.0
    stronger, weaker = connected_parts(cells)
    assert np.argwhere(stronger).tolist() == [[1, 1, 0]]
    assert np.argwhere(weaker).tolist() == [[0, 0, 0]]


def test_cells_that_share_a_face_are_one_region() -> None:
    cells = np.zeros((3, 3, 2))
    cells[0, 0, 0] = cells[0, 1, 0] = cells[0, 1, 1] = 1.0
    (part,) = connected_parts(cells)
    assert part.sum() == 3
