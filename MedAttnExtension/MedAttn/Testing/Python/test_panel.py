"""The panel on stand-in widgets that refuse unknown names, a real scene and a real worker."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import nodes
from stand_ins import drive
from stand_ins.desk import Desk
from stand_ins.shell import Shell


def test_apply_shows_probabilities_regions_and_overlay(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    assert shell.ui.applyButton.enabled
    shell.ui.applyButton.click()
    assert shell.ui.applyButton.text == "Cancel"
    assert not shell.ui.inputSelector.enabled
    shell.until(lambda: not shell.work.busy)
    ui, found = shell.ui, shell.panel.found
    assert ui.applyButton.text == "Apply"
    assert "glioma" in ui.findingLabel.text
    shown = [ui.probabilityTable.cellWidget(row, 1).value / 1000 for row in range(3)]
    assert shown == pytest.approx(list(found.result["probabilities"].values()), abs=6e-4)
    assert ui.regionsTable.rowCount == len(found.regions)
    assert ui.regionsTable.item(0, 2).text() == "L 45  P 18  S 26"
    assert "Done" in ui.statusLabel.text
    for composite in nodes.of_class(desk.scene, "vtkMRMLSliceCompositeNode"):
        assert composite.GetForegroundVolumeID() == nodes.find(desk.scene, nodes.EVIDENCE, brain).GetID()
        assert composite.GetForegroundOpacity() == 0.5


def test_a_quantity_has_a_value_and_no_probability(shell: Shell, desk: Desk, brain: Any) -> None:
    """Headings of the panel and of the tables in the scene, with another model after it."""
    header = shell.ui.probabilityTable.horizontalHeaderItem
    shell.widget.enter()
    shell.parameters.bundle = "hippocampus_volume"
    shell.apply()
    assert [header(n).text() for n in range(3)] == ["Quantity", "Value", "What if"]
    table = nodes.find(desk.scene, nodes.REGIONS, brain)
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert "Value without" in names
    assert "Probability without" not in names
    assert table.GetColumnUnitLabel("Value without") == "mm3"
    table = nodes.find(desk.scene, nodes.PROBABILITIES, brain)
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert names == ["Quantity", "Value", "Bias"], "a quantity has no logit"
    assert {table.GetColumnUnitLabel(name) for name in names[1:]} == {"mm3"}
    # As many digits as in the report: the worker gives all of them.
    number, unit = shell.ui.regionsTable.item(0, 4).text().split()
    assert (number, unit) == (f"{shell.panel.found.regions[0]['contribution']:+.4g}", "mm3")
    shell.parameters.bundle = drive.BUNDLE
    shell.apply()
    assert [header(n).text() for n in range(3)] == ["Label", "Probability", "What if"]


def test_the_screen_calls_the_scan_by_its_name_and_nothing_else_does(shell: Shell, desk: Desk, brain: Any) -> None:
    brain.SetName("Doe^Jane")
    shell.widget.enter()
    shell.parameters.bundle = "hippocampus_volume"  # it sees a part of a head, and says so of this scan
    shell.apply()
    assert "Doe^Jane: " in shell.ui.noticeLabel.text
    assert "scan: " not in shell.ui.noticeLabel.text
    result = shell.panel.found.result
    assert any(one["message"].startswith("scan: ") for one in result["warnings"])
    assert "Doe" not in json.dumps(result)
    assert "Doe" not in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetAttribute(nodes.RESULT)


def test_overlay_controls(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    composite = desk.slices["Red"].GetSliceCompositeNode()
    shell.ui.opacitySlider.value = 0.8
    assert composite.GetForegroundOpacity() == 0.8
    table = nodes.find(desk.scene, nodes.COLOURS, brain)
    coloured = [sum(table.GetLookupTable().GetTableValue(n)[3] > 0 for n in range(256))]
    shell.ui.thresholdSlider.value = 0.6
    coloured.append(sum(table.GetLookupTable().GetTableValue(n)[3] > 0 for n in range(256)))
    assert coloured[1] < coloured[0]
    assert "full at 5" in shell.ui.scaleLabel.text
    shell.ui.showCheckBox.checked = False
    assert not composite.GetForegroundVolumeID()
    shell.ui.showCheckBox.checked = True
    assert composite.GetForegroundVolumeID()
    shell.ui.renderCheckBox.checked = True
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    assert desk.logics["VolumeRendering"].GetFirstVolumeRenderingDisplayNode(evidence).GetVisibility()


def test_clicking_a_region_goes_there(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    for view in desk.slices.values():
        view.SetSliceOffset(0.0)
    shell.ui.regionsTable.cellClicked.emit(0, 2)
    assert desk.slices["Red"].GetSliceOffset() == pytest.approx(26.0, abs=3.3)


def test_another_class(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.classSelector.setCurrentIndex(2)
    shell.until(lambda: not shell.work.working)
    assert "pituitary" in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetName()
    shell.ui.againstSelector.setCurrentIndex(1)
    shell.until(lambda: not shell.work.working)
    assert shell.panel.found.evidence["against"] == "glioma"
    # "Against" is the sign of evidence; this is another label.
    assert shell.ui.againstSelectorLabel.text == "Compared with:"
    assert "pituitary compared with glioma" in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetName()


def test_back_to_the_first_class_while_another_is_on_its_way(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    first, asked = shell.ui.classSelector.currentIndex, []
    ask = shell.work.explain
    shell.work.explain = lambda volume, label, *rest, **ends: (asked.append(label), ask(volume, label, *rest, **ends))
    shell.ui.classSelector.setCurrentIndex(2)
    shell.ui.classSelector.setCurrentIndex(first)
    shell.until(lambda: not shell.work.working)
    assert asked == ["pituitary", "glioma"]
    assert shell.panel.found.evidence["label"] == "glioma"
    assert shell.ui.classSelector.currentText == "glioma"
    assert "glioma" in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetName()
    shell.ui.classSelector.setCurrentIndex(2)
    shell.until(lambda: not shell.work.working)
    assert shell.panel.found.evidence["label"] == "pituitary"


def test_warnings_stand_above_the_numbers(shell: Shell, desk: Desk, brain: Any) -> None:
    layout = shell.ui.resultSection.layout()
    order = [layout.itemAt(n).widget().objectName for n in range(layout.count())]
    assert order.index("noticeLabel") < order.index("findingLabel") < order.index("probabilityTable")
    shell.widget.enter()
    assert shell.ui.noticeLabel.isHidden()
    shell.apply()
    usual = shell.ui.noticeLabel.text  # what the model says of every scan
    assert "changed" not in usual
    transform = desk.transform(np.diag([1.0, 1.0, -1.0, 1.0]))
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    brain.SetAndObserveTransformNodeID(transform.GetID())
    assert "changed after it was classified" in shell.ui.noticeLabel.text
    assert not shell.ui.noticeLabel.isHidden()
    assert evidence.GetTransformNodeID() == transform.GetID(), "the map goes along"
    brain.SetAndObserveTransformNodeID(None)
    assert shell.ui.noticeLabel.text == usual, "as it was classified"
    assert shell.ui.noticeLabel.isHidden() == (not usual)
    brain.SetAndObserveTransformNodeID(transform.GetID())
    shell.apply()
    assert "changed" not in shell.ui.noticeLabel.text
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1.0, -2.0, 1.0])))
    assert "changed after it was classified" in shell.ui.noticeLabel.text
    shell.apply()
    assert "changed" not in shell.ui.noticeLabel.text
    brain.HardenTransform()
    assert evidence.GetTransformNodeID() is None
    matrices = [drive.matrix_of(node).tolist() for node in (evidence, brain)]
    assert matrices[0] == matrices[1]
    slicer.util.updateVolumeFromArray(brain, np.roll(slicer.util.arrayFromVolume(brain), 1, axis=2).copy())
    assert "changed after it was classified" in shell.ui.noticeLabel.text


def test_what_stands_under_the_probabilities(shell: Shell, brain: Any) -> None:
    """What they are for, always; that they need not add up, where each label is judged by itself."""
    layout, ui = shell.ui.resultSection.layout(), shell.ui
    order = [layout.itemAt(n).widget().objectName for n in range(layout.count())]
    assert order.index("probabilityTable") + 1 == order.index("noteLabel")
    assert ui.noteLabel.text == "Research use only: not a medical device."
    shell.widget.enter()
    shell.apply()
    found = shell.panel.found
    for share, adds_up in ((0.7, False), (1 / 3, True)):
        found.result = {**found.result, "probabilities": dict.fromkeys(found.labels, share)}
        shell.panel.show()
        assert ("need not add up to 100 %" in ui.noteLabel.text) != adds_up
        assert "Research use only" in ui.noteLabel.text


def test_an_abstaining_model_says_so_first(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    found = shell.panel.found
    found.result = {**found.result, "abstained": True, "warnings": [{"code": "abstained", "message": "not decided"}]}
    shell.panel.show()
    assert shell.ui.noticeLabel.text.startswith("<b>The model is not sure enough")
    assert "Undecided" in shell.ui.findingLabel.text


def test_refused_before_it_starts(shell: Shell, desk: Desk) -> None:
    shell.widget.enter()
    assert not shell.ui.applyButton.enabled
    volume = desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.until(lambda: shell.ui.inputSelector.count == 2)
    shell.ui.inputSelector.setCurrentNode(volume)
    assert shell.ui.applyButton.enabled
    segmentation = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    shell.ui.regionSelector.setCurrentNode(segmentation)
    assert "segment" in shell.ui.applyButton.toolTip
    assert not shell.ui.applyButton.enabled
    shell.ui.regionSelector.setCurrentNode(None)
    shell.ui.bundleSelector.setCurrentIndex(shell.ui.bundleSelector.count - 1)
    assert "folder" in shell.ui.applyButton.toolTip
    assert shell.ui.bundleFolder.enabled


def test_a_bundle_in_a_folder(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.ui.bundleSelector.setCurrentIndex(shell.ui.bundleSelector.count - 1)
    folder = SAMPLES.parent / "medattn_core" / "bundles" / "shipped" / "brain_tumor_t1ce"
    shell.ui.bundleFolder.currentPath = str(folder)
    shell.apply()
    assert shell.panel.found.result["label"] == "glioma"


def test_all_shipped_bundles_are_offered(shell: Shell) -> None:
    shell.widget.enter()
    shell.until(lambda: shell.work.engine.hello is not None)
    shell.panel.poll()
    offered = {shell.ui.bundleSelector.itemData(n) for n in range(shell.ui.bundleSelector.count)}
    assert {bundle["name"] for bundle in shell.work.engine.hello["bundles"]} < offered


def test_a_model_that_is_set_by_a_script_is_shown(shell: Shell, brain: Any) -> None:
    """One that is not known here, too: it is what would run, and the line under the bar says why it does not."""
    ui = shell.ui
    shell.widget.enter()
    shell.until(lambda: ui.bundleSelector.findData("vessel_aneurysm") >= 0)
    for name in ("vessel_aneurysm", "of_another_site", drive.BUNDLE):
        shell.parameters.bundle = name
        assert ui.bundleSelector.currentText == name
    shell.parameters.bundle = "of_another_site"
    shell.apply()
    assert ui.bundleSelector.currentText == "of_another_site"
    assert "of_another_site" in ui.statusLabel.text
    assert shell.panel.found is None
    shell.parameters.bundle = ""
    assert ui.bundleSelector.currentIndex == ui.bundleSelector.count - 1
    assert not ui.applyButton.enabled


def test_a_folder_that_is_typed_is_kept(shell: Shell, brain: Any, tmp_path: Path) -> None:
    """The panel brings its widgets to what is chosen at every change, and is not in the way of one that is made."""
    ui = shell.ui
    shell.widget.enter()
    ui.bundleFolder.currentPath = str(tmp_path / "first")
    ui.bundleSelector.setCurrentIndex(ui.bundleSelector.count - 1)
    ui.bundleFolder.currentPath = str(tmp_path)
    assert (shell.parameters.bundle, shell.parameters.bundle_folder) == ("", str(tmp_path))
    ui.bundleSelector.setCurrentIndex(0)
    assert shell.parameters.bundle == drive.BUNDLE
    assert (ui.bundleFolder.currentPath, shell.parameters.bundle_folder) == (str(tmp_path), str(tmp_path))


def test_models_stay_on_offer_while_the_worker_is_started_again(shell: Shell, brain: Any) -> None:
    ui = shell.ui
    shell.widget.enter()
    shell.until(lambda: ui.bundleSelector.findData("vessel_aneurysm") >= 0)
    count, hello = ui.bundleSelector.count, shell.work.engine.hello
    shell.work.engine.hello = None
    shell.parameters.opacity = 0.4
    assert ui.bundleSelector.count == count
    shell.work.engine.hello = hello


def test_cancel_button(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    count = desk.scene.GetNumberOfNodes()
    shell.ui.applyButton.click()
    shell.until(lambda: shell.ui.progressBar.value > 150)
    shell.ui.applyButton.click()
    shell.until(lambda: not shell.work.busy, timeout_s=1.0)
    assert shell.ui.statusLabel.text == "Cancelled"
    assert shell.ui.applyButton.text == "Apply"
    assert desk.scene.GetNumberOfNodes() == count
    assert nodes.find(desk.scene, nodes.EVIDENCE, brain) is None


def test_a_fault_is_a_line_under_the_bar(shell: Shell, desk: Desk) -> None:
    flat = desk.volume(np.full((5, 64, 64), 7, np.int16), np.eye(4), "flat")
    shell.widget.enter()
    shell.ui.inputSelector.setCurrentNode(flat)
    shell.apply()
    assert "every voxel has the value 7" in shell.ui.statusLabel.text
    assert shell.ui.applyButton.enabled


def test_export_button(shell: Shell, brain: Any, tmp_path: Path) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.exportFolder.currentPath = str(tmp_path)
    shell.ui.reportCheckBox.checked = False
    shell.ui.exportButton.click()
    shell.until(lambda: not shell.work.busy)
    assert (tmp_path / "scan_evidence.nii.gz").is_file()
    assert json.loads((tmp_path / "predictions.json").read_text())[0]["label"] == "glioma"
    assert not list(tmp_path.glob("*.html"))


def test_a_second_export_keeps_the_first(shell: Shell, brain: Any, tmp_path: Path) -> None:
    """The name that is offered is always the same; nothing that was written under it may be lost."""
    shell.widget.enter()
    shell.apply()
    shell.ui.exportFolder.currentPath = str(tmp_path)
    shell.ui.reportCheckBox.checked = False
    written = []
    for _ in range(3):
        shell.ui.exportButton.click()
        shell.until(lambda: not shell.work.busy)
        written.append((shell.ui.statusLabel.text, {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}))
        assert written[0][1].items() <= written[-1][1].items()
    assert [text for text, _files in written] == [
        "3 files written",
        "3 files written to scan_export_2: an earlier export is kept",
        "3 files written to scan_export_3: an earlier export is kept",
    ]
    assert (tmp_path / "scan_export_3" / "scan_evidence.nii.gz").is_file()


def test_the_time_is_that_of_the_reader(shell: Shell, brain: Any) -> None:
    """From click to result, with what the worker has no part in."""
    shell.widget.enter()
    start = time.perf_counter()
    shell.apply()
    waited = time.perf_counter() - start
    told = float(shell.ui.statusLabel.text.removeprefix("Done in ").removesuffix(" s"))
    assert shell.panel.found.result["timings_s"]["total"] < told
    assert told == pytest.approx(waited, abs=0.2)


def test_a_slider_does_not_walk_through_the_scene(
    shell: Shell, desk: Desk, brain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.widget.enter()
    shell.apply()
    walks: list[Any] = []
    look = nodes.scans
    monkeypatch.setattr(nodes, "scans", lambda scene: (walks.append(scene), look(scene))[1])
    for value in (0.3, 0.35, 0.4):
        shell.ui.thresholdSlider.value = value
        shell.ui.opacitySlider.value = value
    assert walks == []
    desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    shell.until(lambda: "(2)" in shell.ui.batchScope.currentText, 5.0)
    assert walks != []


def test_batch_button(shell: Shell, desk: Desk, brain: Any) -> None:
    desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    shell.widget.enter()
    assert "(2)" in shell.ui.batchScope.currentText
    shell.ui.batchButton.click()
    shell.until(lambda: not shell.work.busy)
    assert nodes.find(desk.scene, nodes.BATCH).GetNumberOfRows() == 2
    assert "MedAttn batch results" in shell.ui.statusLabel.text


def test_a_batch_without_a_model_or_a_scan_cannot_be_started(shell: Shell, desk: Desk) -> None:
    ui = shell.ui
    shell.widget.enter()
    assert not ui.batchButton.enabled
    assert ui.batchButton.toolTip == "Load a scan"
    desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.until(lambda: ui.batchButton.enabled)
    assert "one table" in ui.batchButton.toolTip
    ui.bundleSelector.setCurrentIndex(ui.bundleSelector.count - 1)
    assert not ui.batchButton.enabled
    assert ui.batchButton.toolTip == "Choose the folder of a model"
    shell.panel.on_batch()
    assert not shell.work.working
    assert nodes.find(desk.scene, nodes.BATCH) is None


def test_region_to_segment_button(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.segmentButton.click()
    shell.until(lambda: not shell.work.working)
    assert nodes.find(desk.scene, nodes.SEGMENTATION, brain).GetSegmentation().GetNumberOfSegments() == 1
