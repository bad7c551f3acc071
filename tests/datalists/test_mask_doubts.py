"""Masks that are none, and masks whose geometry puts them elsewhere: told by the check and by training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core import datalists
from medattn_core.tasks import TaskSpec
from medattn_core.training.data import prepare
from medattn_core.training.held_out import say_noticed

SHAPE = (40, 40, 30)
AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -40], [0, 0, 3, -45], [0, 0, 0, 1]])


def scan(path: Path) -> Path:
    data = np.random.default_rng(0).integers(1, 400, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


def drawn(affine: np.ndarray, shape: tuple[int, ...] = SHAPE, steps: int = 1) -> nib.Nifti1Image:
    """A cube in the middle of the scan, every ``steps`` of its voxels."""
    data = np.zeros(SHAPE, np.uint8)
    data[16:24, 16:24, 12:18] = 1
    return nib.Nifti1Image(data[::steps, ::steps, ::steps][: shape[0], : shape[1], : shape[2]], affine)


def scaled(factor: float) -> np.ndarray:
    return AFFINE @ np.diag([factor, factor, factor, 1])


def moved(*offset: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += offset
    return affine


def turned() -> nib.Nifti1Image:
    """The same voxels, stored backwards along the first axis, as another program writes them."""
    mask = drawn(AFFINE)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    return nib.Nifti1Image(np.asarray(mask.dataobj)[::-1], AFFINE @ flip)


def cropped(first: int) -> nib.Nifti1Image:
    """The finding alone, or what lies from the corner of the scan to it along one axis."""
    low = np.array([16, 16, 12]) if first else np.zeros(3, int)
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [*low, 1])[:3]
    data = np.asarray(drawn(AFFINE).dataobj)
    return nib.Nifti1Image(data[16:24, 16:24, 12:18] if first else data[:, :, :20], affine)


def told(folder: Path, *masks: Any) -> list[str]:
    """Lines of the check on masks; training says as many of the same kinds."""
    rows = []
    for number, mask in enumerate(masks):
        scan(folder / f"{number}.nii.gz")
        if not isinstance(mask, str):
            nib.save(mask, folder / f"m{number}.nii.gz")
            mask = f"m{number}.nii.gz"
        rows.append({"image": f"{number}.nii.gz", "label": "a", "mask": mask})
    path = folder / "list.json"
    path.write_text(json.dumps(rows))
    found = [str(one) for one in datalists.check(path).warnings if one.code in ("odd_mask", "mask_geometry")]
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=3, spacing=(2, 2, 3), activation="softmax")
    said: list[str] = []
    say_noticed(prepare(datalists.load(path), task, (8, 8, 8)).notices, said.append)
    assert sorted(line.split("]")[0] for line in said) == sorted({line.split("]")[0] for line in found})
    return found


@pytest.mark.parametrize(("mask", "words"), [
    (drawn(np.eye(4)), "its header says voxels of 1 mm from 0, 0, 0"),
    (drawn(AFFINE, steps=2), "it has 20 x 20 x 15 voxels, "),
    (drawn(moved(30, 0, 0)), "has the shape of "),
    (drawn(moved(-42, 0, 0) @ np.diag([1, 1, 0.9, 1.0]), (40, 40, 29)), "of what it marks lies beside "),
])  # fmt: skip
def test_a_mask_whose_geometry_is_another_is_told(tmp_path: Path, mask: nib.Nifti1Image, words: str) -> None:
    (line,) = told(tmp_path, mask)
    assert line.startswith(f"[mask_geometry] 1 mask, the first {tmp_path / 'm0.nii.gz'}: ")
    assert words in line


@pytest.mark.parametrize("mask", [
    drawn(AFFINE), drawn(scaled(2), steps=2), turned(), cropped(1), cropped(0), drawn(moved(2, -1, 3)),
    drawn(moved(500, 0, 0)),  # covers nothing, which is told by itself
    drawn(moved(0.5, 0, 0), (40, 40, 29)),
], ids=["same", "coarser", "turned", "finding", "slices", "near", "nowhere", "a slice less"])  # fmt: skip
def test_a_mask_on_another_grid_in_its_place_is_not(tmp_path: Path, mask: nib.Nifti1Image) -> None:
    assert told(tmp_path, mask) == []


def test_masks_of_one_kind_are_one_line(tmp_path: Path) -> None:
    (line,) = told(tmp_path, drawn(np.eye(4)), drawn(AFFINE), drawn(np.eye(4)), "m0.nii.gz")
    assert line.startswith("[mask_geometry] 2 masks of 3 cases, the first ")


def test_a_scan_as_its_own_mask_is_told(tmp_path: Path) -> None:
    (line,) = told(tmp_path, "0.nii.gz")
    assert "0.nii.gz: it is the scan itself" in line


def test_a_volume_of_grey_values_is_no_mask_and_one_of_organs_is(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 400, SHAPE).astype(np.int16)
    values[:20] = 0
    organs = values % 100
    (line,) = told(tmp_path, nib.Nifti1Image(values, AFFINE), nib.Nifti1Image(organs, AFFINE))
    assert line.startswith("[odd_mask] 1 mask, the first ")
    assert "m0.nii.gz: it has 400 different values, as a scan has; what is above 0 is taken for the finding" in line


def test_one_picture_for_all_cases_is_one_line(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    for name in "abcm":
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / f"{name}.png"))
    rows = [{"image": f"{name}.png", "label": "x", "mask": "m.png"} for name in "abc"]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows))
    (line,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[odd_mask]")]
    assert line.startswith(f"[odd_mask] 1 mask of 3 cases, the first {tmp_path / 'm.png'}: it has ")


def test_a_small_picture_as_a_mask_lies_in_a_corner(tmp_path: Path) -> None:
    """Neither states a place: the first pixels of both are the same place."""
    rng = np.random.default_rng(0)
    for name, size in (("a", 64), ("m", 32)):
        data = (rng.integers(0, 2, (size, size)) * 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / f"{name}.png"))
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": "a.png", "label": "x", "mask": "m.png"}]))
    (line,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[mask_geometry]")]
    assert "it has 32 x 32 x 1 voxels, " in line


def test_a_scan_without_a_header_has_a_mask_without_one(tmp_path: Path) -> None:
    """Both from 0, 0, 0 in voxels of 1 mm; the mask ends with the slices that show the finding."""
    rng = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(rng.integers(1, 400, SHAPE).astype(np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    nib.save(drawn(np.eye(4), (40, 40, 20)), tmp_path / "m.nii.gz")
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": "a.nii.gz", "label": "x", "mask": "m.nii.gz"}]))
    assert not any("[mask_geometry]" in line for line in map(str, datalists.check(path).warnings))
