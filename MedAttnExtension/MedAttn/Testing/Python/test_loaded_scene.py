"""A scene that is loaded shows its scan, its model and its result as they were saved, module open or not."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import nodes
from stand_ins.desk import Desk
from stand_ins.shell import Shell

OTHER = "vessel_aneurysm"


def save(desk: Desk, folder: Path) -> str:
    path = str(folder / "saved.mrb")
    assert desk.scene.WriteToMRB(path)
    return path


def load(shell: Shell, desk: Desk, path: str, *, module_open: bool = True) -> None:
    """As the application does it: what is there is closed, then the file is read."""
    if not module_open:
        shell.widget.exit()
    shell.parent.isEntered = module_open
    desk.scene.Clear(False)
    assert desk.scene.ReadFromMRB(path, False)
    if not module_open:
        shell.parent.isEntered = True
        shell.widget.enter()


@pytest.mark.parametrize("module_open", [True, False])
@pytest.mark.parametrize("first", ["parameters", "scan"])
def test_the_scan_and_its_result_are_there(
    shell: Shell, desk: Desk, tmp_path: Path, first: str, module_open: bool
) -> None:
    """The parameter node is read before the scan that it refers to, or after it."""
    if first == "scan":
        desk.scene.Clear(True)
    scan = desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.widget.enter()
    shell.parameters.input_volume = scan
    shell.apply()
    load(shell, desk, save(desk, tmp_path), module_open=module_open)
    ui, scan = shell.ui, slicer.util.getNode("brain1")
    assert shell.panel.volume is scan
    assert ui.inputSelector.currentNode() is scan
    assert ui.applyButton.enabled
    assert "glioma" in ui.findingLabel.text
    assert ui.probabilityTable.rowCount == 3
    assert shell.panel.found.saved
    shell.apply()
    assert shell.panel.found.live, "it can be classified again at once"
    desk.scene.RemoveNode(scan)
    assert shell.panel.volume is None


def test_a_second_scene_joins_the_first(shell: Shell, desk: Desk, brain: Any, tmp_path: Path) -> None:
    """Added, not opened: the ids of its nodes change, and no connection with what was there is left behind."""
    shell.widget.enter()
    shell.apply()
    path = save(desk, tmp_path)
    before = weakref.ref(shell.parameters)
    observers = str(shell.parameters.parameterNode).count("vtkCommand")
    assert desk.scene.ReadFromMRB(path, False)
    gc.collect()
    assert before() is None
    assert str(shell.parameters.parameterNode).count("vtkCommand") == observers
    assert shell.panel.volume is shell.ui.inputSelector.currentNode()
    assert shell.panel.volume is not None
    assert shell.panel.found is not None
    shell.ui.exportName.text = "case8"
    assert shell.parameters.export_name == "case8"


def test_a_file_that_cannot_be_read_leaves_the_panel_as_it_was(
    shell: Shell, desk: Desk, brain: Any, tmp_path: Path
) -> None:
    shell.widget.enter()
    (tmp_path / "broken.mrml").write_text("<MRML", encoding="utf-8")
    desk.scene.SetURL(str(tmp_path / "broken.mrml"))
    assert not desk.scene.Import()
    assert shell.panel.volume is brain
    assert shell.ui.applyButton.enabled


def test_the_model_that_is_shown_is_the_one_that_runs(shell: Shell, desk: Desk, brain: Any, tmp_path: Path) -> None:
    selector = shell.ui.bundleSelector
    shell.widget.enter()
    shell.until(lambda: selector.findData(OTHER) >= 0)
    selector.setCurrentIndex(selector.findData(OTHER))
    path = save(desk, tmp_path)
    selector.setCurrentIndex(selector.findData("brain_tumor_t1ce"))
    load(shell, desk, path)
    assert (selector.currentText, shell.parameters.bundle) == (OTHER, OTHER)
    shell.apply()
    assert shell.panel.found.result["bundle"] == OTHER
    assert selector.currentText == OTHER


def test_a_model_in_a_folder_is_loaded_with_the_scene(shell: Shell, desk: Desk, brain: Any, tmp_path: Path) -> None:
    shell.widget.enter()
    shell.ui.bundleSelector.setCurrentIndex(shell.ui.bundleSelector.count - 1)
    shell.ui.bundleFolder.currentPath = str(tmp_path)
    path = save(desk, tmp_path)
    shell.ui.bundleSelector.setCurrentIndex(0)
    shell.ui.bundleFolder.currentPath = ""
    load(shell, desk, path)
    assert shell.ui.bundleSelector.currentIndex == shell.ui.bundleSelector.count - 1
    assert shell.ui.bundleFolder.currentPath == str(tmp_path)
    assert shell.ui.bundleFolder.enabled


def test_what_was_hidden_or_faded_before_saving_stays_so(shell: Shell, desk: Desk, brain: Any, tmp_path: Path) -> None:
    shell.widget.enter()
    shell.apply()
    shell.widget.exit()
    composite = desk.slices["Red"].GetSliceCompositeNode()
    for one in nodes.of_class(desk.scene, "vtkMRMLSliceCompositeNode"):
        one.SetForegroundOpacity(0.9)
    faded = save(desk, tmp_path)
    slicer.util.setSliceViewerLayers(foreground=None)
    (tmp_path / "hidden").mkdir()
    hidden = save(desk, tmp_path / "hidden")
    shell.widget.enter()
    load(shell, desk, hidden)
    scan = slicer.util.getNode("brain1")
    for again in (False, True):
        if again:  # chosen by hand
            shell.ui.inputSelector.setCurrentNode(None)
            shell.ui.inputSelector.setCurrentNode(scan)
        assert shell.panel.found is not None
        assert not composite.GetForegroundVolumeID()
        assert not shell.ui.showCheckBox.checked
    load(shell, desk, faded)
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, slicer.util.getNode("brain1"))
    assert composite.GetForegroundVolumeID() == evidence.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.9)
    assert shell.ui.opacitySlider.value == pytest.approx(0.9)
    assert shell.ui.showCheckBox.checked
