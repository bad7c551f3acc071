"""The evidence in the 3D views, if the reader wants it."""

from __future__ import annotations

import slicer
import vtk

from MedAttnLib import colours, nodes
from MedAttnLib.colours import Scale


def display_of(volume):
    """The volume rendering of the evidence, or None."""
    return slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(volume)


def render(volume, scale: Scale, threshold: float, undecided: bool, visible: bool) -> None:
    """Show or hide the evidence in 3D, in the colours of the slices; nothing is made in order to hide it."""
    logic = slicer.modules.volumerendering.logic()
    display = display_of(volume)
    if display is None:
        if not visible:
            return
        display = logic.CreateDefaultVolumeRenderingNodes(volume)
    display.SetAttribute(nodes.ROLE, nodes.DISPLAY)
    points = colours.transfer(scale, threshold, undecided)
    colour, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for density, red, green, blue, alpha in points:
        colour.AddRGBPoint(density, red, green, blue)
        opacity.AddPoint(density, alpha)
    node = display.GetVolumePropertyNode()
    modifying = node.StartModify()
    node.SetColor(colour)
    node.SetScalarOpacity(opacity)
    node.GetVolumeProperty().ShadeOff()
    node.EndModify(modifying)
    display.SetVisibility(visible)
