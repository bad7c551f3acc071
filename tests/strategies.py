"""Hypothesis strategies shared by the geometry tests."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

AXIS_CODES = [
    (permutation, signs)
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""All 48 axis permutations and flips."""


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
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
