"""What the scene shows is what `medattn predict` says, and it lies where the tumour lies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import colours, geometry, nodes
from stand_ins import drive
from stand_ins.desk import Desk


@pytest.fixture(scope="module")
def tumour() -> np.ndarray:
    """Mask of the tumour of brain1, ``(K, J, I)``."""
    desk = Desk()
    label = desk.load(SAMPLES / "brain1_label.nrrd", "label")
    mask = slicer.util.arrayFromVolume(label).copy() > 0
    desk.close()
    return mask


@pytest.fixture(scope="module")
def both_said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the command line says of brain1 as NRRD and as DICOM."""
    inputs = [SAMPLES / "brain1_image.nrrd", SAMPLES / "brain1_dicom"]
    return drive.command_line(inputs, tmp_path_factory.mktemp("said"))


@pytest.fixture
def said(both_said: list[dict[str, Any]]) -> dict[str, Any]:
    """What the command line says of brain1."""
    return both_said[0]


def assert_same(found: Any, said: dict[str, Any]) -> None:
    assert found.result["label"] == said["label"]
    for label, probability in said["probabilities"].items():
        assert found.result["probabilities"][label] == pytest.approx(probability, abs=1e-5)


def in_mask(mask: np.ndarray, volume: Any, world: np.ndarray) -> bool:
    """Whether a world position lies in a mask on the grid of a volume, through its parent transforms."""
    local = [0.0, 0.0, 0.0]
    volume.TransformPointFromWorld([float(x) for x in world], local)
    index = np.linalg.inv(drive.matrix_of(volume)) @ np.array([*local, 1.0])
    i, j, k = np.rint(index[:3]).astype(int)
    inside = all(0 <= n < size for n, size in zip((k, j, i), mask.shape, strict=True))
    return inside and bool(mask[k, j, i])


def peak_of_picture(desk: Desk, view: str, found: Any) -> np.ndarray:
    """World position of the strongest evidence in what a slice view blends; the middle of several equal pixels.

    The colours are looked for as they are drawn: those of a model that abstains are faded.
    """
    composite = desk.slices[view].GetSliceCompositeNode()
    opacity = composite.GetForegroundOpacity()
    composite.SetForegroundOpacity(1.0)  # the colours themselves
    picture = desk.blend(view)[..., :3].astype(int)
    composite.SetForegroundOpacity(opacity)
    table = np.round(colours.table(found.scale, found.scale.default_share, found.undecided) * 255).astype(int)
    rank = np.full(picture.shape[:2], -1)
    for entry in range(colours.ENTRIES // 2, colours.ENTRIES):
        if table[entry, 3]:
            rank[(picture == table[entry, :3]).all(axis=-1)] = entry
    assert rank.max() >= 0, f"the {view} view shows no evidence"
    pixels = np.argwhere(rank == rank.max())
    y, x = pixels[np.argmin(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1))]
    return desk.world_of_pixel(view, x, y)


def assert_peaks_in_tumour(desk: Desk, volume: Any, found: Any, mask: np.ndarray) -> None:
    for view in desk.slices:
        world = peak_of_picture(desk, view, found)
        assert in_mask(mask, volume, world), f"{view}: {world} is not in the tumour"


def assert_lies_on(evidence: Any, volume: Any) -> None:
    assert np.abs(drive.matrix_of(evidence) - drive.matrix_of(volume)).max() < 1e-6
    assert evidence.GetTransformNodeID() == volume.GetTransformNodeID()
    assert evidence.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()


def check(desk: Desk, logic: Any, volume: Any, said: dict[str, Any], mask: np.ndarray) -> None:
    found = drive.apply(logic, volume)
    assert_same(found, said)
    assert_lies_on(nodes.find(desk.scene, nodes.EVIDENCE, volume), volume)
    assert_peaks_in_tumour(desk, volume, found, mask)


def test_from_nrrd(desk: Desk, logic: Any, brain: Any, said: dict[str, Any], tumour: np.ndarray) -> None:
    check(desk, logic, brain, said, tumour)


def test_from_dicom(desk: Desk, logic: Any, tumour: np.ndarray, both_said: list[dict[str, Any]]) -> None:
    check(desk, logic, desk.load(SAMPLES / "brain1_dicom", "dicom"), both_said[1], tumour)


