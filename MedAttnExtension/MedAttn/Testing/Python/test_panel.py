"""The panel on stand-in widgets that refuse unknown names, a real scene and a real worker."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import MODULE, SAMPLES
from MedAttnLib import nodes, segments
from PySide6.QtCore import QElapsedTimer, Qt, QTimer
from stand_ins import application, drive, widgets
from stand_ins.desk import Desk

UI = MODULE / "Resources" / "UI" / "MedAttn.ui"


class Shell:
    """The module as the application would hold it."""

    def __init__(self, desk: Desk, engine: Any) -> None:
        self.app = application.install(desk)
        sys.modules.pop("MedAttn", None)
        self.file = importlib.import_module("MedAttn")
        self.parent = types.SimpleNamespace(isEntered=True)
        self.widget = self.file.MedAttnWidget(self.parent)
        original = self.file.core.MedAttnLogic

        class WithEngine(original):
            def __init__(self) -> None:
                super().__init__(engine)

        self.file.core = types.SimpleNamespace(MedAttnLogic=WithEngine)
        self.widget.setup()
        self.ui, self.panel, self.work = self.widget.ui, self.widget.panel, self.widget.logic.work

    def until(self, condition: Any, timeout_s: float = 60.0) -> None:
        """Let the window live until something holds."""
        end = time.perf_counter() + timeout_s
        while not condition():
            assert time.perf_counter() < end, "it took too long"
            widgets.application().processEvents()
            time.sleep(0.002)

    def close(self) -> None:
        """What the application does when a module's widget goes, but for the worker, which other tests use."""
        self.panel.set_parameters(None)
        self.widget.removeObservers()
        self.work.cancel()
        for selector in (self.ui.inputSelector, self.ui.regionSelector, self.ui.whatIfSegmentation):
            selector.setMRMLScene(None)

    def apply(self) -> None:
        self.ui.applyButton.click()
        self.until(lambda: not self.work.busy)

    @property
    def parameters(self) -> Any:
        return self.panel.parameters


@pytest.fixture
def shell(desk: Desk, engine: Any) -> Iterator[Shell]:
    made = Shell(desk, engine)
    yield made
    made.close()


# --- the file


def test_ui_uses_only_what_exists() -> None:
    assert widgets.unknown_properties(UI) == []


def test_every_control_has_an_accessible_name_and_a_tip() -> None:
    silent = []
    for widget in ElementTree.parse(UI).iter("widget"):
        entries = widget.findall("property")
        if widget.get("class") == "qMRMLWidget" or any(entry.get("name") == "buddy" for entry in entries):
            continue  # the frame, and labels that name their neighbour
        given = {entry.get("name"): entry.findtext("string") for entry in entries}
        section = widget.get("class") == "ctkCollapsibleButton"
        if not given.get("accessibleName") or not (section or given.get("toolTip")):
            silent.append(widget.get("name"))
    assert silent == []


def test_stand_ins_refuse_what_they_do_not_know() -> None:
    button = widgets.CLASSES["QPushButton"]()
    with pytest.raises(AttributeError):
        button.enabeld = True
    with pytest.raises(AttributeError):
        button.connect("clickt(bool)", print)
    with pytest.raises(TypeError):
        button.text()
    assert button.text == ""


# --- life of the module


def test_shell(shell: Shell, desk: Desk) -> None:
    parent = application.Parent(MODULE / "MedAttn.py")
    module = shell.file.MedAttn(parent)
    assert module.parent.title == "MedAttn"
    assert "not a medical device" in parent.helpText
    assert "PyRadiomics" in parent.acknowledgementText
    application.SampleDataLogic.registered.clear()
    shell.app.emit("startupCompleted()")
    for sample in application.SampleDataLogic.registered:
        path = Path(sample["uris"].removeprefix("file://"))
        assert sample["checksums"] == "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(application.SampleDataLogic.registered) == 2


def test_loading_the_module_loads_nothing_heavy(shell: Shell) -> None:
    loaded = {name.split(".")[0] for name in sys.modules}
    assert not loaded & {"torch", "monai", "medattn_core", "SimpleITK"}


def test_enter_exit_and_scene_close(shell: Shell, desk: Desk) -> None:
    desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.widget.enter()
    assert shell.parameters.input_volume.GetName() == "brain1"
    shell.widget.exit()
    assert shell.parameters is None
    assert not shell.ui.applyButton.enabled
    shell.widget.enter()
    shell.apply()
    assert shell.ui.probabilityTable.rowCount == 3
    desk.scene.Clear(False)
    assert shell.parameters is not None
    assert shell.parameters.input_volume is None
    assert shell.ui.probabilityTable.rowCount == 0
    assert not shell.work.findings
    assert "Choose a scan" in shell.ui.applyButton.toolTip


