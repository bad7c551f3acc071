"""What is told of the cases; which of them, and which labels, train, as far as the list tells it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.datalists.file_checks import ONE_FOLDER
from medattn_core.errors import Notice, TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.data import prepare, prepare_list
from medattn_core.training.held_out import check_listed, fingerprint, say_noticed, say_pictures
from tests.squares import SETTINGS

TASK = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1), activation="softmax")


def listed(*labels: str, patients: str = "") -> list[Case]:
    return [
        Case(image=Path(f"{i}.png"), labels=(label,), patient=patients[i] if patients else None)
        for i, label in enumerate(labels)
    ]


def test_what_the_reader_noticed_is_told_a_line_a_kind() -> None:
    said: list[str] = []
    other = [(Path(f"d{i}"), Notice("other_series", f"d{i}: 2 series; read the first")) for i in range(4)]
    gap = (Path("d1"), Notice("missing_slices", "3 slices are missing"))
    say_noticed([(), (other[1], gap), (other[2], other[2]), (other[3],)], said.append)
    assert said == [
        f"[other_series] 3 cases, the first d1: 2 series; read the first; {ONE_FOLDER}",
        "[missing_slices] 1 case, the first d1: 3 slices are missing",
    ]


def test_notices_come_with_the_cases_they_are_of(tmp_path: Path) -> None:
    """One voxel of one volume is no number; what is only unusual (no pixel size, a single slice) is no doubt."""
    for name in ("0.nii.gz", "1.nii.gz", "2.nii.gz"):
        voxels = np.random.default_rng(0).random((16, 16, 16))
        voxels[0, 0, 0] = np.nan if name.startswith("1") else 0
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / name))
    cases = [Case(image=tmp_path / name, labels=("a",)) for name in ("0.nii.gz", "1.nii.gz", "2.nii.gz")]
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=3, spacing=(1, 1, 1), activation="softmax")
    data = prepare(cases, task, (8, 8, 8))
    codes = [[(file.name, notice.code) for file, notice in noticed] for noticed in data.notices]
    assert codes == [[], [("1.nii.gz", "non_finite_replaced")], []]
    chosen = data.subset(np.array([False, True, False]))
    assert chosen.notices == (data.notices[1],)


def test_training_tells_what_the_reader_noticed(squares: Path, tmp_path: Path) -> None:
    grey = sitk.GetArrayFromImage(sitk.ReadImage(str(squares.with_name("3.png")))).astype(np.float32)
    grey[0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(squares.with_name("3.mha")))
    squares.write_text(squares.read_text().replace("3.png", "3.mha", 1))
    said: list[str] = []
    train(squares, tmp_path / "out", config=SETTINGS, epochs=1, device="cpu", say=said.append)
    (line,) = [line for line in said if line.startswith("[")]
    assert line.startswith("[non_finite_replaced] 1 case, the first ")
    assert "3.mha" in line


def test_slices_among_volumes_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((8, 8, 8))), str(tmp_path / "0.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (8, 8)).astype(np.uint8)), str(tmp_path / "1.png"))
    cases = [Case(image=tmp_path / name, labels=("a",)) for name in ("0.nii.gz", "1.png")]
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=3, spacing=(1, 1, 1), activation="softmax")
    said: list[str] = []
    say_pictures(cases, prepare(cases, task, (8, 8, 8)).pictures, task, said.append)
    assert len(said) == 1
    assert said[0].startswith(f"1 of 2 images are single slices, the first {tmp_path / '1.png'}, and the network takes")
    say_pictures(cases, np.array([True, True]), TASK, said.append)  # a network of slices
    assert len(said) == 1


@pytest.mark.parametrize(("labels", "patients", "held", "hint"), [
    ("aabb", "pqrs", "0101 1010", None),
    ("aaab", "pqrs", "0101 1010", "one patient alone has it: leave the label out, or train without folds"),
    ("aabb", "pqrr", "0011 1100", "one patient alone has it: leave the label out, or train without folds"),
    ("aabb", "pqrs", "0011 1100", "use fewer folds, or spread it over more patients"),
    ("aaaa", "pqrs", "0101 1010", "list some, or leave the label out of the task"),
    ("aaaa", "pqrs", "0000", "list some, or leave the label out of the task"),
    ("aabb", "pqrs", "0011", "hold others out, so that some of them train"),
])  # fmt: skip
def test_a_label_that_would_not_train_is_known_from_the_list(
    labels: str, patients: str, held: str, hint: str | None
) -> None:
    masks = [np.array([one == "1" for one in fold]) for fold in held.split()]
    if hint is None:
        check_listed(listed(*labels, patients=patients), masks, TASK)
        return
    with pytest.raises(TrainingError, match=hint) as caught:
        check_listed(listed(*labels, patients=patients), masks, TASK)
    assert caught.value.code == "bad_config"


def test_a_fold_of_a_list_is_left_out_or_taken_alone(squares: Path) -> None:
    task = TaskSpec(name="squares", labels=("bright", "dark"), spatial_dims=2, spacing=(1.0, 1.0))
    for chosen, folds in (({}, {0, 1}), ({"hold_out": 1}, {0}), ({"only": 1}, {1})):
        found = prepare_list(str(squares), task, (64, 64), **chosen)
        assert set(found.folds.tolist()) == folds
        assert len(found) == 16 * len(folds)


def test_it_is_known_before_images_are_read(squares: Path, tmp_path: Path) -> None:
    rows = squares.read_text().splitlines()
    squares.write_text("\n".join([rows[0], *(row.replace("bright", "dark") for row in rows[1:17]), *rows[17:]]))
    assert {case.label for case in datalists.load(squares)} == {"bright", "dark"}
    read: list[int] = []
    with pytest.raises(TrainingError, match="fold 2 of 2 would train without a case of 'bright'"):
        train(squares, tmp_path / "out", config=SETTINGS, device="cpu", folds=2,
              reading=lambda done, count: read.append(done))  # fmt: skip
    assert not read


@pytest.mark.parametrize("changed", [
    {"value": 4.0}, {"labels": ("b",), "label": None}, {"labels": (), "label": None}, {"labels": None, "label": None},
    {"box": (1, 2, 3, 5)},
    {"box": None}, {"mask": Path("list/other.png")}, {"mask": None}, {"patient": "q"}, {"image": Path("list/x.png")},
    {"channels": (Path("list/x.png"),)},
], ids=str)  # fmt: skip
def test_another_word_of_the_list_is_another_list(changed: dict[str, Any]) -> None:
    case = Case(image=Path("list/0.png"), labels=("a",), value=3.0, box=(1, 2, 3, 4), mask=Path("list/m.png"),
                patient="p")  # fmt: skip
    cases, held_out = [case, replace(case, image=Path("list/1.png"))], [np.array([False, True])]
    own = fingerprint(Path("list/list.csv"), cases, held_out)
    assert fingerprint(Path("list/list.csv"), [replace(case, **changed), cases[1]], held_out) != own


def test_who_is_held_out_is_part_of_a_list_and_where_its_folder_lies_is_not() -> None:
    def own(folder: str, *held_out: list[bool]) -> str:
        cases = [Case(image=Path(folder) / f"{i}.png", labels=("a",), patient="p") for i in range(2)]
        return fingerprint(Path(folder) / "list.csv", cases, [np.array(mask) for mask in held_out])

    one, other = [False, True], [True, False]
    assert own("here", one) == own("there", one)
    assert len({own("here", *masks) for masks in ([one], [other], [one, other], [other, one])}) == 4
