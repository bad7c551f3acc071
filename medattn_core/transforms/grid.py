"""ModelGrid: the one resampling between a scan's own grid and the grid a model works on.

The model grid shares the axes of the native grid (permuted, flipped, with another spacing), so oblique and sheared
scans are never rotated, and every map between the two is a product of one small matrix an axis:

* ``conform``: linear interpolation, averaged over the pixel where the grid is coarser (no aliasing, no shift);
* ``spread``: each evidence cell as a smooth bump of its own width (neighbouring bumps blend and add to one),
  integrated over every native voxel and normalised a cell, so that the sum over voxels is the sum over cells
  *by construction*, whatever the spacing or the crop, and the peak of the map is the centre of the strongest cell.

Interpolating a map loses its sum; integrating it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.axis import Axis
from medattn_core.transforms.separable import apply_matrices, plain
from medattn_core.volumes import Volume
from medattn_core.volumes.shown import display_axes, laid_out, slice_axis

MULTIPLE = 8
"""Model grids are rounded up to this, the usual evidence stride: less than half a cell of it lies outside the scan."""

MAX_VOXELS = 512**3
"""Largest model grid, in voxels: beyond it a request is an error, not a machine out of memory."""

_TIE = 1e-5
"""How far from one half a share may be and still count as it: sums of float32."""

_RAS = ((0, 1), (1, 1), (2, 1))


@dataclass(frozen=True, kw_only=True)
class ModelGrid:
    """How one scan lies on a model's grid.

    Attributes:
        axes: three axes: rows, columns, slices (slicewise and 2D) or R, A, S (3D).
        native_shape: shape of the scan.
        native_affine: its voxel-to-RAS matrix.
        spatial_dims: 2 or 3, dimensions of the convolutions.
        padded: the model was trained on images padded to a fixed size: cells outside the scan are attended too.
        notices: what had to be assumed or cropped.
    """

    axes: tuple[Axis, Axis, Axis]
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray
    spatial_dims: int
    padded: bool = False
    notices: tuple[Notice, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Model pixels along each model axis."""
        return tuple(axis.size for axis in self.axes)  # type: ignore[return-value]

    def strides(self, stride: int) -> tuple[int, int, int]:
        """Evidence stride along each model axis: none across the slices of a slicewise model."""
        return (stride, stride, 1 if self.spatial_dims == 2 else stride)

    def cells(self, stride: int) -> tuple[int, int, int]:
        """Evidence cells along each model axis."""
        return tuple(a.cells(s) for a, s in zip(self.axes, self.strides(stride), strict=True))  # type: ignore

    @property
    def affine(self) -> np.ndarray:
        """Model index to RAS mm, ``(4, 4)``."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for column, axis in enumerate(self.axes):
            sign = -1.0 if axis.flip else 1.0
            first = float(axis.centre(0))
            matrix[axis.native, column] = sign * axis.step
            matrix[axis.native, 3] = (axis.count - 1 - first) if axis.flip else first
        return self.native_affine @ matrix

    def _to_model_axes(self, data: np.ndarray) -> np.ndarray:
        data = np.transpose(data, [axis.native for axis in self.axes])
        flips = tuple(i for i, axis in enumerate(self.axes) if axis.flip)
        return np.flip(data, flips) if flips else data

    def _to_native_axes(self, data: np.ndarray) -> np.ndarray:
        flips = tuple(i for i, axis in enumerate(self.axes) if axis.flip)
        data = np.flip(data, flips) if flips else data
        return np.transpose(data, np.argsort([axis.native for axis in self.axes]))

    def _native_matrices(self, matrices: list[np.ndarray], along: int) -> list[np.ndarray]:
        """Matrices a model axis as matrices a native axis; ``along`` is the side (0 or 1) that counts voxels.

        A flip of a large array would be a copy of it; a flipped matrix costs nothing.
        """
        native = [np.empty(0)] * 3
        for axis, matrix in zip(self.axes, matrices, strict=True):
            native[axis.native] = np.flip(matrix, along) if axis.flip else matrix
        return native

    def conform(self, data: np.ndarray) -> np.ndarray:
        """Native voxels ``(I, J, K)`` to the model grid, float32; outside the image it is zero."""
        matrices = self._native_matrices([axis.conform_matrix() for axis in self.axes], 1)
        return plain(np.transpose(apply_matrices(data, matrices), [axis.native for axis in self.axes]))

    def attended(self, stride: int) -> np.ndarray:
        """Cells that the model may look at, boolean: those inside, and the padding where it was trained with it.

        What a cell outside the image contributes has no voxel to lie in: it is the residual of the evidence.
        """
        return np.ones(self.cells(stride), bool) if self.padded else self.inside(stride)

    def inside(self, stride: int = 1) -> np.ndarray:
        """Cells whose centre lies inside the image, boolean."""
        per_axis = [a.inside(s) for a, s in zip(self.axes, self.strides(stride), strict=True)]
        return per_axis[0][:, None, None] & per_axis[1][None, :, None] & per_axis[2][None, None, :]

    def spread(self, cells: np.ndarray, stride: int) -> np.ndarray:
        """Cell contributions to native voxels, float32 ``(I, J, K)`` in the order of files; sums are kept."""
        strides = self.strides(stride)
        matrices = [axis.spread_matrix(s) for axis, s in zip(self.axes, strides, strict=True)]
        laid = np.transpose(cells, np.argsort([axis.native for axis in self.axes]))
        return apply_matrices(laid, self._native_matrices(matrices, 0))

    def coverage(self, mask: np.ndarray, stride: int) -> np.ndarray:
        """Share of each cell's own block that a native mask covers, float32 in [0, 1]."""
        matrices = [axis.block_matrix(s) for axis, s in zip(self.axes, self.strides(stride), strict=True)]
        return self._share(mask, stride, matrices)

    def _share(self, mask: np.ndarray, stride: int, matrices: list[np.ndarray]) -> np.ndarray:
        mask = self._to_model_axes(np.asarray(mask, dtype=bool))
        # A what-if has to be immediate: only the box around the voxels that are set (or not set) is worked through.
        inverse = 2 * np.count_nonzero(mask) > mask.size
        marked = ~mask if inverse else mask
        along = [np.flatnonzero(marked.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        share = np.zeros(self.cells(stride), np.float32)
        if along[0].size:
            box = tuple(slice(int(a[0]), int(a[-1]) + 1) for a in along)
            share = apply_matrices(marked[box], [m[:, s] for m, s in zip(matrices, box, strict=True)])
        return np.where(self.inside(stride), 1.0 - share, 0.0).astype(np.float32) if inverse else share

    def taken(self, mask: np.ndarray, stride: int) -> np.ndarray:
        """Cells that a native mask takes, boolean ``(*cells)``: those it covers by more than half.

        A cell that is covered by half goes with its middle voxel, so that each cell inside the image is taken either by
        a mask or by its complement, and by one of them only.

        The cells that a mask was painted from (:meth:`paint`) are taken, and of :meth:`owners` no others: along axes
        whose voxels are too coarse to tell them by the shares in their blocks, the voxels of each cell count. Cells
        that are no owners go with their middle voxel.
        """
        marked = np.asarray(mask, dtype=bool)
        # The same sum for a mask and its complement: rounding could part them at the half.
        inverse = bool(marked[0, 0, 0])
        marked = ~marked if inverse else marked
        over = self._share(marked, stride, self._told_apart(stride)) - 0.5
        middle = [axis.middle(s) for axis, s in zip(self.axes, self.strides(stride), strict=True)]
        clear = self.owners(stride) & (np.abs(over) > _TIE)
        taken = np.where(clear, over > 0, self._to_model_axes(marked)[np.ix_(*middle)])
        found: np.ndarray = self.inside(stride) & (taken != inverse)
        return found

    def owners(self, stride: int) -> np.ndarray:
        """Cells that a voxel is nearest to, boolean ``(*cells)``: all inside the image where no voxel is coarser."""
        rows, columns, slices = (a.owners(s) for a, s in zip(self.axes, self.strides(stride), strict=True))
        found: np.ndarray = rows[:, None, None] & columns[:, None] & slices
        return found

    def _told_apart(self, stride: int) -> list[np.ndarray]:
        """A matrix an axis: what its voxels are of a cell, shares of its block where those tell painted cells apart."""
        along = list(zip(self.axes, self.strides(stride), strict=True))
        matrices = [axis.block_matrix(s) for axis, s in along]
        kept = np.array([axis.kept(s) for axis, s in along])
        for worst in np.argsort(kept, kind="stable"):
            if np.prod(kept) > 0.5 + 1e-3:
                break
            axis, s = along[worst]
            matrices[worst], kept[worst] = axis.voxel_matrix(s), 1.0
        return matrices

    def paint(self, cells: np.ndarray, stride: int) -> np.ndarray:
        """Cells ``(*cells)`` as the voxels nearest to them, ``(I, J, K)``: a mask, or a whole number from 0 a cell.

        A voxel that several marked cells share, because it is coarser than they are, has the largest of their numbers.
        """
        along = list(zip(self.axes, self.strides(stride), strict=True))
        nearest = [axis.nearest_cell(s) for axis, s in along]
        rows, columns, slices = (near for _, near in nearest)
        seen = rows[:, None, None] & columns[:, None] & slices
        painted = cells[np.ix_(*[index for index, _ in nearest])] * seen
        # Voxels coarser than cells are nearest to one of several: each of the others has the voxel that it lies in.
        found = np.nonzero((cells != 0) & self.inside(stride) & ~self.owners(stride))
        middle = [axis.middle(s)[index] for (axis, s), index in zip(along, found, strict=True)]
        np.maximum.at(painted, tuple(middle), cells[found])
        return plain(self._to_native_axes(painted))

    def painted_voxels(self, cells: np.ndarray, stride: int) -> int:
        """How many voxels :meth:`paint` marks for a mask of cells, boolean ``(*cells)``, without painting them."""
        along = list(zip(self.axes, self.strides(stride), strict=True))
        marked = np.nonzero(cells)
        nearest = [axis.nearest_cell(s) for axis, s in along]
        own = [
            np.bincount(index[near], minlength=axis.cells(s))
            for (index, near), (axis, s) in zip(nearest, along, strict=True)
        ]
        count = int(np.prod([n[at] for n, at in zip(own, marked, strict=True)], axis=0).sum())
        shared = (self.inside(stride) & ~self.owners(stride))[marked]
        if not shared.any():
            return count
        # Cells that no voxel is nearest to: the voxels that they lie in, those apart that are marked already.
        held = [axis.middle(s)[at[shared]] for (axis, s), at in zip(along, marked, strict=True)]
        voxels = np.unique(np.stack(held), axis=1)
        nearest_to = tuple(index[at] for (index, _), at in zip(nearest, voxels, strict=True))
        seen = np.logical_and.reduce([near[at] for (_, near), at in zip(nearest, voxels, strict=True)])
        return count + int(np.count_nonzero(~(cells[nearest_to] & seen)))

    def cell_index(self, cell: tuple[int, ...] | np.ndarray, stride: int) -> np.ndarray:
        """Continuous native voxel index ``(3,)`` of a cell's centre."""
        index = np.zeros(3)
        for axis, s, i in zip(self.axes, self.strides(stride), cell, strict=True):
            position = axis.place(int(i), s)
            index[axis.native] = axis.count - 1 - position if axis.flip else position
        return index

    def cell_volume_mm3(self, stride: int) -> float:
        """Volume of one cell, mm^3."""
        steps = np.prod([a.step * s for a, s in zip(self.axes, self.strides(stride), strict=True)])
        return float(abs(np.linalg.det(self.native_affine[:3, :3])) * steps)


def plan_grid(volume: Volume, task: TaskSpec) -> ModelGrid:
    """Lay a scan on the grid of a task.

    Raises:
        VolumeError: a volume of several slices for a 2D task that is not slicewise, or a grid too large to compute.
    """
    notices: list[Notice] = []
    spacing = _effective_spacing(volume, task, notices)
    if task.spatial_dims == 3:
        planned = laid_out(volume, _RAS)
    else:
        through = slice_axis(volume)
        if not task.slicewise and volume.shape[through] > 1:
            raise VolumeError(
                "bad_argument",
                f"{volume.name}: {volume.shape[through]} slices, but {task.name} takes single 2D images; "
                "give one slice, or a slicewise bundle",
            )
        planned = display_axes(volume)

    result = []
    for position, (native, flip) in enumerate(planned):
        count, native_mm = volume.shape[native], float(spacing[native])
        if task.spatial_dims == 2 and position == 2:
            step = task.slice_spacing / native_mm if native_mm * 1.5 < task.slice_spacing and count > 1 else 1.0
            size = max(1, math.ceil(count / step - 1e-6))
        else:
            step = task.spacing[position] / native_mm
            extent = count / step
            fixed = task.size[position] if task.size is not None else None
            # A model of fixed size was trained on images padded to it, and counts on that.
            size = max(1, math.ceil(extent / MULTIPLE - 1e-3)) * MULTIPLE if fixed is None else fixed
            if size * 1.02 < extent:
                notices.append(
                    Notice(
                        "cropped",
                        f"{volume.name}: {count * native_mm:.0f} mm along voxel axis {native}; the model sees the "
                        f"central {size * task.spacing[position]:.0f} mm",
                    )
                )
            if step < 0.4:
                notices.append(
                    Notice(
                        "upsampled",
                        f"{volume.name}: voxels of {native_mm:.2f} mm along voxel axis {native}, the model works at "
                        f"{task.spacing[position]:.2f} mm: details it looks for may be missing",
                    )
                )
        result.append(Axis(native=native, flip=flip, count=count, size=size, step=step))
    grid = ModelGrid(
        axes=(result[0], result[1], result[2]),
        native_shape=volume.shape,
        native_affine=volume.affine,
        spatial_dims=task.spatial_dims,
        padded=task.size is not None,
        notices=tuple(notices),
    )
    if math.prod(grid.shape) > MAX_VOXELS:
        raise VolumeError(
            "too_large",
            f"{volume.name}: {grid.shape} pixels at the model's spacing, more than the {MAX_VOXELS} allowed; "
            "crop the scan to the organ, or check its spacing",
        )
    return grid


def _effective_spacing(volume: Volume, task: TaskSpec, notices: list[Notice]) -> np.ndarray:
    """Voxel size in mm, or for pictures without one the size that fits the task's field of view."""
    if volume.spacing_known:
        return volume.spacing
    if task.spatial_dims == 3:
        if all(notice.code != "no_geometry" for notice in volume.warnings):
            notices.append(Notice("unknown_spacing", f"{volume.name}: no voxel size; 1 mm is assumed"))
        return volume.spacing
    longer = longer_side(volume)
    pixel = task.field_of_view / longer if task.field_of_view is not None else task.spacing[0]
    notices.append(
        Notice(
            "unknown_spacing",
            f"{volume.name}: no pixel size; {pixel * longer:.0f} mm along the longer side assumed",
        )
    )
    return volume.spacing * pixel


def longer_side(volume: Volume) -> float:
    """Of a picture without pixel size, in pixels; of pixels that are not square, in widths of one."""
    return max(float(volume.shape[axis] * volume.spacing[axis]) for axis, _ in display_axes(volume)[:2])
