"""A region of the evidence becomes a segment, to be measured, corrected or saved like any other."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedAttnLib import geometry, nodes
from MedAttnLib.finding import Finding
from MedAttnLib.steps import Steps, TaskError, ask
from MedAttnLib.texts import _

COLOURS = ((0.93, 0.22, 0.09), (1.0, 0.57, 0.16), (1.0, 0.85, 0.43), (0.55, 0.75, 0.3), (0.3, 0.6, 0.75))


def region_steps(logic: Any, volume: Any, found: Finding | None, region: int) -> Steps:
    """Add the segment, in the place of one of the same region; made on the grid and under the transform of the scan.

    Returns:
        ``(segmentation node, segment id)``.

    Raises:
        TaskError: no prediction of this session, or no such region.
    """
    from MedAttnLib.exchange import read_voxels

    if found is None or not found.live:
        raise TaskError("no_prediction", _("there is no prediction of this session; press Apply first"))
    label, path = found.evidence["label"], logic.engine.file("region.nii")
    try:
        answer = yield from ask(logic.engine.mask, found.prediction, path, regions=[int(region)], label=label)
        voxels = read_voxels(path, answer["data_offset"], answer["shape"], answer["dtype"]) != 0
        name = _("{label} region {number}").format(label=label, number=region)
        return add_segment(logic.scene, volume, voxels, name, COLOURS[(int(region) - 1) % len(COLOURS)])
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)


def add_segment(scene: Any, volume: Any, voxels: np.ndarray, name: str, colour: tuple[float, float, float]) -> Any:
    """A segment from ``(K, J, I)`` booleans on the grid of a volume; returns node and segment id."""
    segmentation = nodes.find(scene, nodes.SEGMENTATION, volume)
    if segmentation is None:
        text = _("{volume} regions as segments").format(volume=volume.GetName())
        segmentation = nodes.make(scene, nodes.SEGMENTATION, volume, text)
        segmentation.CreateDefaultDisplayNodes()
        nodes.put_into_folder(scene, volume, segmentation)
    segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    old = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    if old:
        segmentation.GetSegmentation().RemoveSegment(old)
    occupied = np.argwhere(voxels)
    low, high = occupied.min(axis=0), occupied.max(axis=0) + 1
    part = voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    image = slicer.vtkOrientedImageData()
    k, j, i = (int(n) for n in low)
    image.SetExtent(i, i + part.shape[2] - 1, j, j + part.shape[1] - 1, k, k + part.shape[0] - 1)
    image.AllocateScalars(3, 1)  # VTK_UNSIGNED_CHAR
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = part.astype(np.uint8).ravel()
    image.SetImageToWorldMatrix(geometry.as_matrix(geometry.ijk_to_ras(volume)))
    segment = segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, name, list(colour))
    return segmentation, segment
