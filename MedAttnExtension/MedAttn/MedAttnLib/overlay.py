"""The evidence on the anatomy: a volume in the input's place, its colours, its legend, the slice views."""

from __future__ import annotations

import textwrap

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedAttnLib import colours, nodes
from MedAttnLib.colours import Scale
from MedAttnLib.steps import Steps
from MedAttnLib.texts import _

SLAB_BYTES = 2 << 20
"""Voxels are copied in parts of this size: a few milliseconds each."""
LEGEND_LABELS = 5
LEGEND_FORMAT = "%6.6g"
"""Every tick exactly, a plain 0. Padded: Slicer fits the letters to the longest tick, and so they are of one size."""
LEGEND_WIDTH, LEGEND_HEIGHT = 0.15, 0.22
"""Shares of the view: letters of 12 pixels in a small view (420 pixels), in proportion in a large one."""
LEGEND_LINE = 0.036
"""Height of a line of the title, which Slicer draws above the legend's frame."""
LEGEND_FONT, LEGEND_ROOM = 10, 0.028
"""Slicer keeps room for the title within the frame, too: pixels of a line, and the share of a small view."""
TITLE_WIDTH = 18
"""Letters of a line of the title: a longer one would lie over the anatomy."""


def evidence_name(input_node, evidence: dict) -> str:
    """What the evidence volume is called."""
    if evidence.get("against"):
        text = _("{volume} evidence for {label} compared with {against}")
        return text.format(volume=input_node.GetName(), label=evidence["label"], against=evidence["against"])
    return _("{volume} evidence for {label}").format(volume=input_node.GetName(), label=evidence["label"])


