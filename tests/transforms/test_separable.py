"""A matrix along each axis: the same as the plain sum, whatever the type and the order in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.transforms import separable

DTYPES = ("i2", "u1", "?", "f4", "f8", ">i2")
sizes = st.tuples(*[st.integers(1, 20)] * 3)


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, st.permutations([0, 1, 2]), st.sampled_from(DTYPES), st.integers(0, 99))
def test_it_is_the_plain_sum(before, after, order, dtype, seed):
    rng = np.random.default_rng(seed)
    # An array whose axes lie in memory in any order.
    shape = [before[axis] for axis in order]
    data = (rng.normal(size=shape) * 100).astype(dtype).transpose(np.argsort(order))
    matrices = [rng.normal(size=(m, n)) for m, n in zip(after, before, strict=True)]
    if seed % 3 == 0 and before[1] == after[1]:
        matrices[1] = np.eye(before[1])
    found = separable.apply_matrices(data, matrices)
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, data.astype(np.float64))
    assert found.dtype == np.float32
    assert found.flags.f_contiguous
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_scans_are_converted_in_parts(monkeypatch, order):
    monkeypatch.setattr(separable, "_AT_ONCE", 700)  # several parts, the last one smaller
    rng = np.random.default_rng(0)
    data = np.asarray(rng.integers(-1000, 1000, (13, 11, 17)), np.int16, order=order)
    matrices = [rng.normal(size=(n // 2, n)) for n in data.shape]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, data.astype(np.float64))
    np.testing.assert_allclose(separable.apply_matrices(data, matrices), expected, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("identity", [True, False])
def test_an_axis_of_length_one_may_be_flipped(axis, dtype, identity):
    """NumPy calls such an array contiguous, whatever the stride; torch takes none below zero."""
    shape = [5, 7, 6]
    shape[axis] = 1
    data = np.flip(np.arange(np.prod(shape), dtype=dtype).reshape(shape), axis)
    assert min(data.strides) < 0
    matrices = [np.eye(n) if identity else np.full((2, n), 0.5) for n in shape]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, data.astype(np.float64))
    np.testing.assert_allclose(separable.apply_matrices(data, matrices), expected, rtol=1e-5)


def test_plain_arrays_are_not_copied():
    data = np.ones((2, 3, 1), np.float32)
    assert separable.plain(data) is data
    flipped = separable.plain(data[..., ::-1])
    assert min(flipped.strides) > 0
    np.testing.assert_array_equal(flipped, data)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("at_once", [1 << 20, 700])
def test_an_autocast_around_it_changes_nothing(monkeypatch, dtype, at_once):
    import torch

    monkeypatch.setattr(separable, "_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    data = rng.integers(-1000, 1000, (24, 20, 28)).astype(np.int16)
    matrices = [rng.normal(size=(n // 2, n)) for n in data.shape]
    expected = separable.apply_matrices(data, matrices)
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        np.testing.assert_array_equal(separable.apply_matrices(data, matrices), expected)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.filterwarnings("error")
def test_read_only_voxels_are_taken_without_a_warning():
    data = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    data.setflags(write=False)
    eyes = [np.eye(n) for n in data.shape]
    found = separable.apply_matrices(data, eyes)
    np.testing.assert_array_equal(found, data)
    found += 1  # its own memory