def test_observers_are_given_back(shell: Shell, desk: Desk) -> None:
    node = shell.widget.logic.getParameterNode()

    def observers() -> int:
        return str(node).count("vtkCommand")

    shell.widget.enter()
    before = observers()
    for _ in range(5):
        shell.widget.exit()
        shell.widget.enter()
    assert observers() == before


def test_reload_stops_everything(desk: Desk) -> None:
    from MedAttnLib.process import Worker

    own = Worker()
    shell = Shell(desk, own)
    desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.widget.enter()
    shell.apply()
    process = own.pid
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "MedAttnLib"}
    try:
        shell.widget.onReload()
        assert not [name for name in sys.modules if name.split(".")[0] == "MedAttnLib"]
    finally:
        sys.modules.update(kept)
    shell.close()
    assert not own.running
    assert not Path(f"/proc/{process}").exists() or "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]


def test_parameters_are_saved_with_the_scene(shell: Shell, desk: Desk, tmp_path: Path) -> None:
    desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.widget.enter()
    shell.ui.opacitySlider.value = 0.35
    shell.ui.thresholdSlider.value = 0.4
    shell.ui.exportName.text = "case7"
    assert shell.parameters.opacity == 0.35
    assert desk.scene.WriteToMRB(str(tmp_path / "x.mrb"))
    desk.scene.Clear(True)
    assert desk.scene.ReadFromMRB(str(tmp_path / "x.mrb"), True)
    shell.widget.enter()
    assert (shell.ui.opacitySlider.value, shell.ui.thresholdSlider.value) == (0.35, 0.4)
    assert shell.ui.exportName.text == "case7"
    assert shell.ui.inputSelector.currentNode().GetName() == "brain1"


# --- use


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


def test_what_if_by_ticking(shell: Shell, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    found = shell.panel.found
    shell.ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: shell.panel.question.answer is not None)
    percent = f"{100 * found.regions[0]['probability_without']:.1f} %"
    assert percent in shell.ui.whatIfLabel.text
    assert "Without region 1" in shell.ui.whatIfLabel.text
    assert shell.ui.probabilityTable.cellWidget(0, 2).text == percent
    shell.ui.resetButton.click()
    assert shell.ui.whatIfLabel.text == ""
    assert shell.ui.probabilityTable.cellWidget(0, 2) is None


def test_what_if_by_painting(shell: Shell, desk: Desk, brain: Any) -> None:
    """Each stroke is answered, without a click."""
    shell.widget.enter()
    shell.apply()
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    painting, _ = segments.add_segment(
        desk.scene, brain, np.pad(tumour[:5], ((0, 20), (0, 0), (0, 0))) | tumour, "a", (1, 0, 0)
    )
    shell.ui.whatIfSegmentation.setCurrentNode(painting)
    shell.until(lambda: shell.panel.question.answer is not None)
    assert "Without the painted segment" in shell.ui.whatIfLabel.text
    first = shell.panel.question.answer["probabilities"]["glioma"]
    assert first < shell.panel.found.result["probabilities"]["glioma"]
    segments.add_segment(desk.scene, brain, np.ones_like(tumour) & (np.arange(25) < 2)[:, None, None], "a", (1, 0, 0))
    shell.until(lambda: shell.panel.question.answer["probabilities"]["glioma"] != first)


def test_painting_in_another_module(shell: Shell, desk: Desk, brain: Any) -> None:
    """The segment editor is a module: painted there, answered at the return, and followed from then on."""
    shell.widget.enter()
    shell.apply()
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    painting, _ = segments.add_segment(desk.scene, brain, tumour, "a", (1, 0, 0))
    segments.add_segment(desk.scene, brain, np.roll(tumour, 9, axis=1), "b", (0, 1, 0))
    shell.ui.whatIfSegmentation.setCurrentNode(painting)
    shell.ui.whatIfSegment.setCurrentIndex(1)
    shell.until(lambda: not shell.work.working and shell.panel.question.answer is not None, 10.0)

    def paint(last: int) -> None:
        name = painting.GetSegmentation().GetNthSegmentID(1)
        part = np.ones_like(tumour) & (np.arange(25) < last)[:, None, None]
        slicer.util.updateSegmentBinaryLabelmapFromArray(part.astype(np.uint8), painting, name, brain)

    shell.widget.exit()
    paint(12)
    shell.widget.enter()
    shell.until(lambda: shell.panel.question.answer is not None, timeout_s=10.0)
    assert shell.ui.whatIfSegment.currentIndex == 1, "the same segment"
    first = shell.panel.question.answer["probabilities"]["glioma"]
    assert "Without the painted segment" in shell.ui.whatIfLabel.text
    paint(20)
    shell.until(lambda: shell.panel.question.answer["probabilities"]["glioma"] != first, timeout_s=10.0)


