"""Which cells a mask selects: those it was painted from, and of a cell cut in half one side only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.inference import Predictor
from medattn_core.inference.masks import cells_of_mask
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import ModelGrid, plan_grid
from medattn_core.volumes import Volume, read
from tests.strategies import affines, cells_on

CUBE = TaskSpec(name="c", labels=("a", "b"), spatial_dims=3, spacing=(1.0, 1.0, 1.0), size=(48, 48, 48))
SLICEWISE = TaskSpec(name="s", labels=("a", "b"), spatial_dims=2, slicewise=True, spacing=(1.0, 1.0), slice_spacing=4.0)


def grid_of(shape: tuple[int, int, int], affine: np.ndarray, task: TaskSpec = CUBE) -> ModelGrid:
    return plan_grid(Volume(data=np.zeros(shape, np.int16), affine=affine), task)


@settings(max_examples=80, deadline=None)
@given(
    affines(low=0.4, high=12.0),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.sampled_from([CUBE, SLICEWISE]),
    st.data(),
)
def test_the_mask_of_cells_selects_them(affine, shape, task, data):
    grid = grid_of(shape, affine, task)
    owners = grid.owners(4)
    cells = data.draw(cells_on(owners))
    found, notices = cells_of_mask(grid.paint(cells, 4), grid, 4)
    np.testing.assert_array_equal(found & owners, cells)
    assert notices == ()


@settings(max_examples=150, deadline=None)
@given(
    affines(low=0.4, high=14.0),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.sampled_from([CUBE, SLICEWISE]),
    st.data(),
)
def test_voxels_are_counted_without_a_mask_of_them(affine, shape, task, data):
    """Also where voxels are coarser than cells, and some are shared by several of them."""
    grid = grid_of(shape, affine, task)
    cells = data.draw(cells_on(grid.inside(4)))
    assert grid.painted_voxels(cells, 4) == grid.paint(cells, 4).sum()
    assert grid.painted_voxels(np.zeros_like(cells), 4) == 0


@settings(max_examples=60, deadline=None)
@given(affines(low=0.4, high=14.0), st.tuples(*[st.integers(1, 40)] * 3), st.data())
def test_numbers_are_painted_as_the_masks_one_after_the_other(affine, shape, data):
    grid = grid_of(shape, affine)
    first, second = (data.draw(cells_on(grid.inside(4))) for _ in range(2))
    numbers = np.where(second, 2, np.where(first, 1, 0)).astype(np.uint16)
    want = np.zeros(shape, np.uint16)
    for number in (1, 2):
        want[grid.paint(numbers == number, 4)] = number
    found = grid.paint(numbers, 4)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_region_and_its_mask_are_one_question(axis, thickness):
    """Also in slices as thick as cells, where half of the cells lie between two of them."""
    sizes = Predictor.from_bundle("hippocampus_volume", device="cpu")
    step = np.ones(3)
    step[axis] = thickness
    shape = [36, 44, 36]
    shape[axis] = 36 // thickness + (36 // thickness) % 2 - 1
    rng = np.random.default_rng(axis)
    body = rng.normal(100, 10, shape)
    body[tuple(slice(n // 3, 2 * n // 3 + 1) for n in shape)] += 150
    scan = Volume(data=body.astype(np.float32), affine=np.diag([*step, 1.0]))
    said = sizes(scan)
    region = said.regions()[0]
    assert region.mask[region.voxel_index]
    want = said.without(region).logits
    np.testing.assert_allclose(said.without(region.mask).logits, want)
    np.testing.assert_allclose(sizes(scan, mask=~region.mask).logits, want, rtol=1e-6)
    np.testing.assert_allclose(said.only(region.mask).logits, said.only(region).logits)


def test_a_cell_cut_in_half_goes_to_one_side(predictor, sample_data):
    """So that a prediction of the rest is what "without" says."""
    scan = read(sample_data / "brain1_image.nrrd")
    said = predictor(scan)
    halves = 0
    for axis in (0, 1):
        for cut in range(scan.shape[axis] // 2 - 8, scan.shape[axis] // 2 + 9):
            mask = np.moveaxis(np.zeros(scan.shape, bool), axis, 0)
            mask[:cut] = True
            mask = np.moveaxis(mask, 0, axis)
            halves += bool((np.abs(said.grid.coverage(mask, said.stride) - 0.5) < 1e-6).any())
            cells, rest = (cells_of_mask(m, said.grid, said.stride)[0] for m in (mask, ~mask))
            np.testing.assert_array_equal(cells ^ rest, said.grid.inside(said.stride))
            np.testing.assert_array_equal(said.without(mask).logits, said.only(~mask).logits)
    assert halves
    np.testing.assert_allclose(predictor(scan, mask=~mask).logits, said.without(mask).logits, atol=1e-6)


def test_a_mask_of_half_a_cell_selects_it_on_either_side():
    """Too small for a choice: nothing that was drawn is lost, whichever side the middle voxel is on."""
    grid = grid_of((48, 48, 48), np.eye(4))
    for half in (slice(16, 18), slice(18, 20)):
        mask = np.zeros(grid.native_shape, bool)
        mask[half, 16:20, 16:20] = True
        cells, notices = cells_of_mask(mask, grid, 4)
        np.testing.assert_array_equal(np.argwhere(cells), [[4, 4, 4]])
        assert notices == ()


@pytest.mark.parametrize("thickness", [3.0, 4.0, 5.0, 6.0, 12.0])
def test_a_single_voxel_of_a_coarse_grid_selects_something(thickness):
    """Everywhere on it: a small lesion is not lost between cells."""
    grid = grid_of((7, 7, 7), np.diag([1.5, 1.5, thickness, 1.0]))
    for voxel in np.ndindex(7, 7, 7):
        mask = np.zeros(grid.native_shape, bool)
        mask[voxel] = True
        if not grid.paint(np.ones(grid.cells(4), bool), 4)[voxel]:
            continue  # beside what the model sees
        cells, _ = cells_of_mask(mask, grid, 4)
        assert (cells & grid.owners(4)).any()
