"""Regions as segments, and segments and boxes as regions of interest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import roi, segments, wording
from MedAttnLib.steps import TaskError
from stand_ins import drive
from stand_ins.desk import Desk


def test_region_to_segment_and_back(desk: Desk, logic: Any, brain: Any) -> None:
    """The segment of a region, asked about as if it had been painted, gives the answer of the region."""
    brain.SetAndObserveTransformNodeID(desk.transform(np.diag([-1.0, -1.0, 1.0, 1.0])).GetID())
    found = drive.apply(logic, brain)
    ticked = drive.finish(logic, lambda **ends: logic.what_if(brain, regions=[1], **ends))
    assert ticked["probabilities"]["glioma"] == pytest.approx(found.regions[0]["probability_without"], abs=1e-9)
    segmentation, segment = drive.finish(logic, lambda **ends: logic.region_to_segment(brain, 1, **ends))
    mask = roi.of_segment(segmentation, segment)
    volume_ml = float(mask.voxels.sum()) * abs(np.linalg.det(mask.matrix[:3, :3])) / 1000
    assert volume_ml == pytest.approx(found.regions[0]["volume_mm3"] / 1000, rel=1e-6)
    painted = drive.finish(
        logic, lambda **ends: logic.what_if(brain, segmentation=segmentation, segment=segment, **ends)
    )
    for label, probability in ticked["probabilities"].items():
        assert painted["probabilities"][label] == pytest.approx(probability, abs=1e-6)
    again = drive.finish(logic, lambda **ends: logic.region_to_segment(brain, 1, **ends))
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert again[0] is segmentation


def test_a_segment_on_a_large_scan_is_made_in_short_steps(desk: Desk) -> None:
    voxels = np.zeros((200, 512, 512), np.uint8)
    voxels[3:190, 20:500, 7:400] = 1
    volume = desk.volume(voxels, np.diag([0.5, 0.5, 1.0, 1.0]), "large")
    steps, times = segments.crop_steps(voxels), []
    while True:
        start = time.perf_counter()
        try:
            next(steps)
        except StopIteration as stop:
            box = stop.value
            break
        finally:
            times.append(time.perf_counter() - start)
    assert box == ([3, 20, 7], [190, 500, 400])
    assert len(times) > 10
    assert sorted(times)[len(times) // 2] < 0.05
    segmentation, segment = segments.add_segment(desk.scene, volume, voxels, "large", (1.0, 0.0, 0.0))
    mask = roi.of_segment(segmentation, segment)
    assert mask.voxels.sum() == voxels.sum()
    assert (np.linalg.inv(drive.matrix_of(volume)) @ mask.matrix)[:3, 3] == pytest.approx([7, 20, 3])
    with pytest.raises(TaskError, match="no voxels"):
        segments.add_segment(desk.scene, volume, np.zeros((2, 3, 4), bool), "empty", (1.0, 0.0, 0.0))


def test_a_painted_segment_that_moved_with_its_scan_gives_the_same_answer(desk: Desk, logic: Any, brain: Any) -> None:
    transform = desk.transform(np.diag([-1.0, -1.0, 1.0, 1.0]))
    brain.SetAndObserveTransformNodeID(transform.GetID())
    drive.apply(logic, brain)
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    painting, segment = segments.add_segment(desk.scene, brain, tumour, "tumour", (1.0, 0.0, 0.0))
    box = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    box.SetSize(50.0, 40.0, 60.0)
    box.SetCenter(40.0, 15.0, 20.0)  # on no grid of the scan
    box.SetAndObserveTransformNodeID(transform.GetID())

    def asked() -> list[float]:
        answers = (
            drive.finish(
                logic, lambda node=node, **ends: logic.what_if(brain, segmentation=node, segment=segment, **ends)
            )
            for node in (painting, box)
        )
        return [answer["probabilities"]["glioma"] for answer in answers]

    before = asked()
    moved = np.diag([-1.0, -1.0, 1.0, 1.0])
    moved[:3, 3] = 60.0, -12.3, 7.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    assert logic.changed(brain)
    assert asked() == pytest.approx(before, abs=1e-6)
    slicer.util.updateVolumeFromArray(brain, np.roll(slicer.util.arrayFromVolume(brain), 1, axis=2).copy())
    with pytest.raises(drive.Failed, match="press Apply again") as caught:
        asked()
    assert caught.value.code == "scan_changed"


def test_segment_as_region_of_interest_is_the_mask_of_the_command_line(
    desk: Desk, logic: Any, brain: Any, tmp_path: Path
) -> None:
    label = desk.load(SAMPLES / "brain1_label.nrrd", "label")
    tumour = slicer.util.arrayFromVolume(label) > 0
    segmentation, segment = segments.add_segment(desk.scene, brain, tumour, "tumour", (1.0, 0.0, 0.0))
    second = np.zeros_like(tumour)
    second[12:14, 100:140, 100:140] = True
    segments.add_segment(desk.scene, brain, second, "elsewhere", (0.0, 1.0, 0.0))
    segmentation.GetSegmentation().CollapseBinaryLabelmaps(False)  # both in one stored image
    found = drive.apply(logic, brain, region=segmentation, segment=segment)
    mask = drive.write_with_slicer(label, tmp_path / "mask.nrrd")
    (said,) = drive.command_line([SAMPLES / "brain1_image.nrrd"], tmp_path / "out", "--mask", str(mask))
    for name, probability in said["probabilities"].items():
        assert found.result["probabilities"][name] == pytest.approx(probability, abs=1e-5)
    assert "masked" in [warning["code"] for warning in found.result["warnings"]]
    assert found.result["confidence"] is None
    assert "masked" in found.result["unmeasured"]
    assert "Right in about" not in wording.finding(found.result)
    assert "attention was restricted to a region of interest" in wording.finding(found.result)


def test_roi_box(desk: Desk, logic: Any, brain: Any) -> None:
    """A turned box holds exactly the voxels whose centres Slicer says it holds."""
    node = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    node.SetSize(50.0, 40.0, 60.0)
    node.SetCenterWorld(-40.0, -15.0, 20.0)
    turn = desk.transform(np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 9], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    node.SetAndObserveTransformNodeID(turn.GetID())
    mask, matrix = roi.of_box(node), drive.matrix_of(brain)
    inside = 0
    for index in np.random.default_rng(0).integers(0, (256, 256, 25), (400, 3)):
        world = (matrix @ np.array([*index, 1.0]))[:3]
        nearest = np.rint((np.linalg.inv(mask.matrix) @ np.array([*world, 1.0]))[:3]).astype(int)
        ours = bool(((nearest >= 0) & (nearest < 3)).all() and mask.voxels[tuple(nearest[::-1])])
        assert ours == bool(node.IsPointInROIWorld(list(world)))
        inside += ours
    assert inside > 5
    found = drive.apply(logic, brain, region=node)
    assert "masked" in [warning["code"] for warning in found.result["warnings"]]


def test_a_region_that_says_nothing_is_an_error(desk: Desk, logic: Any, brain: Any) -> None:
    empty = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    segment = empty.GetSegmentation().AddEmptySegment("nothing")
    with pytest.raises(drive.Failed) as caught:
        drive.apply(logic, brain, region=empty, segment=segment)
    assert caught.value.code == "empty_mask"
    with pytest.raises(drive.Failed) as caught:
        drive.apply(logic, brain, region=empty, segment="")
    assert caught.value.code == "bad_mask"