def image_steps(voxels: np.ndarray) -> Steps:
    """A VTK image of ``(K, J, I)`` float32 voxels, copied slab by slab.

    Returns:
        vtkImageData without geometry of its own, as volume nodes want it.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(*(int(n) for n in voxels.shape[::-1]))
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)
    rows = max(1, SLAB_BYTES // max(1, voxels[0].nbytes))
    for first in range(0, voxels.shape[0], rows):
        target[first : first + rows] = voxels[first : first + rows]
        yield
    return image


def place_steps(scene, input_node, voxels: np.ndarray, evidence: dict, threshold: float, undecided: bool) -> Steps:
    """Put an evidence map into the scene, in the place of the one before.

    The volume gets the matrix and the parent transform of the input, so it lies on it whatever the transform does.

    Args:
        scene: MRML scene.
        input_node: the scan.
        voxels: ``(K, J, I)`` float32 density on the grid of the scan.
        evidence: evidence object of the engine.
        threshold: share of full colour below which nothing is shown.
        undecided: the model abstains.

    Returns:
        The volume node.
    """
    image = yield from image_steps(voxels)
    # Colours first: a display node without them would calculate window and level from all voxels.
    table = nodes.find_or_make(scene, nodes.COLOURS, input_node, _("MedAttn evidence colours"))
    scale = Scale.of(evidence)
    colour(table, scale, threshold, undecided)
    yield
    nodes.remove_lost_displays(scene)
    name = evidence_name(input_node, evidence)
    volume = nodes.find(scene, nodes.EVIDENCE, input_node)
    fresh = volume is None
    if fresh:
        volume = nodes.make(scene, nodes.EVIDENCE, input_node, name)
        display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetAutoWindowLevel(False)
        volume.SetAndObserveDisplayNodeID(display.GetID())
    nodes.claim(volume)
    display = volume.GetDisplayNode()
    display.SetAttribute(nodes.ROLE, nodes.DISPLAY)
    modifying = volume.StartModify()
    volume.SetName(name)
    matrix = vtk.vtkMatrix4x4()
    input_node.GetIJKToRASMatrix(matrix)
    volume.SetIJKToRASMatrix(matrix)
    volume.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    display.SetAutoWindowLevel(False)
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetWindowLevelMinMax(-scale.limit, scale.limit)
    display.SetApplyThreshold(False)
    display.SetInterpolate(True)
    volume.SetAndObserveImageData(image)
    volume.EndModify(modifying)
    yield
    if fresh:
        nodes.put_into_folder(scene, input_node, volume)
        yield
    legend_of(volume, evidence, scale, undecided)
    return volume


def colour(table, scale: Scale, threshold: float, undecided: bool) -> None:
    """Fill the colour node of ours."""
    modifying = table.StartModify()
    if table.GetNumberOfColors() != colours.ENTRIES:
        table.SetTypeToUser()
        table.SetNumberOfColors(colours.ENTRIES)
        table.SetHideFromEditors(False)  # hidden ones are not saved with the scene
    for entry, (rgba, share) in enumerate(
        zip(colours.table(scale, threshold, undecided), colours.shares(), strict=True)
    ):
        table.SetColor(entry, f"{share * scale.limit:+.3g}", *(float(value) for value in rgba))
    table.EndModify(modifying)


def legend_title(evidence: dict, unit: str, undecided: bool) -> str:
    """What the upper end of the legend speaks for, in what unit, and whether the model abstains: a line each, short.

    There is no room for words at the lower end: it is the opposite.
    """
    if evidence.get("against"):
        words = [_("for {label}"), _("vs {against}")]
    elif unit.split("/")[0] == "logit":
        words = [_("for {label}")]
    else:
        words = [_("raises {label}")]
    lines = []
    for text in words:
        text = text.format(label=evidence["label"], against=evidence.get("against"))
        lines += textwrap.wrap(text, TITLE_WIDTH, max_lines=2, placeholder="...")
    return "\n".join([*lines, unit, *([_("undecided")] if undecided else [])])


def legend_of(volume, evidence: dict, scale: Scale, undecided: bool):
    """The colour legend of an evidence volume, made if it is not there.

    It stands in the upper right corner, where a head or a chest leaves most room and Slicer writes least.
    """
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(volume)
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(volume)
    modifying = legend.StartModify()
    legend.SetAttribute(nodes.ROLE, nodes.DISPLAY)
    title = legend_title(evidence, scale.unit, undecided)
    legend.SetTitleText(title)
    legend.GetTitleTextProperty().SetFontSize(LEGEND_FONT)
    legend.SetLabelFormat(LEGEND_FORMAT)
    legend.SetNumberOfLabels(LEGEND_LABELS)
    legend.SetMaxNumberOfColors(colours.ENTRIES)
    lines = title.count("\n") + 1
    height = LEGEND_HEIGHT + LEGEND_ROOM * lines
    legend.SetSize(LEGEND_WIDTH, height)
    # Slicer counts a place from 0 to 1 within what the size leaves free.
    legend.SetPosition(0.985, (0.985 - LEGEND_LINE * lines - height) / (1.0 - height))
    legend.SetVisibility3D(False)
    legend.EndModify(modifying)
    return legend


def composites(scene) -> list:
    """What the slice views show."""
    return nodes.of_class(scene, "vtkMRMLSliceCompositeNode")


def show(scene, input_node, volume, opacity: float) -> bool:
    """Lay the evidence over its scan in all slice views.

    Returns:
        Whether a view showed another scan before, so that the views have to be fitted.
    """
    changed = False
    for composite in composites(scene):
        modifying = composite.StartModify()
        if composite.GetBackgroundVolumeID() != input_node.GetID():
            composite.SetBackgroundVolumeID(input_node.GetID())
            changed = True
        composite.SetForegroundVolumeID(volume.GetID())
        composite.SetForegroundOpacity(opacity)
        composite.EndModify(modifying)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    if legend is not None:
        legend.SetVisibility(True)
        legend.Modified()  # it does not look again by itself when a view's foreground changes
    return changed


def hide(scene, volume) -> None:
    """Take the evidence out of the slice views; it stays in the scene."""
    for composite in composites(scene):
        if composite.GetForegroundVolumeID() == volume.GetID():
            composite.SetForegroundVolumeID(None)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    if legend is not None:
        legend.SetVisibility(False)


def set_opacity(scene, volume, opacity: float) -> None:
    """Opacity where the evidence is shown."""
    for composite in composites(scene):
        if composite.GetForegroundVolumeID() == volume.GetID():
            composite.SetForegroundOpacity(opacity)


def opacity_of(scene, volume) -> float | None:
    """Opacity in the first slice view that shows the evidence, None where none does."""
    shown = (one for one in composites(scene) if one.GetForegroundVolumeID() == volume.GetID())
    return next((float(one.GetForegroundOpacity()) for one in shown), None)


def is_shown(scene, volume) -> bool:
    """Whether a slice view shows the evidence."""
    return any(composite.GetForegroundVolumeID() == volume.GetID() for composite in composites(scene))


def fit_views() -> None:
    """Show the whole scan in all slice views; an oblique view stays oblique."""
    logic = slicer.app.applicationLogic()
    try:
        # In every view, whether or not it takes part when volumes are chosen; with the orientation it has.
        logic.FitSliceToAll(False, False)
    except TypeError:  # an application whose function takes no arguments leaves the orientation alone
        logic.FitSliceToAll()
