"""Masks on another grid: what was drawn on a scan is on it, whatever the two grids are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.placement import place_mask
from tests.strategies import affines


def empty(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    return Volume(data=np.zeros(shape, np.float32), affine=affine)


@settings(max_examples=50, deadline=None)
@given(affines(), st.integers(0, 2**32 - 1))
def test_a_mask_on_its_own_grid_is_itself(affine: np.ndarray, seed: int) -> None:
    marked = np.random.default_rng(seed).random((5, 6, 4)) > 0.7
    np.testing.assert_array_equal(place_mask(marked, affine, empty(affine, marked.shape)), marked)


@settings(max_examples=80, deadline=None)
@given(affines(), affines(), st.integers(0, 2**32 - 1))
def test_no_lesion_on_the_scan_is_lost(fine: np.ndarray, coarse: np.ndarray, seed: int) -> None:
    """Single voxels, far apart: each marks the voxel of the scan that holds it, or those whose centres it holds."""
    rng = np.random.default_rng(seed)
    marked = np.zeros((17, 17, 17), bool)
    marked[tuple(rng.integers(0, 5, (3, 4)) * 4)] = True
    middle = geometry.to_world(fine, np.array([8.0, 8.0, 8.0]))
    shape = (7, 8, 6)
    coarse[:3, 3] = middle - coarse[:3, :3] @ (np.array(shape) / 2)
    placed = place_mask(marked, fine, empty(coarse, shape))
    there = geometry.to_world(np.linalg.inv(coarse) @ fine, np.argwhere(marked))
    back = geometry.to_world(np.linalg.inv(fine) @ coarse, np.argwhere(placed))
    inside = ((there > -0.49) & (there < np.array(shape) - 0.51)).all(axis=1)
    for voxel, index in zip(np.argwhere(marked)[inside], there[inside], strict=True):
        held = (np.abs(np.argwhere(placed) - index) <= 0.5 + 1e-6).all(axis=1).any()
        assert held or (np.abs(back - voxel) <= 0.5 + 1e-6).all(axis=1).any(), voxel
    # And nothing is marked that is neither: far from every lesion there is none.
    for voxel, index in zip(back, np.argwhere(placed), strict=True):
        sampled = marked[tuple(np.clip(np.rint(voxel).astype(int), 0, 16))]
        assert sampled or (np.abs(there - index) <= 0.5 + 1e-6).all(axis=1).any(), index


def test_a_lesion_between_thick_slices_and_a_large_one() -> None:
    """1 mm mask, 6 mm slices: the thin lesion is marked in the slice that holds it, the thick one does not grow."""
    marked = np.zeros((20, 20, 30), bool)
    marked[3:6, 3:6, 14:17] = True  # slices at 12 and 18 mm: between them
    marked[10:15, 10:15, 5:20] = True
    placed = place_mask(marked, np.eye(4), empty(np.diag([1.0, 1.0, 6.0, 1.0]), (20, 20, 5)))
    assert placed[3:6, 3:6, 2].all()
    assert placed[3:6, 3:6].sum() == 9 * 2  # 14 mm belongs to the slice at 12, 16 to that at 18
    assert placed[10:15, 10:15].sum(axis=(0, 1)).tolist() == [0, 25, 25, 25, 0]
    assert placed.sum() == 18 + 75
