"""ModelGrid: sums are kept, positions are kept, nothing flips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.shown import slice_axis
from tests.strategies import AXIS_CODES, affines, cells_on

SLICEWISE = TaskSpec(
    name="s",
    activation="sigmoid",
    labels=("a", "b"),
    spatial_dims=2,
    slicewise=True,
    spacing=(1.5, 1.5),
    slice_spacing=4.0,
    field_of_view=200.0,
)
CUBE = TaskSpec(name="c", labels=("a", "b"), spatial_dims=3, spacing=(2.0, 1.5, 3.0), size=(64, 96, 32))
shapes = st.tuples(*[st.integers(1, 48)] * 3)


def volume(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    return Volume(data=np.zeros(shape, np.int16), affine=affine)


@settings(max_examples=80, deadline=None)
@given(affines(), shapes, st.sampled_from([SLICEWISE, CUBE]), st.sampled_from([4, 8, 16]), st.integers(0, 2**31))
def test_spreading_keeps_the_sum(affine, shape, task, stride, seed):
    grid = plan_grid(volume(shape, affine), task)
    cells = np.random.default_rng(seed).normal(size=grid.cells(stride)) * grid.inside(stride)
    native = grid.spread(cells, stride)
    assert native.shape == shape
    assert native.sum(dtype=np.float64) == pytest.approx(cells.sum(), abs=1e-5 * max(1.0, np.abs(cells).sum()))


@settings(max_examples=60, deadline=None)
@given(affines(), shapes, st.sampled_from([SLICEWISE, CUBE]), st.sampled_from([4, 8]), st.data())
def test_a_cell_is_spread_around_its_world_position(affine, shape, task, stride, data):
    grid = plan_grid(volume(shape, affine), task)
    inside = np.argwhere(grid.inside(stride))
    cell = tuple(int(i) for i in inside[data.draw(st.integers(0, len(inside) - 1))])
    cells = np.zeros(grid.cells(stride))
    cells[cell] = 1.0
    native = grid.spread(cells, stride)
    peak = np.array(np.unravel_index(int(np.argmax(native)), shape))
    expected = grid.cell_index(cell, stride)
    reach = np.zeros(3)
    for axis, s in zip(grid.axes, grid.strides(stride), strict=True):
        reach[axis.native] = max(1.0, axis.step * s)
    assert (np.abs(peak - expected) <= reach / 2 + 0.5 + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(affines(), shapes, st.sampled_from([SLICEWISE, CUBE]))
def test_the_affine_of_the_grid_says_where_its_pixels_are(affine, shape, task):
    """A linear ramp in world space must come out as the same ramp at the grid's own world positions."""
    scan = volume(shape, affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    direction = np.array([0.3, -0.7, 0.5])
    ramp = geometry.to_world(affine, index) @ direction
    grid = plan_grid(scan, task)
    conformed = grid.conform(ramp)
    pixels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    expected = geometry.to_world(grid.affine, pixels) @ direction
    # Away from the border, where the widened kernel is cut off.
    native = geometry.to_index(affine, geometry.to_world(grid.affine, pixels))
    margin = np.ones(3)
    for axis in grid.axes:
        margin[axis.native] = 1.0 + axis.step
    deep = ((native >= margin) & (native <= np.array(shape) - 1 - margin)).all(axis=-1)
    assert np.abs(conformed - expected)[deep].max(initial=0) < 1e-3 * max(1.0, np.abs(ramp).max())


@settings(max_examples=40, deadline=None)
@given(affines(), shapes, st.sampled_from([SLICEWISE, CUBE]), st.integers(0, 2**31))
def test_coverage_of_a_mask_and_of_the_rest_make_one(affine, shape, task, seed):
    grid = plan_grid(volume(shape, affine), task)
    mask = np.random.default_rng(seed).random(shape) > 0.5
    inside = grid.inside(8)
    total = grid.coverage(mask, 8) + grid.coverage(~mask, 8)
    assert total[inside] == pytest.approx(1.0, abs=1e-5)
    assert (total[~inside] == 0).all()


@pytest.mark.parametrize(("permutation", "signs"), AXIS_CODES)
def test_the_model_sees_the_same_picture_whatever_the_storage_order(permutation, signs):
    """One anatomy stored in all 48 ways conforms to the same pixels, and evidence lands on the same tissue."""
    rng = np.random.default_rng(0)
    data = rng.random((20, 24, 6)).astype(np.float32)
    affine = np.diag([2.0, 2.0, 6.5, 1.0])
    reference = plan_grid(Volume(data=data, affine=affine), SLICEWISE)
    order = list(permutation)
    stored = data.transpose(order)
    flips = [a for a in range(3) if signs[a] < 0]
    stored = np.flip(stored, flips)
    matrix = affine[:, [*order, 3]].copy()
    for axis in flips:
        matrix[:3, 3] += matrix[:3, axis] * (stored.shape[axis] - 1)
        matrix[:3, axis] *= -1
    grid = plan_grid(Volume(data=stored, affine=matrix), SLICEWISE)
    np.testing.assert_allclose(grid.conform(stored), reference.conform(data), atol=1e-5)
    np.testing.assert_allclose(grid.affine, reference.affine, atol=1e-6)
    cells = rng.normal(size=reference.cells(8)) * reference.inside(8)
    back = np.flip(grid.spread(cells, 8), flips).transpose(np.argsort(order))
    np.testing.assert_allclose(back, reference.spread(cells, 8), atol=1e-6)


def test_axial_slices_are_shown_to_the_model_as_a_radiologist_sees_them():
    """Anterior up, the patient's right on the left, for a volume stored in RAS."""
    data = np.zeros((40, 40, 5), np.float32)
    data[30, :, :] = 1.0  # towards the patient's right (R grows with i)
    data[:, 35, :] = 2.0  # anterior
    grid = plan_grid(Volume(data=data, affine=np.diag([1.5, 1.5, 6.0, 1.0])), SLICEWISE)
    image = grid.conform(data)[:, :, 2]
    rows, columns = np.where(image > 1.5)[0], np.where((image > 0.5) & (image < 1.5))[1]
    assert rows.mean() < image.shape[0] / 2
    assert columns.mean() < image.shape[1] / 2


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((10, 10, 5), (1, 1, 6), 2),
        ((5, 10, 10), (6, 1, 1), 0),
        ((20, 20, 20), (1, 1, 1), 2),
        ((20, 1, 20), (1, 1, 1), 1),
    ],
)
def test_slice_axis(shape, spacing, expected):
    assert slice_axis(volume(shape, np.diag([*spacing, 1.0]))) == expected


