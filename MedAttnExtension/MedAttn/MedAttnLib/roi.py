"""Regions of interest as masks that say themselves where they lie: a segment, or the box of an ROI node.

A mask need not have the grid of the scan, because the engine places it by its world coordinates. So a segment is
handed on as Slicer stores it, and a box as three voxels a side, of which the one in the middle is the box: nothing is
resampled here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedAttnLib import geometry
from MedAttnLib.steps import Steps, TaskError, on_disk
from MedAttnLib.texts import _

_ALIGNED = 1e-3
"""Voxels by which two grids may differ and still be one grid."""


@dataclass(frozen=True)
class Mask:
    """Voxels and where they lie.

    Attributes:
        voxels: ``(K, J, I)`` uint8, 0 outside and 1 inside.
        matrix: ``(4, 4)`` voxel index to world RAS mm.
    """

    voxels: np.ndarray
    matrix: np.ndarray


def of_node(node, segment_id: str) -> Mask:
    """The mask of an ROI node, or of a segment of a segmentation node.

    Raises:
        TaskError: ``empty_mask`` or ``bad_mask``.
    """
    if node.IsA("vtkMRMLMarkupsROINode"):
        return of_box(node)
    if node.IsA("vtkMRMLSegmentationNode"):
        return of_segment(node, segment_id)
    raise TaskError("bad_mask", _("the region of interest has to be a segment or an ROI node; choose one of these"))


def of_box(roi) -> Mask:
    """The box of an ROI node, turned as it lies.

    Raises:
        TaskError: ``empty_mask`` without an extent, ``bad_mask`` where the inside is out.
    """
    if roi.GetInsideOut():
        raise TaskError("bad_mask", _("the ROI is turned inside out; switch that off in the Markups module"))
    to_world = geometry.as_array(roi.GetObjectToWorldMatrix())
    size = np.array(roi.GetSize())
    if not (size > 0).all():
        raise TaskError("empty_mask", _("the ROI has no extent; place it on the scan"))
    axes = to_world[:3, :3] @ np.diag(size)
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = to_world[:3, 3] - axes @ np.ones(3)
    voxels = np.zeros((3, 3, 3), np.uint8)
    voxels[1, 1, 1] = 1
    return Mask(voxels, matrix)


def of_segment(segmentation, segment_id: str) -> Mask:
    """One segment.

    Raises:
        TaskError: ``bad_mask`` without such a segment, ``empty_mask`` if nothing is painted.
    """
    if not segment_id or segmentation.GetSegmentation().GetSegment(segment_id) is None:
        raise TaskError("bad_mask", _("no segment is chosen; choose one of the segmentation"))
    image = slicer.vtkOrientedImageData()
    if not segmentation.GetBinaryLabelmapRepresentation(segment_id, image):
        segmentation.CreateBinaryLabelmapRepresentation()
        segmentation.GetBinaryLabelmapRepresentation(segment_id, image)
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise TaskError("empty_mask", _("the segment is empty; paint something on the scan"))
    voxels = (vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]) != 0).astype(np.uint8)
    if not voxels.any():
        raise TaskError("empty_mask", _("the segment is empty; paint something on the scan"))
    if not geometry.is_linear(segmentation):
        raise TaskError(
            "bad_mask", _("the segmentation is under a non-linear transform; harden that first (module Data)")
        )
    matrix = geometry.as_matrix(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]  # the stored part may begin anywhere
    return Mask(voxels, geometry.parent_to_world(segmentation) @ geometry.as_array(matrix) @ first)


def onto_grid(mask: Mask, shape: tuple[int, int, int], matrix: np.ndarray) -> Mask:
    """The mask on the whole grid of a scan if it is a part of that grid, else as it is.

    Painted segments nearly always are, and the engine answers faster where nothing has to be placed.

    Args:
        mask: on any grid.
        shape: ``(K, J, I)`` of the scan.
        matrix: ``(4, 4)`` voxel index of the scan to world RAS mm.
    """
    between = np.linalg.inv(matrix) @ mask.matrix
    offset = np.rint(between[:3, 3]).astype(int)
    if np.abs(between[:3, :3] - np.eye(3)).max() * max(mask.voxels.shape) > _ALIGNED * 10 or (
        np.abs(between[:3, 3] - offset).max() > _ALIGNED * 10
    ):
        return mask
    voxels = np.zeros(shape, np.uint8)
    low = offset[::-1]
    size = np.array(mask.voxels.shape)
    start, end = np.maximum(low, 0), np.minimum(low + size, shape)
    if (start < end).all():
        target = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
        source = tuple(slice(a, b) for a, b in zip(start - low, end - low, strict=True))
        voxels[target] = mask.voxels[source]
    return Mask(voxels, matrix)


def write_steps(volume, node, segment_id: str, world: np.ndarray, path: str) -> Steps:
    """Write the mask of a node for the engine, on the voxels of the scan that it lies on now.

    Args:
        volume: the scan.
        node: segmentation or ROI node.
        segment_id: of the segmentation.
        world: ``(4, 4)`` voxel index to world RAS mm of the scan as the engine knows it: of Apply, not of now.
        path: ends in .nrrd.

    Raises:
        TaskError: ``empty_mask`` or ``bad_mask``; ``unwritable``.
    """
    from MedAttnLib.exchange import write_scan_steps

    if not geometry.is_linear(volume):
        raise TaskError(
            "bad_mask",
            _("the volume is under a non-linear transform; harden that before using a region (module Data)"),
        )
    mask, now = of_node(node, segment_id), geometry.ijk_to_world(volume)
    if not np.array_equal(now, world):  # scan and mask may have been moved together since
        mask = Mask(mask.voxels, world @ np.linalg.inv(now) @ mask.matrix)
    shape = tuple(int(n) for n in volume.GetImageData().GetDimensions()[::-1])
    yield
    mask = onto_grid(mask, shape, world)
    yield
    yield from on_disk(write_scan_steps(path, mask.voxels, mask.matrix))
