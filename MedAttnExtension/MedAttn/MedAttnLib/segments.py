"""A region of the evidence becomes a segment, to be measured, corrected or saved like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedAttnLib import geometry, nodes
from MedAttnLib.finding import Finding
from MedAttnLib.results import check_voxels
from MedAttnLib.steps import Steps, TaskError, ask
from MedAttnLib.texts import _

SLAB_VOXELS = 2 << 20
"""Voxels are looked at in parts of this size: a few milliseconds each."""
COLOURS = ((0.93, 0.22, 0.09), (1.0, 0.57, 0.16), (1.0, 0.85, 0.43), (0.55, 0.75, 0.3), (0.3, 0.6, 0.75))


def region_steps(logic: Any, volume: Any, found: Finding | None, region: int) -> Steps:
    """Add the segment, in the place of one of the same region; made on the grid and under the transform of the scan.

    Returns:
        ``(segmentation node, segment id)``.

    Raises:
        TaskError: no prediction of this session, no such region, or other voxels by now.
    """
    from MedAttnLib.exchange import discard, read_voxels

    if found is None or not found.live:
        raise TaskError("no_prediction", _("there is no prediction of this session; press Apply first"))
    check_voxels(volume, found)
    label, path = found.evidence["label"], logic.engine.file("region.nii")
    try:
        answer = yield from ask(logic.engine.mask, found.prediction, path, regions=[int(region)], label=label)
        voxels = read_voxels(path, answer["data_offset"], answer["shape"], answer["dtype"])
        name = _("{label} region {number}").format(label=label, number=region)
        colour = COLOURS[(int(region) - 1) % len(COLOURS)]
        return (yield from segment_steps(logic.scene, volume, voxels, name, colour))
    finally:
        discard(path)


def add_segment(scene: Any, volume: Any, voxels: np.ndarray, name: str, colour: tuple[float, float, float]) -> Any:
    """All of :func:`segment_steps` at once."""
    steps = segment_steps(scene, volume, voxels, name, colour)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def crop_steps(voxels: np.ndarray) -> Steps:
    """The box of what is not zero, looked for slab by slab.

    Args:
        voxels: ``(K, J, I)`` numbers or booleans.

    Returns:
        ``(low, high)`` indices ``(k, j, i)``, the upper ones exclusive; None where everything is zero.
    """
    some = [np.zeros(n, bool) for n in voxels.shape]
    rows = max(1, SLAB_VOXELS // max(1, voxels[0].size))
    for first in range(0, len(voxels), rows):
        slab = voxels[first : first + rows] != 0
        some[0][first : first + rows] = slab.any(axis=(1, 2))
        plane = slab.any(axis=0)
        some[1] |= plane.any(axis=1)
        some[2] |= plane.any(axis=0)
        yield
    if not some[0].any():
        return None
    ends = [np.flatnonzero(axis)[[0, -1]] for axis in some]
    return [int(low) for low, _high in ends], [int(high) + 1 for _low, high in ends]


def segment_steps(scene: Any, volume: Any, voxels: np.ndarray, name: str, colour: tuple[float, float, float]) -> Steps:
    """A segment from ``(K, J, I)`` numbers, inside where they are not zero, on the grid of a volume.

    Returns:
        ``(segmentation node, segment id)``.

    Raises:
        TaskError: ``empty_mask``, there is nothing inside.
    """
    box = yield from crop_steps(voxels)
    if box is None:
        raise TaskError("empty_mask", _("the region has no voxels"))
    (k, j, i), (k_end, j_end, i_end) = box
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i, i_end - 1, j, j_end - 1, k, k_end - 1)
    image.AllocateScalars(3, 1)  # VTK_UNSIGNED_CHAR
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k_end - k, j_end - j, i_end - i)
    rows = max(1, SLAB_VOXELS // target[0].size)
    for first in range(0, len(target), rows):
        slab = voxels[k + first : min(k + first + rows, k_end), j:j_end, i:i_end]
        target[first : first + rows] = slab != 0
        yield
    segmentation = nodes.find(scene, nodes.SEGMENTATION, volume)
    if segmentation is None:
        text = _("{volume} regions as segments").format(volume=volume.GetName())
        segmentation = nodes.make(scene, nodes.SEGMENTATION, volume, text)
        segmentation.CreateDefaultDisplayNodes()
        segmentation.GetDisplayNode().SetOpacity2DFill(0.0)  # its colours would hide those of the map that it is of
        nodes.put_into_folder(scene, volume, segmentation)
    segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    old = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    if old:
        segmentation.GetSegmentation().RemoveSegment(old)
    image.SetImageToWorldMatrix(geometry.as_matrix(geometry.ijk_to_ras(volume)))
    segment = segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, name, list(colour))
    return segmentation, segment