def test_a_picture_without_pixel_size_fills_the_field_of_view():
    picture = Volume(
        data=np.zeros((512, 256, 1), np.uint8), affine=np.diag([-1, -1, 1, 1.0]), spatial_dims=2, spacing_known=False
    )
    grid = plan_grid(picture, SLICEWISE)
    assert grid.axes[1].step == pytest.approx(1.5 / (200.0 / 512))
    assert [n.code for n in grid.notices] == ["unknown_spacing"]


def test_pixels_that_are_not_square_keep_their_shape_without_a_size():
    """256 columns twice as wide as high, 512 rows: the field of view is as many pixels wide as high."""
    picture = Volume(
        data=np.zeros((256, 512, 1), np.uint8), affine=np.diag([-2, -1, 1, 1.0]), spatial_dims=2, spacing_known=False
    )
    rows, columns = plan_grid(picture, SLICEWISE).axes[:2]
    assert (rows.step, columns.step) == (pytest.approx(1.5 / (200.0 / 512)), pytest.approx(1.5 / (200.0 / 256)))
    assert rows.size == columns.size


def test_the_number_of_slices_is_no_side_of_a_picture():
    stack = Volume(data=np.zeros((64, 64, 100), np.uint8), affine=np.diag([-1, -1, 1, 1.0]), spacing_known=False)
    assert plan_grid(stack, SLICEWISE).axes[0].step == pytest.approx(1.5 / (200.0 / 64))


def test_several_slices_for_a_flat_task_are_refused():
    flat = TaskSpec(name="f", labels=("a", "b"), spatial_dims=2, spacing=(1.0, 1.0))
    with pytest.raises(VolumeError, match="4 slices") as caught:
        plan_grid(volume((8, 8, 4), np.diag([1, 1, 5, 1.0])), flat)
    assert caught.value.code == "bad_argument"


def test_a_grid_too_large_for_any_machine_is_refused_before_it_is_made():
    with pytest.raises(VolumeError) as caught:
        plan_grid(volume((40, 40, 40), np.diag([400.0, 400, 400, 1])), SLICEWISE)
    assert caught.value.code == "too_large"


