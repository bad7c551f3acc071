"""What stands in the panel and in the views is about the scan, the model and the scene that are chosen, and says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import nodes, segments
from MedAttnLib.finding import PAINTED_FILE, named, without_paths
from MedAttnLib.panel import WARNING_STYLE
from PySide6.QtCore import Qt
from stand_ins import drive
from stand_ins.desk import Desk
from stand_ins.shell import Shell


def applied(shell: Shell) -> Any:
    """The panel on the chosen scan, with its result."""
    shell.widget.enter()
    shell.apply()
    return shell.ui


def checkable(shell: Shell) -> bool:
    return bool(shell.ui.regionsTable.item(0, 0).flags() & Qt.ItemIsUserCheckable)


def test_no_bar_of_the_result_before_lies_over_a_quantity(shell: Shell, brain: Any) -> None:
    ui = applied(shell)
    ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: ui.probabilityTable.cellWidget(0, 2) is not None)
    shell.parameters.bundle = "hippocampus_volume"
    shell.apply()
    assert ui.probabilityTable.item(0, 1).text().endswith(" mm3")
    assert [ui.probabilityTable.cellWidget(0, column) for column in (1, 2)] == [None, None]
    ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: ui.probabilityTable.item(0, 2).text().endswith(" mm3"))


def test_the_legend_of_a_map_that_is_deleted_goes(shell: Shell, desk: Desk, brain: Any) -> None:
    applied(shell)
    kind = "vtkMRMLColorLegendDisplayNode"
    assert len(nodes.of_class(desk.scene, kind)) == 1
    desk.scene.RemoveNode(nodes.find(desk.scene, nodes.EVIDENCE, brain))
    shell.until(lambda: not nodes.of_class(desk.scene, kind), 5.0)
    assert shell.ui.findingLabel.text == "No result yet"


def test_what_can_no_longer_be_asked_is_said_at_once(shell: Shell, desk: Desk, brain: Any) -> None:
    """After a batch of other scans, and after the engine ended: no tick is offered that would do nothing."""
    ui = applied(shell)
    assert checkable(shell)
    other, tree = desk.load(SAMPLES / "brain2_image.nrrd", "brain2"), nodes.hierarchy(desk.scene)
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "others")
    tree.SetItemParent(nodes.item_of(desk.scene, other), folder)
    shell.panel.look_again()
    ui.batchScope.setCurrentIndex(ui.batchScope.findData(str(folder)))
    ui.batchButton.click()
    shell.until(lambda: not shell.work.busy)
    assert shell.panel.volume is brain
    assert "Only the scan that was classified last" in ui.noticeLabel.text
    assert not checkable(shell)
    shell.apply()
    assert checkable(shell)
    shell.work._message("it ended")
    assert not checkable(shell)
    assert (ui.statusLabel.text, ui.statusLabel.styleSheet) == ("it ended", WARNING_STYLE)


def test_the_other_question_is_taken_back(shell: Shell, desk: Desk, brain: Any) -> None:
    """By "Tick all" and by another scan; kept where the reader has painted in another module."""
    ui = applied(shell)
    ui.modeSelector.setCurrentIndex(1)
    shell.until(lambda: shell.panel.question.answer is not None)
    ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    assert "Nothing is ticked or painted" in ui.whatIfLabel.text
    ui.resetButton.click()
    assert (ui.modeSelector.currentIndex, ui.whatIfLabel.text) == (0, "")
    ui.modeSelector.setCurrentIndex(1)
    shell.widget.exit()
    shell.widget.enter()
    assert ui.modeSelector.currentIndex == 1
    ui.inputSelector.setCurrentNode(desk.load(SAMPLES / "brain2_image.nrrd", "brain2"))
    assert ui.modeSelector.currentIndex == 0
    shell.apply()
    assert ui.whatIfLabel.text == ""


def test_no_temporary_file_is_named(shell: Shell, desk: Desk, brain: Any) -> None:
    """A message may begin with the file that was handed over: the reader has never seen it."""
    slab = slicer.util.arrayFromVolume(brain)[12:13]
    single = desk.volume(slab, np.diag([-0.9, -0.9, 5.0, 1.0]), "Doe^Jane")
    shell.widget.enter()
    shell.ui.inputSelector.setCurrentNode(single)
    shell.apply()
    assert "Doe^Jane: a single slice" in shell.ui.noticeLabel.text
    kept = nodes.find(desk.scene, nodes.EVIDENCE, single).GetAttribute(nodes.RESULT)
    assert "a single slice" in kept
    for text in (shell.ui.noticeLabel.text, kept):
        assert "scan.nrrd" not in text
        assert str(shell.work.engine.folder) not in text
    assert "Doe" not in kept


def test_a_region_of_interest_has_its_names(shell: Shell, desk: Desk, brain: Any, tmp_path: Any) -> None:
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    node, _segment = segments.add_segment(desk.scene, brain, tumour, "tumour", (1.0, 0.0, 0.0))
    node.SetName("Doe^Jane painted")
    shell.widget.enter()
    shell.ui.regionSelector.setCurrentNode(node)
    shell.apply()
    said = "attention was restricted to a region of interest: tumour (Doe^Jane painted), "
    assert said in shell.ui.noticeLabel.text
    assert "Doe" not in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetAttribute(nodes.RESULT)
    assert desk.scene.WriteToMRB(str(tmp_path / "x.mrb"))
    desk.scene.Clear(False)
    assert desk.scene.ReadFromMRB(str(tmp_path / "x.mrb"), False)
    assert shell.panel.found.saved
    assert said in shell.ui.noticeLabel.text
    desk.scene.RemoveNode(slicer.util.getNode("Doe^Jane painted"))
    assert shell.panel.found.region == "tumour (Doe^Jane painted)", "as it was called"


def test_messages_of_older_scenes_and_of_other_systems(desk: Desk) -> None:
    volume = desk.volume(np.zeros((2, 3, 4), np.int16), np.eye(4), "head")
    for message in ("/tmp/a b/scan.nrrd: x", "\\".join(("C:", "A B", "scan.nrrd: x")), "scan: x"):
        assert named(message, volume) == "head: x"
    assert named("a mask (scan: x)", volume) == "a mask (scan: x)"
    assert named("region: region_of_interest.nrrd, 3 mL", volume) == "region: the chosen region, 3 mL"
    path = "\\".join(("C:", "A B", "scan.nrrd"))
    for written in (path, repr(path).strip("'"), path.replace("\\", "/")):
        assert without_paths(f"{written}: x", path) == "scan: x"
    assert without_paths("no /t/painted_segment.nrrd", f"/t/{PAINTED_FILE}") == f"no {PAINTED_FILE}"


def test_the_scan_that_is_chosen_is_shown(shell: Shell, desk: Desk, brain: Any) -> None:
    """Without a result too; not where nobody has chosen it."""
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    ui, composite = applied(shell), desk.slices["Red"].GetSliceCompositeNode()
    ui.inputSelector.setCurrentNode(other)
    assert ui.findingLabel.text == "No result yet"
    assert composite.GetBackgroundVolumeID() == other.GetID()
    assert not composite.GetForegroundVolumeID()
    assert ui.statusLabel.text == ""
    ui.inputSelector.setCurrentNode(brain)
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (brain.GetID(), evidence.GetID())
    shell.widget.exit()
    slicer.util.setSliceViewerLayers(background=other, foreground=brain)
    shell.widget.enter()
    assert composite.GetBackgroundVolumeID() == other.GetID()


def test_opening_the_module_leaves_the_views(shell: Shell, desk: Desk, brain: Any) -> None:
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    slicer.util.setSliceViewerLayers(background=other)
    shell.widget.enter()
    assert shell.panel.volume is brain
    assert desk.slices["Red"].GetSliceCompositeNode().GetBackgroundVolumeID() == other.GetID()


def test_a_result_of_another_model_is_marked(shell: Shell, brain: Any) -> None:
    ui = applied(shell)
    text = "This result is of brain_tumor_t1ce; the chosen model has not been applied."
    usual = ui.noticeLabel.text
    assert text not in usual
    shell.until(lambda: ui.bundleSelector.findData("vessel_aneurysm") >= 0)
    ui.bundleSelector.setCurrentIndex(ui.bundleSelector.findData("vessel_aneurysm"))
    assert text in ui.noticeLabel.text
    ui.bundleSelector.setCurrentIndex(ui.bundleSelector.findData(drive.BUNDLE))
    assert ui.noticeLabel.text == usual
    shell.parameters.bundle = "of_another_site"
    shell.apply()
    assert text in ui.noticeLabel.text
    assert "of_another_site" in ui.statusLabel.text
    assert ui.statusLabel.styleSheet == WARNING_STYLE
    shell.parameters.bundle = drive.BUNDLE
    shell.apply()
    assert "Done" in ui.statusLabel.text
    assert ui.statusLabel.styleSheet == ""
    shell.ui.applyButton.click()
    shell.ui.applyButton.click()
    assert (ui.statusLabel.text, ui.statusLabel.styleSheet) == ("Cancelled", "")


def test_what_was_done_is_of_the_chosen_scan_and_scene(shell: Shell, desk: Desk, brain: Any, tmp_path: Any) -> None:
    other, ui = desk.load(SAMPLES / "brain2_image.nrrd", "brain2"), shell.ui
    applied(shell)
    shell.widget.exit()
    shell.widget.enter()
    assert "Done in" in ui.statusLabel.text, "the same scan"
    ui.inputSelector.setCurrentNode(other)
    assert ui.statusLabel.text == ""
    ui.inputSelector.setCurrentNode(brain)
    shell.apply()
    assert desk.scene.WriteToMRB(str(tmp_path / "x.mrb"))
    assert desk.scene.ReadFromMRB(str(tmp_path / "x.mrb"), False)
    assert ui.statusLabel.text == ""
    shell.apply()
    desk.scene.Clear(False)
    assert ui.statusLabel.text == ""


def test_the_segment_of_a_region_hides_no_map(shell: Shell, desk: Desk, brain: Any) -> None:
    ui = applied(shell)
    ui.segmentButton.click()
    shell.until(lambda: not shell.work.working)
    display = nodes.find(desk.scene, nodes.SEGMENTATION, brain).GetDisplayNode()
    assert (display.GetOpacity2DFill(), display.GetVisibility2DOutline()) == (0.0, True)
    assert "coarser than the colours" in ui.segmentButton.toolTip
    display.SetOpacity2DFill(0.4)
    ui.segmentButton.click()
    shell.until(lambda: not shell.work.working)
    assert display.GetOpacity2DFill() == 0.4, "as the reader wants it"


def test_to_harden_a_transform_is_no_change(shell: Shell, desk: Desk, brain: Any) -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turned[:3, 3] = 10.1, -3.3, 7.7
    brain.SetAndObserveTransformNodeID(desk.transform(turned).GetID())
    ui = applied(shell)
    brain.HardenTransform()
    assert brain.GetTransformNodeID() is None
    assert "changed" not in ui.noticeLabel.text
    moved = np.eye(4)
    moved[0, 3] = 1e-3
    brain.SetAndObserveTransformNodeID(desk.transform(moved).GetID())
    assert "changed" in ui.noticeLabel.text


@pytest.mark.parametrize("saved", [False, True])
def test_the_place_of_a_region_goes_along(shell: Shell, desk: Desk, brain: Any, tmp_path: Any, saved: bool) -> None:
    ui = applied(shell)
    if saved:
        assert desk.scene.WriteToMRB(str(tmp_path / "x.mrb"))
        desk.scene.Clear(False)
        assert desk.scene.ReadFromMRB(str(tmp_path / "x.mrb"), False)
        brain = slicer.util.getNode("brain1")
        assert shell.panel.found.saved
    assert ui.regionsTable.item(0, 2).text() == "L 45  P 18  S 26"
    ui.regionsTable.blockSignals(True)
    ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    ui.regionsTable.blockSignals(False)
    moved = np.eye(4)
    moved[:3, 3] = 0.0, 100.0, -50.0
    brain.SetAndObserveTransformNodeID(desk.transform(moved).GetID())
    assert ui.regionsTable.item(0, 2).text() == "L 45  A 82  I 24"
    assert ui.regionsTable.item(0, 0).checkState() == Qt.Unchecked


def test_an_answer_that_would_be_undecided_says_so(shell: Shell, brain: Any) -> None:
    ui = applied(shell)
    ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: shell.panel.question.answer is not None)
    low, high = shell.panel.found.result["limits"]["glioma"]
    assert low <= shell.panel.question.answer["probabilities"]["glioma"] < high
    assert "The model would then decide for no label." in ui.whatIfLabel.text


def test_nothing_stands_out_of_a_scan_unlike_the_training(shell: Shell, brain: Any) -> None:
    ui = applied(shell)
    found = shell.panel.found
    assert ui.probabilityTable.item(0, 0).font().bold()
    found.result = {**found.result, "warnings": [{"code": "unlike_training", "message": "do not rely on it"}]}
    shell.panel.show()
    assert "<b>" not in ui.findingLabel.text
    assert not any(ui.probabilityTable.item(row, 0).font().bold() for row in range(3))
