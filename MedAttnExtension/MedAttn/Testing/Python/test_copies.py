"""A copy of a result is the reader's: nothing replaces, renames, hides or removes it, and it is still no scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from conftest import SAMPLES
from MedAttnLib import nodes, overlay, segments, tables
from stand_ins.desk import Desk
from stand_ins.shell import Shell
from test_scene import place


def clone(desk: Desk, node: Any, name: str = "kept copy") -> Any:
    """As the Data module and the Volumes module do it."""
    return slicer.vtkSlicerVolumesLogic.CloneVolume(desk.scene, node, name)


def scan(desk: Desk, name: str = "scan") -> Any:
    return desk.volume(np.full((20, 30, 40), 100, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), name)


def voxels(value: float) -> np.ndarray:
    return np.full((20, 30, 40), value)


def test_the_next_apply_leaves_a_copy_alone(shell: Shell, desk: Desk, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    evidence = nodes.find(desk.scene, nodes.EVIDENCE, brain)
    copy = clone(desk, evidence)
    before = slicer.util.arrayFromVolume(copy).copy()
    shell.parameters.bundle = "hippocampus_volume"
    shell.apply()
    assert nodes.find(desk.scene, nodes.EVIDENCE, brain) is evidence
    desk.scene.RemoveNode(evidence)
    shell.parameters.bundle = "vessel_aneurysm"
    shell.apply()
    assert nodes.find(desk.scene, nodes.EVIDENCE, brain) not in (None, copy)
    assert copy.GetName() == "kept copy"
    assert np.array_equal(slicer.util.arrayFromVolume(copy), before)
    assert nodes.scans(desk.scene) == [brain]
    assert nodes.is_ours(copy), "and is refused as a scan"


def test_a_copy_is_no_result_once_the_original_is_gone(desk: Desk) -> None:
    volume = scan(desk)
    evidence = place(desk, volume, voxels(1.0))
    copy = clone(desk, evidence)
    desk.scene.RemoveNode(evidence)
    assert nodes.find(desk.scene, nodes.EVIDENCE, volume) is None
    desk.scene.RemoveNode(volume)
    assert copy not in nodes.orphans(desk.scene)


def test_a_copy_survives_the_removal_of_the_results(desk: Desk) -> None:
    """It lies in the folder of the results, where the Data module puts it: that folder stays, too."""
    volume, tree = scan(desk), nodes.hierarchy(desk.scene)
    copy = clone(desk, place(desk, volume, voxels(1.0)))
    nodes.put_into_folder(desk.scene, volume, copy)
    nodes.remove_results(desk.scene, volume)
    assert copy.GetScene() is desk.scene
    folder = nodes.folder_of(desk.scene, volume)
    assert tree.GetItemParent(tree.GetItemByDataNode(copy)) == folder


def test_copies_of_tables_and_segments_are_kept(desk: Desk) -> None:
    volume = scan(desk)
    table = tables.batch(desk.scene, [{"volume": "scan", "error": "[x] y"}])
    segmentation, _segment = segments.add_segment(desk.scene, volume, voxels(1.0), "a", (1, 0, 0))
    copies = [desk.scene.CopyNode(node) for node in (table, segmentation)]
    assert tables.batch(desk.scene, [{"volume": "scan", "error": "[x] y"}] * 2) is table
    assert segments.add_segment(desk.scene, volume, voxels(1.0), "b", (1, 0, 0))[0] is segmentation
    for node in (table, segmentation):
        desk.scene.RemoveNode(node)
    assert tables.batch(desk.scene, [{"volume": "scan", "error": "[x] y"}] * 3) not in copies
    assert copies[0].GetNumberOfRows() == 1
    assert copies[1].GetSegmentation().GetNumberOfSegments() == 1


def test_copy_and_original_are_told_apart_after_loading(desk: Desk, tmp_path: Path) -> None:
    """Also where the scene is added to another, and every id changes."""
    volume = scan(desk)
    clone(desk, place(desk, volume, voxels(1.0)))
    path = str(tmp_path / "saved.mrb")
    assert desk.scene.WriteToMRB(path)
    for name in ("first", "second"):
        place(desk, scan(desk, name), voxels(2.0))  # takes ids that the file uses
    assert desk.scene.ReadFromMRB(path, False)
    scans = {node.GetID(): node for node in nodes.scans(desk.scene)}
    assert len(scans) == 4
    found = [nodes.find(desk.scene, nodes.EVIDENCE, one) for one in scans.values()]
    assert len({node.GetID() for node in found}) == 4
    copies = [node for node in nodes.of_class(desk.scene, "vtkMRMLScalarVolumeNode") if nodes.is_copy(node)]
    assert [node.GetName().startswith("kept copy") for node in copies] == [True, True]
    again = place(desk, list(scans.values())[-1], voxels(3.0))
    assert again in found
    assert {float(slicer.util.arrayFromVolume(node).max()) for node in copies} == {1.0}


def test_a_result_of_an_earlier_version_is_still_ours(desk: Desk) -> None:
    """It does not name itself; from the next Apply on it does."""
    volume = desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shape = slicer.util.arrayFromVolume(volume).shape
    evidence = place(desk, volume, np.zeros(shape))
    for node in (evidence, nodes.find(desk.scene, nodes.COLOURS, volume)):
        node.RemoveAttribute(nodes.CLAIMED)
        node.RemoveNodeReferenceIDs(nodes.SELF)
    assert place(desk, volume, np.ones(shape)) is evidence
    assert not nodes.is_copy(evidence)
    assert nodes.is_copy(clone(desk, evidence))
    assert overlay.is_shown(desk.scene, evidence)
