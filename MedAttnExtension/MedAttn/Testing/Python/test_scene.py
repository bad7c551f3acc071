"""The overlay in the scene: colours, replacing, folders, saving, batch, files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import ROOT, SAMPLES
from MedAttnLib import colours, nodes, overlay
from MedAttnLib.colours import Scale
from MedAttnLib.logic import MedAttnLogic
from MedAttnLib.steps import TaskError
from stand_ins import drive
from stand_ins.desk import Camera, Desk

EVIDENCE = {
    "label": "glioma",
    "against": None,
    "unit": "logit/mL",
    "scale": {"limit": 2.0, "visible": 0.4, "caps": [1.0, 1.0]},
}


def place(desk: Desk, volume: Any, voxels: np.ndarray, undecided: bool = False, **scale: Any) -> Any:
    """Put a made-up map into the scene and show it at full opacity."""
    evidence = {**EVIDENCE, "scale": {**EVIDENCE["scale"], **scale}}
    steps = overlay.place_steps(desk.scene, volume, voxels.astype(np.float32), evidence, 0.2, undecided)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        node = stop.value
    overlay.show(desk.scene, volume, node, 1.0)
    desk.fit()
    return node


@pytest.fixture
def grey(desk: Desk) -> Any:
    """A volume of one grey."""
    return desk.volume(np.full((20, 30, 40), 100, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "grey")


def test_colours_are_those_of_the_core() -> None:
    """The palette is written twice, because the module loads no medattn_core: here they are compared."""
    code = (
        "import json; from medattn_core.outputs import colour as c; "
        "print(json.dumps([c._STOPS.tolist(), c._COLOURS.tolist()]))"
    )
    python = os.environ["MEDATTN_PYTHON"]
    out = subprocess.run([python, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    stops, core = json.loads(out)
    assert list(colours.STOPS) == stops
    assert [list(colour) for colour in colours.COLOURS] == core


def test_zero_is_colourless_and_signs_have_their_colours() -> None:
    table = colours.table(Scale(2.0, 0.4, (1.0, 1.0), "logit/mL"), 0.2)
    share = colours.shares()
    assert (table[np.abs(share) < 0.19, 3] == 0).all()
    assert (table[np.abs(share) > 0.21, 3] == 1).all()
    assert table[-1, 0] > table[-1, 2]
    assert table[0, 0] < table[0, 2]
    assert np.array_equal(table, np.round(table * 255) / 255), "a file keeps 8 bits"


def test_a_near_empty_map_looks_empty(desk: Desk, grey: Any) -> None:
    """Little evidence in total: caps below the threshold, so that no colour is left however the values are spread."""
    before = None
    for value, caps in ((0.0, [0.0, 0.0]), (2.0, [0.0, 0.15]), (-2.0, [0.15, 0.0])):
        voxels = np.zeros((20, 30, 40))
        voxels[8:12, 10:20, 10:20] = value
        place(desk, grey, voxels, caps=caps)
        pictures = np.stack([desk.blend(view) for view in desk.slices])
        before = pictures if before is None else before
        assert np.array_equal(pictures, before)
    voxels[8:12, 10:20, 10:20] = 2.0
    place(desk, grey, voxels)
    assert not np.array_equal(np.stack([desk.blend(view) for view in desk.slices]), before), "the test can fail"


def test_an_undecided_map_fades(desk: Desk, grey: Any) -> None:
    voxels = np.full((20, 30, 40), 2.0)
    vivid, faded = (np.ptp(desk_picture(desk, grey, voxels, undecided), axis=-1).max() for undecided in (False, True))
    assert faded < vivid / 2


def desk_picture(desk: Desk, volume: Any, voxels: np.ndarray, undecided: bool) -> np.ndarray:
    place(desk, volume, voxels, undecided)
    return desk.blend("Red")[..., :3].astype(int)


def test_window_is_symmetric_and_the_colours_are_saved(desk: Desk, grey: Any) -> None:
    node = place(desk, grey, np.zeros((20, 30, 40)))
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-2.0, 2.0)
    assert not display.GetAutoWindowLevel()
    table = display.GetColorNode()
    assert not table.GetHideFromEditors()
    assert table.GetSaveWithScene()


def test_replaced_never_piled_up(desk: Desk, grey: Any) -> None:
    first = place(desk, grey, np.zeros((20, 30, 40)))
    count = desk.scene.GetNumberOfNodes()
    second = place(desk, grey, np.ones((20, 30, 40)))
    assert second is first
    assert desk.scene.GetNumberOfNodes() == count
    assert slicer.util.arrayFromVolume(second).min() == 1.0


def test_results_lie_in_a_folder_under_the_scan(desk: Desk, logic: Any, brain: Any) -> None:
    drive.apply(logic, brain)
    tree, folder = nodes.hierarchy(desk.scene), nodes.folder_of(desk.scene, brain)
    assert tree.GetItemParent(folder) == tree.GetItemByDataNode(brain)
    inside = {tree.GetItemDataNode(item).GetAttribute(nodes.ROLE) for item in nodes.children_of(desk.scene, folder)}
    assert inside == {nodes.EVIDENCE, nodes.REGIONS, nodes.PROBABILITIES}


def test_two_scans_have_two_results(desk: Desk, logic: Any, brain: Any) -> None:
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    first, second = drive.apply(logic, brain), drive.apply(logic, other)
    assert nodes.find(desk.scene, nodes.EVIDENCE, brain) is not nodes.find(desk.scene, nodes.EVIDENCE, other)
    assert not first.live
    with pytest.raises(drive.Failed) as caught:
        drive.finish(logic, lambda **ends: logic.what_if(brain, regions=[1], **ends))
    assert caught.value.code == "no_prediction"
    assert second.live


def test_removing_leaves_nothing(desk: Desk, logic: Any, brain: Any) -> None:
    tree = nodes.hierarchy(desk.scene)
    nodes.item_of(desk.scene, brain)
    before = {desk.scene.GetNthNode(n).GetID() for n in range(desk.scene.GetNumberOfNodes())}
    drive.apply(logic, brain)
    logic.set_rendered(brain, True)
    nodes.remove_results(desk.scene, brain)
    after = {desk.scene.GetNthNode(n).GetID() for n in range(desk.scene.GetNumberOfNodes())}
    # The application's own node for volume rendering in general may stay.
    assert {i for i in after - before if "VolumeRendering" not in i and "ViewNode" not in i} == set()
    assert not nodes.children_of(desk.scene, tree.GetItemByDataNode(brain))


def displays(desk: Desk) -> list[str]:
    """Classes of all displays, and of what volume rendering has with them."""
    kinds = ("vtkMRMLDisplayNode", "vtkMRMLVolumePropertyNode")
    return sorted(node.GetClassName() for kind in kinds for node in nodes.of_class(desk.scene, kind))


def test_maps_deleted_by_hand_leave_no_displays_behind(desk: Desk, logic: Any, brain: Any) -> None:
    """The application leaves them where a volume is deleted; they would pile up, and be saved with the scene."""
    mine = desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode", "the reader's, of no volume")
    drive.apply(logic, brain)
    logic.set_rendered(brain, True)
    count, before = desk.scene.GetNumberOfNodes(), displays(desk)
    for _ in range(3):
        desk.scene.RemoveNode(nodes.find(desk.scene, nodes.EVIDENCE, brain))
        drive.apply(logic, brain)
        logic.set_rendered(brain, True)
        assert displays(desk) == before
        assert desk.scene.GetNumberOfNodes() == count
    assert mine.GetScene() is desk.scene


def test_displays_of_a_copy_and_of_other_maps_stay(desk: Desk, logic: Any, brain: Any) -> None:
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    for scan in (brain, other):
        drive.apply(logic, scan)
    tree, evidence = nodes.hierarchy(desk.scene), nodes.find(desk.scene, nodes.EVIDENCE, brain)
    copy = slicer.modules.volumes.logic().CloneVolume(desk.scene, evidence, "kept")
    kept = [copy.GetDisplayNode(), nodes.find(desk.scene, nodes.EVIDENCE, other).GetDisplayNode()]
    assert kept[0].GetAttribute(nodes.ROLE) == nodes.DISPLAY
    tree.RemoveItem(tree.GetItemByDataNode(evidence))  # as the Data module does
    assert evidence.GetScene() is None
    drive.apply(logic, brain)
    assert [copy.GetDisplayNode(), nodes.find(desk.scene, nodes.EVIDENCE, other).GetDisplayNode()] == kept


def test_an_error_leaves_the_scene_as_it_was(desk: Desk, logic: Any) -> None:
    flat = desk.volume(np.full((5, 64, 64), 7, np.int16), np.eye(4), "flat")
    before = desk.scene.GetNumberOfNodes()
    with pytest.raises(drive.Failed) as caught:
        drive.apply(logic, flat)
    assert caught.value.code == "constant_image"
    assert "flat" not in caught.value.message, "the name of a node may be that of a patient"
    assert desk.scene.GetNumberOfNodes() == before


def test_what_is_no_scan_is_refused(desk: Desk, logic: Any, grey: Any) -> None:
    with pytest.raises(drive.Failed, match="evidence map of MedAttn"):
        drive.apply(logic, place(desk, grey, np.zeros((20, 30, 40))))
    with pytest.raises(drive.Failed, match="no volume"):
        drive.apply(logic, None)


def test_a_scan_of_another_modality_is_refused(desk: Desk, logic: Any, brain: Any) -> None:
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    nodes.hierarchy(desk.scene).SetItemAttribute(nodes.item_of(desk.scene, brain), name, "CT")
    with pytest.raises(drive.Failed) as caught:
        drive.apply(logic, brain)
    assert caught.value.code == "wrong_modality"


def test_a_bundle_of_several_volumes_is_refused(desk: Desk, logic: Any, brain: Any) -> None:
    with pytest.raises(TaskError, match=r"two takes several volumes of one scan \(ct, pet\)"):
        logic._check_bundle(brain, {"name": "two", "channels": ["ct", "pet"]})
    logic._check_bundle(brain, {"name": "one", "channels": ["image"]})


def test_saved_and_reloaded_it_looks_the_same(
    desk: Desk, camera: Camera, logic: Any, brain: Any, tmp_path: Path
) -> None:
    brain.SetAndObserveTransformNodeID(desk.transform(np.eye(4) + np.eye(4, k=3) * 12.0).GetID())
    found = drive.apply(logic, brain)
    logic.opacity, logic.threshold = 0.7, 0.3
    logic.recolour(brain)
    blends = {view: desk.blend(view) for view in desk.slices}
    shots = {view: camera.shoot(view) for view in desk.slices}
    path = tmp_path / "evidence.mrb"
    assert desk.scene.WriteToMRB(str(path))
    desk.scene.Clear(False)
    assert desk.scene.ReadFromMRB(str(path), True)
    for logic_of_view in desk.slices.values():
        logic_of_view.ResizeSliceNode(desk.size, desk.size)
    for view in desk.slices:
        assert np.array_equal(desk.blend(view), blends[view]), f"{view}: the overlay differs"
        assert np.array_equal(camera.shoot(view), shots[view]), f"{view}: the picture with its legend differs"
    volume = slicer.util.getNode("brain1")
    again = MedAttnLogic(logic.engine).finding_of(volume)
    assert again is not None
    assert not again.live
    assert again.result["probabilities"] == found.result["probabilities"]
    assert again.regions == found.regions
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, volume)
    drive.apply(logic, volume)
    assert nodes.find(desk.scene, nodes.EVIDENCE, volume) is evidence, "a run after reloading replaces"


def test_a_saved_result_names_no_file_and_no_node(desk: Desk, logic: Any, brain: Any) -> None:
    brain.SetName("Doe^John")
    drive.apply(logic, brain)
    text = nodes.find(desk.scene, nodes.EVIDENCE, brain).GetAttribute(nodes.RESULT)
    assert "Doe" not in text
    assert "/" not in text.replace("logit/mL", "")


def test_a_broken_saved_result_is_none(desk: Desk, logic: Any, grey: Any) -> None:
    node = place(desk, grey, np.zeros((20, 30, 40)))
    for text in ("{", "[]", '{"result": {}, "evidence": {}, "regions": []}'):
        node.SetAttribute(nodes.RESULT, text)
        assert logic.finding_of(grey) is None


def test_another_class_and_against(desk: Desk, logic: Any, brain: Any) -> None:
    drive.apply(logic, brain)
    found = drive.finish(logic, lambda **ends: logic.explain(brain, "meningioma", "glioma", **ends))
    assert (found.evidence["label"], found.evidence["against"]) == ("meningioma", "glioma")
    node = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    total = float(slicer.util.arrayFromVolume(node).sum(dtype=np.float64)) * 0.78125**2 * 6.5 / 1000
    assert total == pytest.approx(found.evidence["sum"], rel=1e-4)
    assert "meningioma" in node.GetName()
    assert "Doe" not in node.GetName()


def test_regions_table_and_jump(desk: Desk, logic: Any, brain: Any) -> None:
    found = drive.apply(logic, brain)
    table = nodes.find(desk.scene, nodes.REGIONS, brain)
    assert table.GetNumberOfRows() == len(found.regions)
    assert float(table.GetCellText(0, 2)) == pytest.approx(found.regions[0]["world_position_mm"][0], abs=1e-2)
    for view in desk.slices.values():
        view.SetSliceOffset(-20.0)
    logic.jump_to(brain, found.regions[0])
    place = drive.matrix_of(brain) @ np.array([*found.regions[0]["voxel_index"], 1.0])
    for view in desk.slices.values():
        to_world = slicer.util.arrayFromVTKMatrix(view.GetSliceNode().GetSliceToRAS())
        assert (np.linalg.inv(to_world) @ place)[2] == pytest.approx(0.0, abs=2e-3), "the plane holds the place"


def test_batch_of_a_folder(desk: Desk, logic: Any, brain: Any) -> None:
    tree = nodes.hierarchy(desk.scene)
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "study")
    second = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    flat = desk.volume(np.full((5, 64, 64), 7, np.int16), np.eye(4), "flat")
    for node in (second, flat):
        tree.SetItemParent(nodes.item_of(desk.scene, node), folder)
    assert nodes.scans_below(desk.scene, folder) == [second, flat]
    table = drive.finish(logic, lambda **ends: logic.run_batch([brain, second, flat], drive.BUNDLE, **ends))
    rows = [[table.GetCellText(row, column) for column in range(table.GetNumberOfColumns())] for row in range(3)]
    assert [row[0] for row in rows] == ["brain1", "brain2", "flat"]
    assert [row[2] for row in rows] == ["glioma", "", ""]
    assert [row[3] for row in rows] == ["", "pituitary", ""]  # not decided is not said
    assert "constant_image" in "".join(rows[2])
    assert nodes.find(desk.scene, nodes.EVIDENCE, second) is not None
    assert nodes.scans(desk.scene) == [brain, second, flat], "an evidence map is no scan"
    count = desk.scene.GetNumberOfNodes()
    drive.finish(logic, lambda **ends: logic.run_batch([brain, second, flat], drive.BUNDLE, **ends))
    assert desk.scene.GetNumberOfNodes() == count


def test_a_scan_that_is_removed_does_not_end_the_batch(desk: Desk, logic: Any, brain: Any) -> None:
    second = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    third = desk.volume(np.full((5, 64, 64), 7, np.int16), np.eye(4), "flat")

    def remove(_fraction: float, text: str) -> None:
        if "scan 1" in text and "network" in text:
            for node in (brain, third):
                if node.GetScene() is not None:
                    desk.scene.RemoveNode(node)

    table = drive.finish(
        logic, lambda **ends: logic.run_batch([brain, second, third], drive.BUNDLE, progress=remove, **ends)
    )
    rows = [[table.GetCellText(row, column) for column in range(table.GetNumberOfColumns())] for row in range(3)]
    assert "scan_removed" in "".join(rows[0])
    assert rows[1][3] == "pituitary"
    assert "scan_removed" in "".join(rows[2])


def test_export(desk: Desk, logic: Any, brain: Any, tmp_path: Path) -> None:
    brain.SetName("Doe^John")
    found = drive.apply(logic, brain)
    files = drive.finish(logic, lambda **ends: logic.export(brain, str(tmp_path), "case7", nrrd=True, **ends))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert {"case7_evidence.nii.gz", "case7_evidence.nrrd", "predictions.csv", "predictions.json"} <= set(names)
    assert set(files) >= {"evidence", "evidence_nrrd", "json", "csv", "report"}
    for path in tmp_path.iterdir():
        assert b"Doe^John" not in path.read_bytes()
    (record,) = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert record["probabilities"] == pytest.approx(found.result["probabilities"])
    back = desk.load(tmp_path / "case7_evidence.nii.gz", "back")
    shown = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    exact = slicer.util.arrayFromVolume(shown)  # the file is int16, off by less than 1e-4 of the largest value
    assert np.abs(slicer.util.arrayFromVolume(back) - exact).max() < 1e-4 * np.abs(exact).max()


def test_volume_rendering(desk: Desk, logic: Any, brain: Any) -> None:
    drive.apply(logic, brain)
    logic.set_rendered(brain, True)
    node = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    display = desk.logics["VolumeRendering"].GetFirstVolumeRenderingDisplayNode(node)
    assert display.GetVisibility()
    opacity = display.GetVolumePropertyNode().GetScalarOpacity()
    assert opacity.GetValue(0.0) == 0.0
    assert opacity.GetValue(4.5) > 0.1
    logic.set_rendered(brain, False)
    assert not display.GetVisibility()
