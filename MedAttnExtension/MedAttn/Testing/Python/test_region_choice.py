"""Look only at a segment: the one that is shown is the one that is used, by way of the widgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from MedAttnLib import geometry
from stand_ins.desk import Desk
from stand_ins.shell import Shell
from vtk.util.numpy_support import vtk_to_numpy


def segmentation_of(desk: Desk, scan: Any, *names: str) -> Any:
    """A segmentation of the reader's, a block a segment; ids as Slicer makes them."""
    node = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    node.CreateDefaultDisplayNodes()
    shape = slicer.util.arrayFromVolume(scan).shape
    for number, name in enumerate(names):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*shape[::-1])
        image.AllocateScalars(3, 1)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
        voxels[:] = 0
        voxels[10 + 3 * number : 13 + 3 * number, 80:140, 80:140] = 1
        image.SetImageToWorldMatrix(geometry.as_matrix(geometry.ijk_to_ras(scan)))
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name, [1.0, 0.0, 0.0])
    return node


def ids(node: Any) -> list[str]:
    kept = node.GetSegmentation()
    return [kept.GetNthSegmentID(number) for number in range(kept.GetNumberOfSegments())]


@pytest.fixture
def used(shell: Shell, brain: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The module is open; the segments with which something was applied."""
    segments: list[str] = []
    apply = shell.work.apply
    monkeypatch.setattr(
        shell.work, "apply", lambda *rest, **named: (segments.append(named["segment"]), apply(*rest, **named))
    )
    shell.widget.enter()
    return segments


def shown(shell: Shell) -> list[str]:
    return [shell.ui.regionSegment.itemText(n) for n in range(shell.ui.regionSegment.count)]


def test_a_single_segment_is_taken(shell: Shell, desk: Desk, brain: Any, used: list[str]) -> None:
    ui, node = shell.ui, segmentation_of(desk, brain, "tumour")
    ui.regionSelector.setCurrentNode(node)
    assert shown(shell) == ["tumour"]
    assert ui.applyButton.enabled
    shell.apply()
    assert used == ids(node)
    assert shell.panel.found is not None
    assert "Done" in ui.statusLabel.text


def test_of_several_none_is_taken_unasked(shell: Shell, desk: Desk, brain: Any, used: list[str]) -> None:
    ui, node = shell.ui, segmentation_of(desk, brain, "a", "b")
    ui.regionSelector.setCurrentNode(node)
    assert ui.regionSegment.currentText == "(choose a segment)"
    assert not ui.applyButton.enabled
    assert "Choose a segment" in ui.applyButton.toolTip
    ui.regionSegment.setCurrentIndex(1)
    assert (ui.regionSegment.currentText, shown(shell)) == ("a", ["a", "b"])
    assert ui.applyButton.enabled
    shell.apply()
    assert used == ids(node)[:1]
    assert shell.panel.found is not None


def test_another_segmentation_has_other_segments(shell: Shell, desk: Desk, brain: Any, used: list[str]) -> None:
    """Whatever was chosen in the first is not looked for in the second; an ROI between them has none."""
    ui = shell.ui
    several, single, none = (segmentation_of(desk, brain, *names) for names in (("a", "b"), ("only",), ()))
    box = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    box.SetSize(60, 60, 40)
    ui.regionSelector.setCurrentNode(several)
    ui.regionSegment.setCurrentIndex(2)
    for node, texts in (
        (single, ["only"]),
        (none, []),
        (several, ["(choose a segment)", "a", "b"]),
        (single, ["only"]),
    ):
        ui.regionSelector.setCurrentNode(node)
        assert shown(shell) == texts
        assert ui.applyButton.enabled == (node is single)
        ui.regionSelector.setCurrentNode(box)
        assert not ui.regionSegment.enabled
        assert ui.applyButton.enabled
    ui.regionSelector.setCurrentNode(single)
    shell.apply()
    assert used == ids(single)
    assert shell.panel.found is not None


def test_segments_are_followed_while_the_module_is_open(shell: Shell, desk: Desk, brain: Any, used: list[str]) -> None:
    """Made, named and removed in the Segment Editor, or by a script."""
    ui, node = shell.ui, segmentation_of(desk, brain, "a", "b", "c")
    kept = node.GetSegmentation()
    ui.regionSelector.setCurrentNode(node)
    ui.regionSegment.setCurrentIndex(2)
    assert ui.regionSegment.currentText == "b"
    kept.GetNthSegment(1).SetName("edge")
    assert shown(shell) == ["a", "edge", "c"]
    kept.RemoveSegment(ids(node)[1])
    assert shown(shell) == ["(choose a segment)", "a", "c"]
    assert not ui.applyButton.enabled
    kept.RemoveSegment(ids(node)[1])
    assert shown(shell) == ["a"]
    assert ui.applyButton.enabled
    shell.apply()
    assert used == ids(node)
    assert shell.panel.found is not None
    kept.RemoveSegment(ids(node)[0])
    assert shown(shell) == []
    assert not ui.applyButton.enabled
    kept.AddEmptySegment("new", "new")
    assert shown(shell) == ["new"]
    assert ui.applyButton.enabled


def test_a_region_that_is_removed_or_left_is_not_followed(
    shell: Shell, desk: Desk, brain: Any, used: list[str]
) -> None:
    ui, node, other = shell.ui, *(segmentation_of(desk, brain, "a") for _ in range(2))

    def followed() -> set[Any]:
        return {one for one in (node, other) if one.HasObserver(slicer.vtkSegmentation.SegmentAdded)}

    assert followed() == set()
    for one in (node, other):
        ui.regionSelector.setCurrentNode(one)
        assert followed() == {one}
    shell.widget.exit()
    assert followed() == set()
    shell.widget.enter()
    assert followed() == {other}
    desk.scene.RemoveNode(other)
    assert shown(shell) == []
    assert ui.applyButton.enabled
    shell.apply()
    assert shell.panel.found is not None


def test_a_painted_stroke_changes_no_choice(shell: Shell, desk: Desk, brain: Any, used: list[str]) -> None:
    node = segmentation_of(desk, brain, "a", "b")
    shell.ui.regionSelector.setCurrentNode(node)
    shell.ui.regionSegment.setCurrentIndex(2)
    part = np.zeros(slicer.util.arrayFromVolume(brain).shape, np.uint8)
    part[5:20, 60:160, 60:160] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(part, node, ids(node)[1], brain)
    assert shell.ui.regionSegment.currentText == "b"
    assert shell.parameters.region_segment == ids(node)[1]
