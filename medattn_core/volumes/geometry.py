"""World geometry: RAS millimetres inside, LPS (DICOM, ITK) turned at the door. numpy only."""

from __future__ import annotations

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns an LPS affine into RAS and back: ``LPS_TO_RAS @ affine``."""

_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


def spacing(affine: np.ndarray) -> np.ndarray:
    """Voxel edge lengths in mm, ``(3,)``: the column lengths of the affine."""
    return np.sqrt((np.asarray(affine, dtype=float)[:3, :3] ** 2).sum(axis=0))


def voxel_volume_ml(affine: np.ndarray) -> float:
    """Volume of one voxel in millilitres (the determinant, so right for sheared axes too)."""
    return float(abs(np.linalg.det(np.asarray(affine, dtype=float)[:3, :3]))) / 1000.0


def is_singular(affine: np.ndarray) -> bool:
    """Whether the affine cannot be inverted: non-finite, zero spacing or dependent axes."""
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
        return True
    lengths = spacing(matrix)
    if (lengths < 1e-6).any():
        return True
    return bool(abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3)


def shear_degrees(affine: np.ndarray) -> float:
    """Largest departure of two axes from a right angle, in degrees."""
    axes = np.asarray(affine, dtype=float)[:3, :3] / spacing(affine)
    products = np.abs([axes[:, 0] @ axes[:, 1], axes[:, 0] @ axes[:, 2], axes[:, 1] @ axes[:, 2]])
    return float(np.degrees(np.arcsin(np.clip(products.max(), 0, 1))))


def axis_order(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """Which voxel axis runs closest to each world axis, one to one.

    Returns:
        ``axes``, ``signs`` for world R, A, S: voxel axis ``axes[w]`` runs along world axis ``w``, with sign +1 if its
        index grows towards R, A, S. The assignment that maximises the sum of cosines, so it is always a permutation.
    """
    cosines = np.asarray(affine, dtype=float)[:3, :3] / spacing(affine)
    permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    best = max(permutations, key=lambda p: sum(abs(cosines[w, p[w]]) for w in range(3)))
    return list(best), [1 if cosines[w, best[w]] >= 0 else -1 for w in range(3)]


def axis_codes(affine: np.ndarray) -> str:
    """Direction each voxel axis runs towards, such as ``"RAS"`` or ``"LPS"``."""
    axes, signs = axis_order(affine)
    codes = [""] * 3
    for world, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        codes[axis] = _LETTERS[world][1 if sign > 0 else 0]
    return "".join(codes)


def to_world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    """World RAS mm of voxel indices ``(..., 3)`` (voxel centres are whole numbers)."""
    affine = np.asarray(affine, dtype=float)
    return np.asarray(index, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def to_index(affine: np.ndarray, world: np.ndarray) -> np.ndarray:
    """Continuous voxel index of world RAS mm ``(..., 3)``."""
    inverse = np.linalg.inv(np.asarray(affine, dtype=float))
    return np.asarray(world, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3]


def corner_distance(first: np.ndarray, second: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between where two affines put a corner of the image."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    gaps = np.linalg.norm(to_world(first, corners) - to_world(second, corners), axis=1)
    return float(gaps.max())
