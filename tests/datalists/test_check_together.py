"""`medattn data check`: what only several lists, or several masks, tell together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core import datalists
from medattn_core.errors import DataListError


def pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        picture = rng.integers(60, 100, (16, 16)).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(picture), str(folder / f"{index}.png"))


def masks(folder: Path) -> None:
    """`drawn.png`, `empty.png`, and `below.nii.gz`, whose background is below zero."""
    mask = np.zeros((16, 16), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / "empty.png"))
    sitk.WriteImage(sitk.GetImageFromArray(mask[None].astype(np.float32) - 1), str(folder / "below.nii.gz"))
    mask[4:8, 4:8] = 255
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / "drawn.png"))


def entries(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [{"image": f"{i}.png", "label": "ab"[i % 2], "patient": f"Anna{i}", **more} for i in numbers]


def listed(folder: Path, **lists: list[Any]) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps(lists))
    return path


def coded(found: datalists.Checked, *codes: str) -> list[str]:
    return [line for line in map(str, found.warnings) if line.split("]")[0][1:] in codes]


def test_what_two_lists_share_is_counted(tmp_path: Path) -> None:
    pictures(tmp_path, 12)
    (tmp_path / "again.png").symlink_to(tmp_path / "0.png")
    test = [{"image": "again.png", "label": "a"}, *entries(10, patient="Anna0"), *entries(11, patient="Anna4")]
    path = listed(tmp_path, training=entries(0, 1, 2, 3), validation=entries(4, 5), test=test)
    found = datalists.check(path)
    assert not found.errors
    first, second = coded(found, "shared_cases")
    assert "the lists 'training' and 'test' share 1 image and 1 patient:" in first
    assert "the lists 'validation' and 'test' share 1 patient:" in second
    assert "Anna" not in " ".join(map(str, found.warnings))
    assert not coded(datalists.check(listed(tmp_path, training=entries(0, 1), test=entries(2, 3))), "shared_cases")
    with pytest.raises(DataListError, match="an image is in 'training' and in 'validation'"):
        datalists.check(listed(tmp_path, training=entries(0, 1), validation=entries(1, 2)))


def test_a_list_that_is_not_checked_may_be_unusable(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    test = [{"image": "2.png", "lable": "a"}]
    found = datalists.check(listed(tmp_path, training=entries(0, 1), test=test, late=entries(7)))
    assert not found.errors
    (line,) = coded(found, "unread_list")
    assert "what 'test' shares with other lists is not known: " in line
    assert "is 'label' meant" in line


def test_a_list_of_paths_is_read_and_other_values_are_no_cases(tmp_path: Path) -> None:
    """The Decathlon's `test` is a list of paths; a file may hold lists that are of something else."""
    pictures(tmp_path, 3)
    other: dict[str, list[Any]] = {"spacing": [1, 1.5, None], "authors": ["Anna", ""]}
    found = datalists.check(listed(tmp_path, training=entries(0, 1), test=["./2.png"], **other))
    assert not coded(found, "unread_list", "shared_cases")
    found = datalists.check(listed(tmp_path, training=entries(0, 1), test=["./2.png", "./1.png"], **other))
    (line,) = coded(found, "unread_list", "shared_cases")
    assert "the lists 'training' and 'test' share 1 image:" in line
    path = listed(tmp_path, training=entries(0, 1), test=entries(2), validation=[1, 2])
    assert not coded(datalists.check(path, section="test"), "unread_list", "lists_differ")
    (line,) = coded(datalists.check(listed(tmp_path, training=entries(0, 1), test=["2.png", {}])), "unread_list")
    assert "test[0]: must be an object with the key 'image'" in line


def test_a_test_set_has_nothing_to_teach(tmp_path: Path) -> None:
    pictures(tmp_path, 8)
    other = [{"image": "6.png", "label": "c"}, *entries(2, patient="Anna6")]
    path = listed(tmp_path, training=entries(0, 1), validation=other, test=entries(4, 6))
    found = datalists.check(path, section="test")
    assert not found.errors
    assert (found.cases, found.held_out, found.classes) == (2, 0, {"a": {None: 2}})
    assert any("the lists 'test' and 'validation' share 1 image and 1 patient" in one.message for one in found.warnings)
    assert coded(found, "one_answer", "one_label") == [
        "[one_answer] every case of 'test' has the same label, or its absence: little can be measured on it"
    ]
    path = listed(tmp_path, training=entries(0, 1), validation=entries(2, label="B"), test=entries(4, 5))
    (line,) = coded(datalists.check(path, section="test"), "lists_differ")
    assert "label 'B' in 'validation', but 'b' in 'test'; write one of them" in line


def test_empty_masks_of_a_label_that_is_never_drawn_are_one_line(tmp_path: Path) -> None:
    pictures(tmp_path, 8)
    masks(tmp_path)
    rows = [{"image": f"{i}.png", "label": "normal", "mask": "empty.png"} for i in range(5)]
    rows += [{"image": "5.png", "label": "tumour", "mask": "drawn.png"},
             {"image": "6.png", "label": "tumour", "mask": "below.nii.gz"}]  # fmt: skip
    slip, normal = coded(datalists.check(listed(tmp_path, training=rows)), "empty_mask")
    assert "below.nii.gz: the mask is empty, so training will not use it; draw the finding" in slip
    assert "5 masks are empty, of cases whose label no mask of the list draws (normal)" in normal
    assert "draw the finding" not in normal


def test_a_drawn_mask_without_a_label_is_noticed(tmp_path: Path) -> None:
    pictures(tmp_path, 4)
    masks(tmp_path)
    rows = [{"image": "0.png", "label": "a"}, *({"image": f"{i}.png", "label": "-"} for i in (1, 2, 3))]
    for row, mask in zip(rows, ("drawn", "drawn", "empty"), strict=False):
        row["mask"] = f"{mask}.png"
    (line,) = coded(datalists.check(listed(tmp_path, training=rows)), "mask_without_label")
    assert "drawn.png marks a finding, and no label is true of " in line
    assert "1.png" in line


def test_a_box_without_a_label_is_noticed(tmp_path: Path) -> None:
    """Not one whose mask is empty, which says that there is nothing; nor one of a label, or of a value."""
    pictures(tmp_path, 4)
    masks(tmp_path)
    box = {"box": [4, 4, 4, 4]}
    rows: list[dict[str, Any]] = [
        {"image": "0.png", "label": "a", **box}, {"image": "1.png", "label": "-", **box},
        {"image": "2.png", "label": "-", "mask": "empty.png", **box}, {"image": "3.png", "label": ["a", "b"], **box},
    ]  # fmt: skip
    found = datalists.check(listed(tmp_path, training=rows))
    (line,) = coded(found, "box_without_label", "mask_without_label")
    assert line.startswith("[box_without_label]")
    assert "1.png: its box marks a finding, and no label is true of it ('-'); name the label, or leave the box" in line
    assert not found.errors
    values = [{"image": f"{i}.png", "value": i, **box} for i in range(4)]
    assert not coded(datalists.check(listed(tmp_path, training=values)), "box_without_label")
