"""`medattn data check`: boxes, masks and slices that are allowed and probably not meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from medattn_core import datalists


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
    return [line for line in found.warnings if line.startswith(f"[{code}]")]


def test_boxes_in_fractions_of_the_image_are_noticed(tmp_path: Path) -> None:
    names = [image(tmp_path / f"{number}.png") for number in range(3)]
    boxes = ([0.1, 0.2, 0.3, 0.25], [0.1, 0.2, 1, 0.5], [4, 4, 1, 1])
    found = checked(tmp_path, *({"image": name, "box": box} for name, box in zip(names, boxes, strict=True)))
    (warning,) = coded(found, "tiny_box")
    assert "2 boxes cover less than a pixel" in warning
    assert "0.png: fractions of the image?" in warning


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
    assert "save it as PNG" in lossy
    assert "grey.png: it has 127 grey values" in grey


def test_a_slice_stored_along_another_axis_is_flat_and_takes_no_box(tmp_path: Path) -> None:
    rows = [{"image": image(tmp_path / f"{side}.nii.gz", 24, 16, 1)} for side in ("left", "right")]  # 1 x 16 x 24
    found = checked(tmp_path, *rows)
    assert found.dimensions == {"2D": 2}
    assert found.geometry["shortest side_voxels"] == (16, 16, 16)
    (error,) = checked(tmp_path, rows[0] | {"box": [2, 2, 4, 4]}, rows[1]).errors
    assert "a slice stored as 1 x 16 x 24 is not known; store it as columns x rows x 1" in error["message"]
