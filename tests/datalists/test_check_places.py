"""`medattn data check`: boxes, masks and slices that are allowed and probably not meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.errors import VolumeError
from medattn_core.inference.masks import native_mask
from medattn_core.volumes import Volume, read


def picture(path: Path, data: np.ndarray) -> str:
    sitk.WriteImage(sitk.GetImageFromArray(data.astype(np.uint8)), str(path))
    return path.name


def image(path: Path, *shape: int) -> str:
    return picture(path, np.random.default_rng(0).integers(1, 99, shape or (64, 64)))


def checked(folder: Path, *rows: dict[str, Any]) -> datalists.Checked:
    path = folder / "list.json"
    path.write_text(json.dumps({"training": [{"label": "ab"[i % 2], **row} for i, row in enumerate(rows)]}))
    return datalists.check(path)


def coded(found: datalists.Checked, code: str) -> list[str]:
    return [line for line in map(str, found.warnings) if line.startswith(f"[{code}]")]


def test_boxes_in_fractions_of_the_image_are_noticed(tmp_path: Path) -> None:
    names = [image(tmp_path / f"{number}.png") for number in range(3)]
    boxes = ([0.1, 0.2, 0.3, 0.25], [0.1, 0.2, 1, 0.5], [4, 4, 1, 1])
    found = checked(tmp_path, *({"image": name, "box": box} for name, box in zip(names, boxes, strict=True)))
    (warning,) = coded(found, "tiny_box")
    assert "2 boxes cover less than a pixel" in warning
    assert "0.png: it looks like fractions of the image, and boxes are in pixels" in warning


def test_a_mask_in_a_lossy_picture_is_noticed(tmp_path: Path) -> None:
    square = np.zeros((64, 64))
    square[21:42, 19:45] = 255
    several = np.zeros((64, 64))
    several[::4] = (np.arange(16) % 6)[:, None]
    masks = {"lossy.jpg": square, "sharp.png": square, "parts.png": several, "grey.png": np.add.outer(*[range(64)] * 2)}
    found = checked(tmp_path, *({"image": image(tmp_path / f"of_{name}.png"), "mask": picture(tmp_path / name, data)}
                                for name, data in masks.items()))  # fmt: skip
    lossy, grey = coded(found, "odd_mask")
    assert "lossy.jpg: it has" in lossy
    assert "above half of its largest value is taken for the finding, a region in a darker grey is not" in lossy
    assert "save it as PNG" in lossy
    assert "above 0, with faint noise around it, is taken for the finding: save it" in grey
    assert "grey.png: it has 127 grey values" in grey


def test_a_jpeg_mask_is_the_same_finding_as_in_a_question(tmp_path: Path) -> None:
    drawn = np.zeros((96, 80))
    drawn[21:53, 19:45] = 255
    case = datalists.Case(
        image=tmp_path / image(tmp_path / "a.png", 96, 80), mask=tmp_path / picture(tmp_path / "m.jpg", drawn)
    )
    scan, mask = read(case.image), read(case.mask)
    assert (mask.data > 0).sum() > (drawn > 0).sum()  # noise
    place = datalists.location_of(case, scan)
    np.testing.assert_array_equal(place[..., 0].T, drawn > 0)
    np.testing.assert_array_equal(place > 0, native_mask(case.mask, scan)[0])


def test_a_jpeg_mask_marks_nearly_all_only_where_more_than_noise_does(tmp_path: Path) -> None:
    """Two grey values, as a blank picture with a faint frame has: not what lies below the half."""
    faint = np.full((64, 64), 8.0)
    faint[:32, :16] = 248
    name = picture(tmp_path / "m.jpg", faint)
    assert len(np.unique(read(tmp_path / name).data)) == 2
    found = checked(tmp_path, {"image": image(tmp_path / "a.png"), "mask": name}, {"image": image(tmp_path / "b.png")})
    assert not coded(found, "odd_mask")


def test_a_mask_of_nan_is_told_what_masks_are(tmp_path: Path) -> None:
    name = "m.nii.gz"
    data = np.full((6, 24, 16), np.nan, np.float32)
    data[2:4, 4:9, 4:9] = 1
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / name))
    row = {"image": image(tmp_path / "a.nii.gz", 6, 24, 16)}
    (error,) = checked(tmp_path, row | {"mask": name}, {"image": image(tmp_path / "b.nii.gz", 6, 24, 16)}).errors
    assert error.code == "bad_mask"
    assert name in error.message
    assert "a mask has 0 outside" in error.message
    case = datalists.Case(image=tmp_path / row["image"], mask=tmp_path / name)
    with pytest.raises(VolumeError, match="a mask has 0 outside") as caught:
        datalists.location_of(case, read(case.image))
    assert caught.value.code == "bad_mask"


def test_a_slice_stored_along_another_axis_is_flat_and_takes_no_box(tmp_path: Path) -> None:
    rows = [{"image": image(tmp_path / f"{side}.nii.gz", 24, 16, 1)} for side in ("left", "right")]  # 1 x 16 x 24
    found = checked(tmp_path, *rows)
    assert found.dimensions == {"2D": 2}
    assert found.geometry["shortest side_voxels"] == (16, 16, 16)
    (error,) = checked(tmp_path, rows[0] | {"box": [2, 2, 4, 4]}, rows[1]).errors
    assert "a slice stored as 1 x 16 x 24 is not known; store it as columns x rows x 1" in error.message


@pytest.mark.parametrize(("turned", "origin"), [((1, 1), (0, 0)), ((-1, -1), (30, 40)), ((1, -1), (0, 9))])
def test_a_picture_lies_on_a_slice_with_a_place_as_that_is_shown(
    tmp_path: Path, turned: tuple[int, int], origin: tuple[int, int]
) -> None:
    """What is drawn on the slice as a reader sees it: the bright spot, however the slice is stored and placed."""
    data = np.full((60, 80, 1), 50, np.float32)
    data[5:12, 60:72] = 200
    affine = np.diag([*turned, 5.0, 1.0])
    affine[:2, 3] = origin
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "slice.nii.gz")
    # Anterior is up and the patient's right on the left: both are where R and A are largest.
    seen = data[:, :, 0][:: -turned[0], :: -turned[1]]
    mask = tmp_path / picture(tmp_path / "mask.png", (seen.T > 100).astype(np.uint8) * 255)
    scan = read(tmp_path / "slice.nii.gz")
    place = datalists.location_of(Case(image=tmp_path / "slice.nii.gz", mask=mask), scan)
    assert place is not None
    np.testing.assert_array_equal(place > 0, data > 100)
    small = tmp_path / picture(tmp_path / "small.png", np.full((60, 80), 255, np.uint8))
    with pytest.raises(VolumeError, match="states no place"):
        datalists.location_of(Case(image=tmp_path / "slice.nii.gz", mask=small), scan)


def test_a_box_is_columns_then_rows() -> None:
    scan = Volume(data=np.zeros((8, 8, 1)), affine=np.eye(4))
    places = np.argwhere(datalists.location_of(Case(image=Path("a.png"), labels=("a",), box=(2, 1, 3, 2)), scan))
    assert (places.min(0).tolist(), places.max(0).tolist()) == ([2, 1, 0], [4, 2, 0])
