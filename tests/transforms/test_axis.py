"""Axis: which voxels are a cell's, and where its middle is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.transforms.axis import Axis

STRIDES = st.sampled_from([1, 4, 8])


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    step = draw(st.one_of(st.floats(0.05, 8.0), st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0])))
    return Axis(
        native=0, flip=draw(st.booleans()), count=draw(st.integers(1, 40)), size=8 * draw(st.integers(1, 6)), step=step
    )


@settings(max_examples=200, deadline=None)
@given(axes(), STRIDES)
def test_each_cell_inside_has_voxels_and_each_voxel_one_owner(axis, stride):
    found, inside, owners = axis.voxels(stride), axis.inside(stride), axis.owners(stride)
    assert (found.any(axis=1) == inside).all()
    assert (owners <= inside).all()
    assert (found[owners].sum(axis=0) <= 1).all()
    assert (found[inside & ~owners].sum(axis=1) == 1).all()
    width = stride * axis.step
    if width >= 1.0 + 1e-6:
        assert (owners == inside).all()


@settings(max_examples=200, deadline=None)
@given(axes(), STRIDES)
def test_the_voxel_nearest_to_the_middle_of_a_cell_is_one_of_its_own(axis, stride):
    """From both ends of the axis: files store it either way."""
    found, middle = axis.voxels(stride), axis.middle(stride)
    for cell in np.flatnonzero(axis.inside(stride)):
        assert found[cell, middle[cell]]
        position = axis.place(int(cell), stride)
        assert position == pytest.approx(float(axis.centre(cell * stride + (stride - 1) / 2)), abs=1e-8)
        assert found[cell, int(np.clip(np.rint(position), 0, axis.count - 1))]
        back = axis.count - 1 - int(np.clip(np.rint(axis.count - 1 - position), 0, axis.count - 1))
        assert found[cell, back]


def test_cells_midway_between_voxels_have_one_each():
    """Four cells of 4 mm over five voxels of 4 mm: each lies half in two."""
    axis = Axis(native=0, flip=False, count=5, size=16, step=0.25)
    np.testing.assert_array_equal(axis.centre(np.arange(4) * 4 + 1.5), [0.5, 1.5, 2.5, 3.5])
    assert axis.owners(4).all()
    expected = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(axis.voxels(4), expected)
    np.testing.assert_array_equal(axis.middle(4), [0, 2, 3, 4])


def test_shares_of_voxels_and_of_blocks():
    axis = Axis(native=0, flip=False, count=8, size=8, step=1.0)
    np.testing.assert_array_equal(axis.voxel_matrix(4), np.repeat(np.eye(2), 4, axis=1) / 4)
    np.testing.assert_allclose(axis.voxel_matrix(4), axis.block_matrix(4))
    assert axis.kept(4) == pytest.approx(1.0)
    shifted = Axis(native=0, flip=False, count=9, size=16, step=1.0)
    assert 0.5 < shifted.kept(8) < 1.0


def test_a_coarse_pixel_is_the_mean_of_its_voxels():
    bright = np.tile([0.0, 0.0, 0.0, 1.0], 10)
    pixels = Axis(native=0, flip=False, count=40, size=10, step=4.0).conform_matrix() @ bright
    np.testing.assert_allclose(pixels[1:-1], 0.25, atol=0.05)
