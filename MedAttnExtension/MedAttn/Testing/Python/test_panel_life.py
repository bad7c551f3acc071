"""The file of the panel, and the module with it: set up, entered and left, reloaded, saved."""

from __future__ import annotations

import hashlib
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import slicer
from conftest import MODULE, SAMPLES
from MedAttnLib import nodes
from stand_ins import application, widgets
from stand_ins.desk import Desk
from stand_ins.shell import Shell

UI = MODULE / "Resources" / "UI" / "MedAttn.ui"


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


def test_the_buttons_of_folders_ask_for_folders(shell: Shell, tmp_path: Path) -> None:
    """Without filters, the button of a path opens a dialog of files."""
    paths = {name: one for name, one in vars(shell.ui).items() if isinstance(one, widgets.CLASSES["ctkPathLineEdit"])}
    assert set(paths) == {"bundleFolder", "exportFolder"}
    assert [name for name, one in paths.items() if one.asks_for_files] == []
    assert widgets.CLASSES["ctkPathLineEdit"]().asks_for_files
    text = UI.read_text(encoding="utf-8")
    (tmp_path / "wrong.ui").write_text(text.replace("ctkPathLineEdit::Dirs", "ctkPathLineEdit::Folders"), "utf-8")
    with pytest.raises(KeyError, match="Folders"):
        widgets.load_ui(tmp_path / "wrong.ui")


def test_stand_ins_refuse_what_they_do_not_know() -> None:
    button = widgets.CLASSES["QPushButton"]()
    with pytest.raises(AttributeError):
        button.enabeld = True
    with pytest.raises(AttributeError):
        button.connect("clickt(bool)", print)
    with pytest.raises(TypeError):
        button.text()
    assert button.text == ""


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


def test_the_panel_follows_a_new_parameter_node_where_its_own_is_removed(shell: Shell, desk: Desk, brain: Any) -> None:
    """By hand or by a script, with the module open: everything can be chosen and applied as before."""
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    ui = shell.ui
    shell.widget.enter()
    shell.apply()
    for scan in (other, brain):
        gone = shell.parameters.parameterNode
        desk.scene.RemoveNode(gone)
        assert shell.parameters.parameterNode is not gone
        assert shell.parameters.parameterNode.GetScene() is desk.scene
        assert ui.inputSelector.currentNode() is shell.panel.volume is brain, "the first scan, as at entry"
        ui.inputSelector.setCurrentNode(scan)
        assert shell.panel.volume is scan
        assert ui.applyButton.enabled
        shell.apply()
        assert shell.panel.found.live
        ui.opacitySlider.value = 0.3
        assert shell.parameters.opacity == 0.3
    assert len(nodes.of_class(desk.scene, "vtkMRMLScriptedModuleNode")) == 1


def test_a_parameter_node_that_is_removed_with_the_module_closed_is_made_at_the_entry(
    shell: Shell, desk: Desk, brain: Any
) -> None:
    shell.widget.enter()
    node = shell.parameters.parameterNode
    shell.widget.exit()
    desk.scene.RemoveNode(node)
    assert shell.parameters is None
    shell.widget.enter()
    assert shell.panel.volume is brain


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


def test_what_was_hidden_elsewhere_stays_hidden(shell: Shell, desk: Desk, brain: Any) -> None:
    """The module does not force its map over the scan at each entry; the ticks say what is seen."""
    ui, composite = shell.ui, desk.slices["Red"].GetSliceCompositeNode()
    shell.widget.enter()
    shell.apply()
    ui.renderCheckBox.checked = True
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    shell.widget.exit()
    slicer.util.setSliceViewerLayers(foreground=None)
    rendered = desk.logics["VolumeRendering"].GetFirstVolumeRenderingDisplayNode(evidence)
    rendered.SetVisibility(False)
    shell.widget.enter()
    assert not composite.GetForegroundVolumeID()
    assert not rendered.GetVisibility()
    assert (ui.showCheckBox.checked, ui.renderCheckBox.checked) == (False, False)
    ui.showCheckBox.checked = True
    assert composite.GetForegroundVolumeID() == evidence.GetID()
    shell.widget.exit()
    composite.SetForegroundOpacity(0.9)
    shell.widget.enter()
    assert ui.showCheckBox.checked
    assert (composite.GetForegroundOpacity(), ui.opacitySlider.value) == (0.9, 0.9), "set in the view, and left alone"


def test_another_scan_in_the_views_hides_no_later_result(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.widget.exit()
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    slicer.util.setSliceViewerLayers(background=other, foreground=None)
    shell.widget.enter()
    composite = desk.slices["Red"].GetSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == other.GetID()
    assert shell.ui.showCheckBox.checked
    shell.apply()
    assert composite.GetForegroundVolumeID() == nodes.find(desk.scene, nodes.EVIDENCE, brain).GetID()
