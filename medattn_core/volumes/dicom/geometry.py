"""Slices to a regular grid: from positions and orientations alone, LPS millimetres turned to RAS at the end.

InstanceNumber, SliceLocation, SpacingBetweenSlices and SliceThickness take no part: they are often wrong
(SliceThickness stands in only for the depth of a single slice, which no position can give).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.volumes.geometry import LPS_TO_RAS

GAP_MM = 0.02
"""A gap may differ by this much, mm, and still count as equal: what headers lose by rounding to 0.01 mm."""
GAP_RELATIVE = 0.01
"""... or by this share of the distance, whichever is larger."""
DRIFT = 0.1
"""Furthest a slice may lie from its place on the regular grid, as a share of the distance."""
LINE_PIXELS = 0.25
"""Furthest a slice may lie beside the straight line through the stack, in pixels (at least 0.05 mm)."""
MAX_GROWTH = 2
"""A grid of more than this many times the slices there are is refused: most of it would be invented."""
WIDE = 1.5
"""A gap of more than this many times the usual distance has room for a slice that is not there."""
STRAY = 5
"""A slice at an end, by itself and more than this many distances from a regular stack, is no part of the stack."""
TILT_DEGREES = 0.1
"""Smallest shear that is called a gantry tilt; it must also shift the stack by more than 0.1 mm."""


@dataclass(frozen=True)
class Plane:
    """In-plane geometry of a stack, LPS.

    Attributes:
        row: ``(3,)`` unit direction in which the column index grows.
        column: ``(3,)`` unit direction in which the row index grows.
        spacing: mm between rows, between columns (the order of PixelSpacing).
    """

    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """``(3,)`` unit direction of increasing slice index: row x column."""
        return np.cross(self.row, self.column)


@dataclass(frozen=True)
class Grid:
    """How slices fill a regular grid.

    Attributes:
        kind: ``"regular"``, ``"missing"`` (some slices are not there), ``"irregular"``; no grid for ``"apart"`` (more
            slices are missing than are there) and ``"crooked"`` (not along one straight line).
        origin: ``(3,)`` position of the first slice, LPS mm.
        step: ``(3,)`` from one grid slice to the next, LPS mm.
        below: ``(K,)`` for each grid slice the slice at or before it.
        weight: ``(K,)`` share of the slice after that one, 0 to 1.
        gaps: ``(n - 1,)`` distances along the normal, mm.
    """

    kind: str
    origin: np.ndarray
    step: np.ndarray
    below: np.ndarray
    weight: np.ndarray
    gaps: np.ndarray


def plane(orientation: tuple[float, ...], spacing: tuple[float, ...]) -> Plane | None:
    """In-plane geometry; None where the directions are not two unit vectors at a right angle (to 1 %)."""
    row, column = np.array(orientation[:3], dtype=float), np.array(orientation[3:], dtype=float)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        return None
    return Plane(row / lengths[0], column / lengths[1], (float(spacing[0]), float(spacing[1])))


def fill_grid(positions: np.ndarray, normal: np.ndarray, pixel: float) -> Grid:
    """A regular grid for slices.

    Slices that are equally far apart are taken as they are. Where every gap is a whole multiple of the smallest, the
    slices between are missing and are interpolated. Otherwise all slices are interpolated linearly onto a grid with
    the median distance, which begins at the first slice and ends within half a distance of the last. Nothing is ever
    averaged: every grid slice is where its position says, tilted stacks included.

    Args:
        positions: ``(n, 3)`` LPS mm, n >= 2, at increasing distances along ``normal``.
        normal: ``(3,)`` unit normal of the slices.
        pixel: smaller pixel spacing, mm.
    """
    along = (positions - positions[0]) @ normal
    gaps = np.diff(along)
    # Per mm along the normal; sheared where the gantry was tilted.
    direction = (positions[-1] - positions[0]) / along[-1]
    beside = np.linalg.norm(positions - positions[0] - along[:, None] * direction, axis=1)
    count = len(positions)
    everyone, nothing = np.arange(count), np.zeros(count)

    def grid(kind: str, distance: float, below: np.ndarray = everyone, weight: np.ndarray = nothing) -> Grid:
        return Grid(kind, positions[0], distance * direction, below, weight, gaps)

    if beside.max() > max(0.05, LINE_PIXELS * pixel):
        return grid("crooked", float(np.median(gaps)))
    multiples = _multiples(gaps)
    if multiples is not None:
        index = np.concatenate([[0], np.cumsum(multiples)])
        distance = along[-1] / index[-1]
        if np.abs(along - index * distance).max() <= DRIFT * distance:
            if index[-1] + 1 == count:
                return grid("regular", distance)
            if index[-1] + 1 > MAX_GROWTH * count:
                return grid("apart", distance)
            return grid("missing", distance, *_neighbours(index.astype(float), np.arange(index[-1] + 1.0)))
    distance = float(np.median(gaps))
    size = round(float(along[-1]) / distance) + 1
    if size > MAX_GROWTH * count:
        return grid("apart", distance)
    return grid("irregular", distance, *_neighbours(along, np.arange(size) * distance))


def without_strays(positions: np.ndarray, normal: np.ndarray, pixel: float) -> slice:
    """The slices that are left without one by itself, far off, at the first or the last end or both.

    Only where the others are regular: then what is left out is no part of them, and not their other half.

    Args:
        positions, normal, pixel: as for :func:`fill_grid`.
    """
    count = len(positions)
    everyone = slice(0, count)
    gaps = np.diff(positions @ normal)
    far = STRAY * float(np.median(gaps)) if count > 1 else 0.0
    rest = slice(int(count > 1 and gaps[0] > far), count - int(count > 1 and gaps[-1] > far))
    if rest == everyone or rest.stop - rest.start < 3:  # two slices are as regular as any
        return everyone
    return rest if fill_grid(positions[rest], normal, pixel).kind == "regular" else everyone


def is_mostly_regular(along: np.ndarray) -> bool:
    """Whether three or more places lie at one distance, but for fewer than half of their gaps.

    Args:
        along: ``(n,)`` places along the normal, mm, in any order; several may be the same.
    """
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > GAP_MM]
    if len(gaps) < 2:
        return False
    distance = float(np.median(gaps))
    return bool(2 * (np.abs(gaps - distance) <= max(GAP_MM, GAP_RELATIVE * distance)).sum() > len(gaps))


def unseen(grid: Grid) -> tuple[int, np.ndarray]:
    """What nobody saw of a grid with the median distance.

    Returns:
        How many of its slices lie in gaps of more than :data:`WIDE` times the median, further than half of it from
        each slice there is; and ``(m,)`` which gaps these are.
    """
    distance = float(np.median(grid.gaps))
    width = np.append(grid.gaps, 0.0)[grid.below]
    inside = (width > WIDE * distance) & (np.minimum(grid.weight, 1 - grid.weight) * width > distance / 2)
    return int(inside.sum()), np.unique(grid.below[inside])


def _multiples(gaps: np.ndarray) -> np.ndarray | None:
    """Each gap as a whole multiple of the common distance, or None where they are not."""
    nearby = gaps <= gaps.min() + max(2 * GAP_MM, 2 * GAP_RELATIVE * float(gaps.min()))
    base = float(np.median(gaps[nearby]))
    multiples = np.maximum(1, np.rint(gaps / base)).astype(int)
    tolerance = max(GAP_MM, GAP_RELATIVE * base)
    # The error of a multiple adds up, but never so far that any distance would do.
    allowed = np.maximum(tolerance, np.minimum(tolerance * multiples, 0.05 * base))
    return multiples if (np.abs(gaps - multiples * base) <= allowed).all() else None


def _neighbours(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each wanted coordinate the known one at or before it, and the share of the next."""
    wanted = np.clip(wanted, known[0], known[-1])
    below = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    weight = (wanted - known[below]) / (known[below + 1] - known[below])
    weight[np.abs(weight) < 1e-9] = 0.0
    last = np.abs(weight - 1) < 1e-9  # exactly on the next slice: take it as it is
    below, weight = np.where(last, below + 1, below), np.where(last, 0.0, weight)
    return below, weight


def affine(orientation: Plane, origin: np.ndarray, step: np.ndarray) -> np.ndarray:
    """``(4, 4)`` index (column, row, slice) to RAS mm (DICOM PS3.3, C.7.6.2.1.1, with LPS turned to RAS)."""
    matrix = np.eye(4)
    matrix[:3, 0] = orientation.row * orientation.spacing[1]
    matrix[:3, 1] = orientation.column * orientation.spacing[0]
    matrix[:3, 2] = step
    matrix[:3, 3] = origin
    return LPS_TO_RAS @ matrix


def tilt_degrees(step: np.ndarray, normal: np.ndarray, slices: int) -> float:
    """Angle between the slice axis and the slice normal; 0 where too small to be a tilt."""
    sideways = step - (step @ normal) * normal
    angle = float(np.degrees(np.arctan2(np.linalg.norm(sideways), step @ normal)))
    return angle if angle > TILT_DEGREES and np.linalg.norm(sideways) * (slices - 1) > 0.1 else 0.0
