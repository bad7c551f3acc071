"""Hypothesis strategies shared by the geometry tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

AXIS_CODES = [
    (permutation, signs)
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""All 48 axis permutations and flips."""


def rotation(angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Rotation matrix of three Euler angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return z @ y @ x


@st.composite
def affines(draw: st.DrawFn, *, low: float = 0.3, high: float = 7.0, oblique: float = np.pi) -> np.ndarray:
    """Random voxel-to-RAS matrices: any rotation up to ``oblique``, permutation, flips, spacing and origin."""
    angles = tuple(draw(st.floats(-oblique, oblique)) for _ in range(3))
    spacing = np.array([draw(st.floats(low, high)) for _ in range(3)])
    permutation, signs = draw(st.sampled_from(AXIS_CODES))
    axes = rotation(angles)[:, list(permutation)] * np.array(signs)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@st.composite
def cells_on(draw: st.DrawFn, allowed: np.ndarray) -> np.ndarray:
    """Some of the allowed cells, at least one: scattered, or a box of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    there = np.argwhere(allowed)
    first = there[rng.integers(len(there))]
    if draw(st.booleans()):
        reach = rng.integers(0, 4, 3)
        cells = allowed & (np.abs(np.moveaxis(np.indices(allowed.shape), 0, -1) - first) <= reach).all(axis=-1)
    else:
        cells = allowed & (rng.random(allowed.shape) < draw(st.sampled_from([0.02, 0.3, 0.9])))
    cells[tuple(first)] = True
    return cells