def test_only_this(shell: Shell, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.modeSelector.setCurrentIndex(1)
    shell.until(lambda: shell.panel.question.answer is not None)
    assert "Only region 1" in shell.ui.whatIfLabel.text


def test_another_class(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.classSelector.setCurrentIndex(2)
    shell.until(lambda: not shell.work.working)
    assert "pituitary" in nodes.find(desk.scene, nodes.EVIDENCE, brain).GetName()
    shell.ui.againstSelector.setCurrentIndex(1)
    shell.until(lambda: not shell.work.working)
    assert shell.panel.found.evidence["against"] == "glioma"


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
    shell.apply()
    assert shell.ui.noticeLabel.isHidden()
    transform = desk.transform(np.diag([1.0, 1.0, -1.0, 1.0]))
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    brain.SetAndObserveTransformNodeID(transform.GetID())
    assert "changed after it was classified" in shell.ui.noticeLabel.text
    assert not shell.ui.noticeLabel.isHidden()
    assert evidence.GetTransformNodeID() == transform.GetID(), "the map goes along"
    brain.SetAndObserveTransformNodeID(None)
    assert shell.ui.noticeLabel.isHidden(), "as it was classified"
    brain.SetAndObserveTransformNodeID(transform.GetID())
    shell.apply()
    assert shell.ui.noticeLabel.isHidden()
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1.0, -2.0, 1.0])))
    assert "changed after it was classified" in shell.ui.noticeLabel.text
    shell.apply()
    assert shell.ui.noticeLabel.isHidden()
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


def test_batch_button(shell: Shell, desk: Desk, brain: Any) -> None:
    desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    shell.widget.enter()
    assert "(2)" in shell.ui.batchScope.currentText
    shell.ui.batchButton.click()
    shell.until(lambda: not shell.work.busy)
    assert nodes.find(desk.scene, nodes.BATCH).GetNumberOfRows() == 2
    assert "MedAttn batch results" in shell.ui.statusLabel.text


def test_region_to_segment_button(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.segmentButton.click()
    shell.until(lambda: not shell.work.working)
    assert nodes.find(desk.scene, nodes.SEGMENTATION, brain).GetSegmentation().GetNumberOfSegments() == 1


# --- time


class Beat:
    """A heart that beats in the event loop: the longest pause is how long somebody kept the main thread."""

    def __init__(self) -> None:
        self.longest, self._clock, self._timer = 0, QElapsedTimer(), QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        self.longest = max(self.longest, self._clock.restart())

    def __enter__(self) -> Beat:
        self._clock.start()
        self._timer.start()
        return self

    def __exit__(self, *_arguments: Any) -> None:
        self._tick()
        self._timer.stop()


def test_times(shell: Shell, brain: Any) -> None:
    """First result under 5 s with a warm worker, what-if under 0.2 s from click to text, nobody blocked over 50 ms.

    The best of some attempts each, since other programs take their share of the machine.
    """
    shell.widget.enter()
    shell.apply()  # warm
    applied, blocked, answered, kept = [], [], [], []
    for _attempt in range(4):
        # A scan that the worker has never seen: the sample moved by a voxel.
        voxels = np.roll(slicer.util.arrayFromVolume(brain), 1, axis=2).copy()
        slicer.util.updateVolumeFromArray(brain, voxels)
        with Beat() as beat:
            start = time.perf_counter()
            shell.apply()
            applied.append(time.perf_counter() - start)
        blocked.append(beat.longest)
        if applied[-1] < 5.0 and blocked[-1] <= 50:
            break
    for turn in range(12):
        before, state = shell.panel.question.answer, Qt.Checked if turn % 2 else Qt.Unchecked
        with Beat() as beat:
            start = time.perf_counter()
            shell.ui.regionsTable.item(0, 0).setCheckState(state)
            shell.until(lambda before=before: shell.panel.question.answer is not before)
            answered.append(time.perf_counter() - start)
        kept.append(beat.longest)
    answer = sorted(answered[::2])  # ticking on again is answered without asking
    print(
        f"Apply {min(applied):.2f} s, main thread kept {min(blocked)} ms at most; "
        f"what-if {answer[0]:.3f} to {answer[-1]:.3f} s, kept {min(kept)} to {max(kept)} ms"
    )
    assert min(applied) < 5.0
    assert min(blocked) <= 50
    assert answer[len(answer) // 2] < 0.2
    assert sorted(kept)[len(kept) // 2] <= 50
