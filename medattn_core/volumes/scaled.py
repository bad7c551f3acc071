"""A map of real numbers as scaled 16-bit integers, half the bytes of float32, without losing its sum.

Rounding each voxel by itself loses what is everywhere but small: a map whose background is a third of a step would lose
all of it. Here what rounding leaves over is carried on to the next voxel of the row (error diffusion in one dimension,
after Floyd and Steinberg 1976), so every row keeps its sum to a step, and no voxel is off by more than about one and a
half. Rows start at different places between two steps, so that what rows lose at their ends cancels too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from medattn_core.errors import VolumeError

LEVELS = 32000
"""Steps from zero to the largest absolute value; the rest of int16 is room for what is carried."""

ERROR = 1e-4
"""Largest error of a voxel, as a share of the largest absolute value: stated in the file, twice the true one."""

_AT_ONCE = 1 << 20


@dataclass
class Scaled:
    """The integers of a map, made a few slices at a time.

    Args:
        data: ``(I, J, K)`` real numbers, finite.
        factor: what they are multiplied with on the way (a density from contributions).

    Attributes:
        slope: value of one step, a float32 number, as NIfTI's ``scl_slope`` is.

    Raises:
        VolumeError: ``non_finite_voxels``.
    """

    data: np.ndarray
    factor: float = 1.0
    slope: float = field(init=False)
    _sums: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        peak = max(float(self.data.max(initial=0)), -float(self.data.min(initial=0))) * abs(self.factor)
        if not math.isfinite(peak):
            raise VolumeError("non_finite_voxels", "the map holds NaN or infinite values, which int16 cannot store")
        slope = np.float32(peak / LEVELS)
        # Numbers too small for float32 steps (below 1e-38) are no evidence; zero would mean "not scaled" to NIfTI.
        self.slope = float(slope) if slope >= np.finfo(np.float32).tiny else 1.0

    @property
    def total(self) -> float:
        """Sum of the values that a reader finds, once all pieces were made."""
        return sum(self._sums) * self.slope

    def pieces(self) -> Iterator[Callable[[], memoryview]]:
        """Makers of little-endian int16 in file order (first index fastest), some rows each, for any thread."""
        rows = self.data.transpose().reshape(-1, self.data.shape[0])  # of maps made here no copy
        count = max(1, _AT_ONCE // max(1, rows.shape[1]))
        self._sums.clear()
        return (partial(self._piece, rows[start : start + count], start) for start in range(0, len(rows), count))

    def _piece(self, rows: np.ndarray, first: int) -> memoryview:
        scale = self.factor / self.slope
        # A row of 256 voxels at the peak adds up to 2^23 steps, which float32 still counts one by one. It has no number
        # for the scale of a map of next to nothing.
        kind = np.float32 if rows.shape[1] <= 256 and abs(scale) < 1e30 else np.float64
        sums = np.multiply(rows, kind(scale), dtype=kind)
        # Multiples of the golden ratio fill [0, 1) evenly; below half a step on either side, nothing stays nothing.
        sums[:, 0] += 0.998 * ((np.arange(first, first + len(rows)) * 0.6180339887498949) % 1.0 - 0.5)
        np.cumsum(sums, axis=1, out=sums)
        np.rint(sums, out=sums)
        integers = np.empty(rows.shape, "<i2")
        integers[:, 0] = sums[:, 0]
        np.subtract(sums[:, 1:], sums[:, :-1], out=integers[:, 1:], casting="unsafe")
        self._sums.append(int(integers.sum(dtype=np.int64)))  # appending is safe among threads; order does not matter
        return integers.data.cast("B")
