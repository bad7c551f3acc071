"""Axis: one axis of a model grid beside the axis of the scan that it runs along, and the matrices between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the model grid.

    Attributes:
        native: native voxel axis it runs along.
        flip: whether it runs against the native index.
        count: native voxels along it.
        size: model pixels along it.
        step: native voxels a model pixel.
    """

    native: int
    flip: bool
    count: int
    size: int
    step: float

    def centre(self, index: np.ndarray | float) -> np.ndarray:
        """Native position (in voxels, along the axis direction) of continuous model index ``index``."""
        return (self.count - 1) / 2 + (np.asarray(index, dtype=float) - (self.size - 1) / 2) * self.step

    def cells(self, stride: int) -> int:
        """Cells of ``stride`` pixels along it; the last may be cut off, as in the network."""
        return -(-self.size // stride)

    def inside(self, stride: int = 1) -> np.ndarray:
        """Which cells of ``stride`` pixels have their centre inside the image, boolean ``(cells,)``."""
        centres = self.centre(np.arange(self.cells(stride)) * stride + (stride - 1) / 2)
        inside = (centres > -0.5 - 1e-9) & (centres < self.count - 0.5 + 1e-9)
        if not inside.any():  # an image narrower than one cell
            inside[np.argmin(np.abs(centres - (self.count - 1) / 2))] = True
        return inside

    def conform_matrix(self) -> np.ndarray:
        """``(size, count)``, rows sum to one inside the image and are zero outside it."""
        offsets = np.arange(self.count)[None] - self.centre(np.arange(self.size))[:, None]
        if self.step > 1.0 + 1e-6:
            # Linear interpolation averaged over a window that makes the kernel as wide as the pixel.
            window = math.sqrt(self.step**2 - 1.0)
            weights = (_hat_integral(offsets + window / 2) - _hat_integral(offsets - window / 2)) / window
        else:
            weights = np.maximum(0.0, 1.0 - np.abs(offsets))
        total = weights.sum(axis=1, keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 1e-12)
        weights[~self.inside()] = 0.0
        return weights

    def spread_matrix(self, stride: int) -> np.ndarray:
        """``(count, cells)``, each column (a cell inside the image) sums to one: where its contribution goes."""
        width = stride * self.step
        if abs(width - 1.0) < 1e-6 and stride == 1 and self.size == self.count:
            return np.eye(self.count)
        cells = self.cells(stride)
        centres = self.centre(np.arange(cells) * stride + (stride - 1) / 2)[None]
        edges = np.arange(self.count + 1)[:, None] - 0.5
        mass = np.diff(_bump_integral((edges - centres) / width), axis=0)
        mass[:, ~self.inside(stride)] = 0.0
        total = mass.sum(axis=0, keepdims=True)
        return np.divide(mass, total, out=np.zeros_like(mass), where=total > 1e-12)

    def block_matrix(self, stride: int) -> np.ndarray:
        """``(cells, count)``, the share of each cell's own block that lies in each voxel; rows sum to one."""
        width = stride * self.step
        cells = self.cells(stride)
        centres = self.centre(np.arange(cells) * stride + (stride - 1) / 2)[:, None]
        edges = np.clip((np.arange(self.count + 1)[None] - 0.5 - centres) / width, -0.5, 0.5)
        mass = np.diff(edges, axis=1)
        mass[~self.inside(stride)] = 0.0
        total = mass.sum(axis=1, keepdims=True)
        return np.divide(mass, total, out=np.zeros_like(mass), where=total > 1e-12)

    def nearest_cell(self, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """For each native voxel (along the axis direction) the nearest cell, and whether it lies in that cell's block.

        Voxels outside every block are those that a model of fixed size does not see. Of two cells as near, the first.
        """
        cells = np.flatnonzero(self.inside(stride))
        centres = self.centre(cells * stride + (stride - 1) / 2)
        distance = np.round(np.abs(np.arange(self.count)[:, None] - centres[None]), 9)
        return cells[np.argmin(distance, axis=1)], distance.min(axis=1) <= max(stride * self.step, 1.0) / 2 + 1e-6

    def owners(self, stride: int) -> np.ndarray:
        """Which cells a voxel is nearest to, boolean ``(cells,)``."""
        nearest, seen = self.nearest_cell(stride)
        return np.isin(np.arange(self.cells(stride)), nearest[seen])

    def voxels(self, stride: int) -> np.ndarray:
        """The voxels of each cell inside the image, boolean ``(cells, count)``: those nearest to it.

        Where voxels are coarser than cells, a voxel is nearest to one cell only, and others lie in it, too: those have
        the voxel they lie in.
        """
        nearest, seen = self.nearest_cell(stride)
        found = np.zeros((self.cells(stride), self.count), bool)
        found[nearest[seen], np.flatnonzero(seen)] = True
        without = np.flatnonzero(self.inside(stride) & ~self.owners(stride))
        held = np.ceil(np.round(self.centre(without * stride + (stride - 1) / 2), 9) - 0.5)
        found[without, np.clip(held, 0, self.count - 1).astype(int)] = True
        return found

    def middle(self, stride: int) -> np.ndarray:
        """Of the voxels of each cell the one nearest to its centre, ``(cells,)``; -1 for cells outside the image."""
        found = self.voxels(stride)
        centres = self.centre(np.arange(self.cells(stride)) * stride + (stride - 1) / 2)
        distance = np.round(np.abs(np.arange(self.count)[None] - centres[:, None]), 9)
        return np.where(found.any(axis=1), np.argmin(np.where(found, distance, np.inf), axis=1), -1)

    def place(self, cell: int, stride: int) -> float:
        """Native position of a cell's centre, in voxels along the axis direction.

        A centre on the border of two voxels is put a billionth of a voxel into that of its own, so that the voxel
        nearest to it is one of :meth:`voxels`.
        """
        position = float(self.centre(cell * stride + (stride - 1) / 2))
        middle = int(self.middle(stride)[cell])
        off = position - middle
        if middle < 0 or abs(abs(off) - 0.5) > 1e-9:
            return position
        return middle + math.copysign(0.5 - 1e-9, off)

    def voxel_matrix(self, stride: int) -> np.ndarray:
        """``(cells, count)``, equal shares of the voxels of each cell (:meth:`voxels`); rows sum to one."""
        found = self.voxels(stride)
        return found / np.maximum(found.sum(axis=1, keepdims=True), 1)

    def kept(self, stride: int) -> float:
        """Least share of an owner's block that its voxels make up: 1 where cells end where voxels do."""
        share = (self.block_matrix(stride) * self.voxels(stride)).sum(axis=1)
        return float(share[self.owners(stride)].min())


def _hat_integral(x: np.ndarray) -> np.ndarray:
    """Integral from minus infinity to x of ``max(0, 1 - |t|)``, the kernel of linear interpolation."""
    x = np.clip(x, -1.0, 1.0)
    return np.where(x < 0, 0.5 * (1 + x) ** 2, 1.0 - 0.5 * (1 - x) ** 2)


def _bump_integral(x: np.ndarray) -> np.ndarray:
    """Integral from minus infinity to x of the bump ``1 - smootherstep(|t|)`` on [-1, 1].

    Bumps one cell apart add to one everywhere, as triangles do, but keep more of a cell's contribution in its own block
    and have no creases (Perlin 2002: 6t^5 - 15t^4 + 10t^3).
    """
    t = np.minimum(np.abs(x), 1.0)
    return 0.5 + np.sign(x) * (t - t**6 + 3 * t**5 - 2.5 * t**4)