def turn(axis: int, degrees: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(4)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = cosine, -sine, sine, cosine
    matrix[:3, 3] = shift
    return matrix


def test_oblique(desk: Desk, logic: Any, brain: Any, tumour: np.ndarray, tmp_path: Path) -> None:
    matrix = turn(0, 17.0, (12.0, -30.0, 5.0)) @ turn(2, -11.0) @ drive.matrix_of(brain)
    volume = desk.volume(slicer.util.arrayFromVolume(brain), matrix, "oblique")
    (said,) = drive.command_line([drive.write_with_slicer(volume, tmp_path / "oblique.nrrd")], tmp_path / "out")
    check(desk, logic, volume, said, tumour)


@pytest.mark.parametrize("degrees", [14.0, 90.0])
def test_under_a_transform(
    desk: Desk,
    logic: Any,
    brain: Any,
    tumour: np.ndarray,
    both_said: list[dict[str, Any]],
    tmp_path: Path,
    degrees: float,
) -> None:
    """The model sees the scan as it lies on the screen; the map goes under the same transform."""
    outer, inner = desk.transform(turn(2, degrees, (3.0, 20.0, -8.0))), desk.transform(turn(1, 5.0))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    brain.SetAndObserveTransformNodeID(inner.GetID())
    as_seen = desk.volume(slicer.util.arrayFromVolume(brain), geometry.ijk_to_world(brain), "as seen")
    (said,) = drive.command_line([drive.write_with_slicer(as_seen, tmp_path / "seen.nrrd")], tmp_path / "out")
    desk.scene.RemoveNode(as_seen)
    check(desk, logic, brain, said, tumour)
    if degrees < 45:  # the transform of a registration changes no number
        assert_same(logic.finding_of(brain), both_said[0])
    else:  # a brain that lies on its side is another picture to the model: less sure, and it says so
        assert logic.finding_of(brain).result["probabilities"] != pytest.approx(both_said[0]["probabilities"], abs=1e-3)


def test_the_map_follows_a_transform_that_changes_later(desk: Desk, logic: Any, brain: Any, tumour: np.ndarray) -> None:
    transform = desk.transform(turn(0, 10.0))
    brain.SetAndObserveTransformNodeID(transform.GetID())
    found = drive.apply(logic, brain)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn(2, 25.0, (30.0, 0.0, 0.0))))
    logic.jump_to(brain, found.regions[0])
    assert_peaks_in_tumour(desk, brain, found, tumour)
    assert logic.changed(brain)


def test_under_a_non_linear_transform(
    desk: Desk, logic: Any, brain: Any, tumour: np.ndarray, said: dict[str, Any]
) -> None:
    """There is no matrix to the world then: the model sees the scan as it is stored, and the map is warped alike."""
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, corner in enumerate(itertools.product((-90.0, 90.0), repeat=3)):
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(*np.add(corner, (4.0 * (n % 3), -5.0 * (n % 2), 6.0 * (n % 4))))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = desk.scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    node.SetAndObserveTransformToParent(spline)
    brain.SetAndObserveTransformNodeID(node.GetID())
    assert not geometry.is_linear(brain)
    check(desk, logic, brain, said, tumour)


def test_some_covers_all_permutations_and_flips() -> None:
    some = [orientations()[number] for number in SOME]
    assert len({axes for axes, _signs in some}) == 6
    assert len({signs for _axes, signs in some}) == 8


def orientations() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


ALL = range(48)
SOME = (0, 7, 9, 14, 18, 21, 27, 28, 33, 38, 42, 45)
"""Each permutation twice, each combination of flips at least once."""


@pytest.mark.parametrize("chosen", [pytest.param(SOME, id="12"), pytest.param(ALL, id="48", marks=pytest.mark.slow)])
def test_all_orders_of_the_axes(
    desk: Desk, logic: Any, brain: Any, tumour: np.ndarray, tmp_path: Path, chosen: Sequence[int]
) -> None:
    """The same scan with its axes permuted and flipped: the numbers of the command line, and the tumour."""
    keep = slice(5, 12)  # slices around the tumour: many scans in the time of a few
    voxels, mask = slicer.util.arrayFromVolume(brain)[keep], tumour[keep]
    assert mask.any()
    first = np.eye(4)
    first[2, 3] = keep.start
    matrix = drive.matrix_of(brain) @ first
    desk.scene.RemoveNode(brain)
    volumes, masks = [], []
    for axes, signs in (orientations()[number] for number in chosen):
        flips = tuple(slice(None, None, sign) for sign in signs)
        turned, turned_mask = (array.transpose(axes)[flips] for array in (voxels, mask))
        # From new (i, j, k) to old: array axes are (k, j, i), so index axis a of an array is index 2 - a of a matrix.
        back = np.zeros((4, 4))
        back[3, 3] = 1.0
        for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
            back[2 - old, 2 - new] = sign
            back[2 - old, 3] = 0.0 if sign > 0 else voxels.shape[old] - 1
        volumes.append(desk.volume(turned, matrix @ back, f"order{len(volumes):02d}"))
        masks.append(turned_mask)
    files = [drive.write_with_slicer(volume, tmp_path / f"{volume.GetName()}.nrrd") for volume in volumes]
    said = drive.command_line(files, tmp_path / "out")
    for volume, turned_mask, record in zip(volumes, masks, said, strict=True):
        assert volume.GetName() in record["input"]
        check(desk, logic, volume, record, turned_mask)
        nodes.remove_results(desk.scene, volume)
    answers = np.array([list(record["probabilities"].values()) for record in said])
    assert np.ptp(answers, axis=0).max() < 1e-3, "the order of the axes changes nothing"