def test_cropping_is_said():
    small = TaskSpec(name="c", labels=("a", "b"), spatial_dims=3, spacing=(1.0, 1.0, 1.0), size=(16, 16, 16))
    grid = plan_grid(volume((40, 16, 16), np.eye(4)), small)
    assert [n.code for n in grid.notices] == ["cropped"]


def test_painting_cells_stays_inside_what_a_cropping_model_sees():
    """All cells together are the field of view, not the whole scan."""
    small = TaskSpec(name="c", labels=("a", "b"), spatial_dims=3, spacing=(1.0, 1.0, 1.0), size=(16, 16, 16))
    grid = plan_grid(volume((40, 16, 20), np.eye(4)), small)
    painted = grid.paint(np.ones(grid.cells(8), bool), 8)
    assert painted.dtype == bool
    assert painted.sum() == 16 * 16 * 16
    assert painted[12:28, :, 2:18].all()


@settings(max_examples=40, deadline=None)
@given(affines(), shapes, st.sampled_from([SLICEWISE, CUBE]))
def test_a_grid_that_follows_the_image_has_no_cell_outside_it(affine, shape, task):
    """Or takes the padding it was trained with: a network that is given the grid alone sees what Predictor sees."""
    grid = plan_grid(volume(shape, affine), task)
    assert grid.attended(8).all()
    assert grid.padded or grid.inside(8).all()
    assert task.size is None or grid.shape == task.size
    assert grid.cells(8) == tuple(-(-n // s) for n, s in zip(grid.shape, grid.strides(8), strict=True))


@settings(max_examples=150, deadline=None)
@given(affines(low=0.3, high=14.0), shapes, st.sampled_from([SLICEWISE, CUBE]), st.sampled_from([4, 8]), st.data())
def test_the_mask_of_cells_takes_these_cells(affine, shape, task, stride, data):
    """And its complement the others, on grids finer and coarser than cells."""
    grid = plan_grid(volume(shape, affine), task)
    owners, inside = grid.owners(stride), grid.inside(stride)
    cells = data.draw(cells_on(owners))
    taken = grid.taken(grid.paint(cells, stride), stride)
    np.testing.assert_array_equal(taken & owners, cells)
    np.testing.assert_array_equal(grid.taken(~grid.paint(cells, stride), stride), inside & ~taken)
    anywhere = data.draw(cells_on(inside))
    assert (grid.taken(grid.paint(anywhere, stride), stride) >= anywhere).all()


@settings(max_examples=60, deadline=None)
@given(affines(low=0.3, high=14.0), shapes, st.sampled_from([SLICEWISE, CUBE]), st.integers(0, 2**31))
def test_a_cell_is_taken_by_a_mask_or_by_its_complement(affine, shape, task, seed):
    """By one of them, also where cells are cut in half."""
    grid = plan_grid(volume(shape, affine), task)
    rng = np.random.default_rng(seed)
    cut = np.indices(shape)[rng.integers(3)] < rng.integers(1, 25)
    for mask in (cut, rng.random(shape) > 0.5):
        np.testing.assert_array_equal(grid.taken(mask, 8) ^ grid.taken(~mask, 8), grid.inside(8))


@settings(max_examples=60, deadline=None)
@given(affines(low=0.2, high=0.35), shapes, st.sampled_from([SLICEWISE, CUBE]), st.integers(0, 2**31))
def test_of_fine_voxels_the_share_of_the_block_counts(affine, shape, task, seed):
    grid = plan_grid(volume(shape, affine), task)
    rng = np.random.default_rng(seed)
    grown = np.repeat(rng.random((5, 5, 5)) > 0.5, 10, axis=0).repeat(10, axis=1).repeat(10, axis=2)
    mask = grown[: shape[0], : shape[1], : shape[2]]
    share = grid.coverage(mask, 8)
    clear = np.abs(share - 0.5) > 1e-4
    np.testing.assert_array_equal(grid.taken(mask, 8)[clear], share[clear] > 0.5)


def test_painted_voxels_have_plain_strides():
    """A flipped axis of length 1 keeps its stride in NumPy, and torch takes none below zero."""
    scan = volume((40, 40, 1), np.diag([1.5, 1.5, -5.0, 1.0]))
    grid = plan_grid(scan, SLICEWISE)
    assert grid.axes[2].flip
    assert min(grid.paint(np.ones(grid.cells(8), bool), 8).strides) > 0
    assert min(grid.conform(np.zeros(scan.shape, np.float32)[:, :, ::-1]).strides) > 0
