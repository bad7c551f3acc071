"""Matrices of volumes, parent transforms included. RAS millimetres everywhere."""

from __future__ import annotations

import numpy as np
import slicer
import vtk


def as_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as ``(4, 4)`` float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def as_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A ``(4, 4)`` array as VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix


def ijk_to_ras(volume_node) -> np.ndarray:
    """Voxel index to RAS mm ``(4, 4)``, without parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return as_array(matrix)


def is_linear(node) -> bool:
    """Whether all parent transforms together are a matrix (none at all is one)."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def parent_to_world(node) -> np.ndarray:
    """What the parent transforms do, ``(4, 4)``: the identity where there are none, or where they are no matrix."""
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent is not None and parent.IsTransformToWorldLinear():
        parent.GetMatrixTransformToWorld(matrix)
    return as_array(matrix)


def ijk_to_world(volume_node) -> np.ndarray:
    """Voxel index to where the reader sees it, RAS mm ``(4, 4)``.

    This is what the model is told: a volume that was turned with a transform is predicted as it lies on the screen.
    Under a non-linear transform there is no such matrix, and the volume's own is given.
    """
    return parent_to_world(volume_node) @ ijk_to_ras(volume_node)


def world_of_ijk(volume_node, index) -> tuple[float, float, float]:
    """Where a voxel ``(i, j, k)`` lies now, RAS mm, through every kind of parent transform."""
    local = ijk_to_ras(volume_node) @ np.array([*index, 1.0])
    world = [0.0, 0.0, 0.0]
    volume_node.TransformPointToWorld([float(x) for x in local[:3]], world)
    return tuple(world)


def jump_to(scene, position) -> None:
    """Let all slice views pass through a world position, RAS mm.

    Whole micrometres: a scene file keeps six digits, and a view that is loaded again then shows the very same pixels.
    """
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *(round(float(x), 3) for x in position))
