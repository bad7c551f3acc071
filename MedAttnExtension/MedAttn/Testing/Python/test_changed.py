"""A scan that is changed, swapped or removed: its map stays where it was true, and what is shown says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import geometry, nodes, overlay, results, tables, wording
from MedAttnLib.finding import Finding
from MedAttnLib.logic import MedAttnLogic
from stand_ins import drive
from stand_ins.desk import Desk


def flip_slices(volume: Any) -> None:
    """The same anatomy in another order of voxels, in the same node."""
    voxels = slicer.util.arrayFromVolume(volume).copy()
    place = drive.matrix_of(volume)
    place[:3, 3] += place[:3, 0] * (voxels.shape[2] - 1)
    place[:3, 0] *= -1
    slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(voxels[:, :, ::-1]))
    volume.SetIJKToRASMatrix(geometry.as_matrix(place))


def peak(desk: Desk, volume: Any) -> np.ndarray:
    """RAS of the largest value of the map in the scene."""
    node = nodes.find(desk.scene, nodes.EVIDENCE, volume)
    voxels = slicer.util.arrayFromVolume(node)
    k, j, i = np.unravel_index(int(np.argmax(voxels)), voxels.shape)
    return (drive.matrix_of(node) @ [i, j, k, 1.0])[:3]


def test_a_map_does_not_go_along_with_other_voxels(desk: Desk, logic: Any, brain: Any) -> None:
    """A flip in place would carry it to the other side of the head."""
    found = drive.apply(logic, brain)
    before = peak(desk, brain)
    flip_slices(brain)
    logic.follow(brain)
    np.testing.assert_allclose(peak(desk, brain), before)
    assert logic.changed(brain)
    for start in (
        lambda **ends: logic.explain(brain, "meningioma", **ends),
        lambda **ends: logic.region_to_segment(brain, 1, **ends),
    ):
        with pytest.raises(drive.Failed) as caught:
            drive.finish(logic, start)
        assert caught.value.code == "scan_changed"
    np.testing.assert_allclose(peak(desk, brain), before)
    logic.jump_to(brain, found.regions[0])
    for view in desk.slices.values():
        to_world = slicer.util.arrayFromVTKMatrix(view.GetSliceNode().GetSliceToRAS())
        place = [*found.regions[0]["world_position_mm"], 1.0]
        assert abs((np.linalg.inv(to_world) @ place)[2]) < 4.0, "the nearest voxel of the place"


def test_a_change_is_told_of_results_that_can_no_longer_be_asked(desk: Desk, logic: Any, brain: Any) -> None:
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    drive.apply(logic, brain)
    drive.apply(logic, other)
    found = logic.finding_of(brain)
    assert not found.live
    assert not found.saved
    assert not logic.changed(brain)
    said = wording.notices(found.result, False, found.live, found.saved)
    assert "From the saved scene" not in said
    assert "Only the scan that was classified last" in said
    slicer.util.updateVolumeFromArray(brain, np.zeros_like(slicer.util.arrayFromVolume(brain)))
    assert logic.changed(brain)
    logic.follow(brain)  # as the panel does at each change
    again = MedAttnLogic(logic.engine).finding_of(brain)  # whoever opens the scene that is saved now
    assert again.saved
    assert again.outdated


def test_the_node_of_another_scene_has_no_result_of_this_one(
    desk: Desk, logic: Any, brain: Any, tmp_path: Path
) -> None:
    """Node ids are used again: what counts is the map that lies in the scene."""
    drive.apply(logic, brain)
    path = tmp_path / "first.mrb"
    assert desk.scene.WriteToMRB(str(path))
    desk.scene.Clear(False)
    other = desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    other_found = drive.apply(logic, other)
    used = other.GetID()
    desk.scene.Clear(False)
    assert desk.scene.ReadFromMRB(str(path), True)
    volume = slicer.util.getNode("brain1")
    logic.findings[volume.GetID()] = logic.findings.get(used, other_found)
    found = logic.finding_of(volume)
    assert found is not other_found
    assert found.saved
    with pytest.raises(drive.Failed) as caught:
        drive.finish(logic, lambda **ends: logic.what_if(volume, regions=[1], **ends))
    assert caught.value.code == "no_prediction"


def test_a_map_without_its_scan_lies_over_no_other(desk: Desk, logic: Any, brain: Any) -> None:
    drive.apply(logic, brain)
    node = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    assert overlay.is_shown(desk.scene, node)
    desk.scene.RemoveNode(brain)
    logic.hide_orphans()
    assert not overlay.is_shown(desk.scene, node)


def test_the_files_of_an_export_say_what_they_are_about(logic: Any, brain: Any, tmp_path: Path) -> None:
    """The NRRD is the map on the screen, which may be of another class than all other files."""
    drive.apply(logic, brain)
    drive.finish(logic, lambda **ends: logic.explain(brain, "meningioma", "pituitary", **ends))
    files = drive.finish(logic, lambda **ends: logic.export(brain, str(tmp_path), "case7", nrrd=True, **ends))
    assert Path(files["evidence_nrrd"]).name == "case7_evidence_meningioma_against_pituitary.nrrd"
    assert Path(files["evidence"]).name == "case7_evidence.nii.gz"


def test_the_map_of_a_quantity_needs_no_label_in_its_name() -> None:
    size = Finding("vtk1", {"kind": "regression", "label": None}, {"label": "volume", "against": None}, [])
    assert results.map_name("case 7", size) == "case 7_evidence.nrrd"
    other = Finding("vtk1", {"kind": "multiclass", "label": "a"}, {"label": "a/b c", "against": "a"}, [])
    assert results.map_name("case 7", other) == "case 7_evidence_a_b_c_against_a.nrrd"


def test_a_batch_says_what_was_found_and_in_which_unit(desk: Desk) -> None:
    detection = {"kind": "multilabel", "label": "mass", "probabilities": {"mass": 0.04, "edema": 0.02}}
    tumour = {**detection, "kind": "multiclass", "undecided": None}
    rows = [
        {"volume": "a", **detection, "present": [], "undecided": []},
        {"volume": "b", **detection, "present": ["mass", "edema"], "undecided": ["edema"]},
        {"volume": "c", **detection, "present": [], "undecided": ["mass"]},
        {"volume": "d", "kind": "regression", "label": "size", "value": 3.0, "unit": "mm3", "present": None},
        {"volume": "e", "error": "[x] y"},
        {"volume": "f", **tumour, "present": ["mass"], "abstained": True},
        {"volume": "g", **tumour, "present": ["mass"], "abstained": None},
    ]
    table = tables.batch(desk.scene, rows)
    column = table.GetColumnIndex("Label")
    assert [table.GetCellText(row, column) for row in range(7)] == ["none", "mass", "", "size", "", "", "mass"]
    column = table.GetColumnIndex("Undecided")
    assert [table.GetCellText(row, column) for row in range(7)] == ["", "edema", "mass", "", "", "mass", ""]
    assert table.GetColumnUnitLabel("Value") == "mm3"
