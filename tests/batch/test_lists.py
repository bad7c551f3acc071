"""Lists as others make them: wildcards beside a list, the Decathlon's dataset.json, truth that nobody predicts with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medattn_core.batch.jobs import inputs_of
from medattn_core.errors import MedAttnError


def paths(*arguments: object) -> list[Path]:
    return [path for path, _ in inputs_of([str(one) for one in arguments])[0]]


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_wildcard_in_a_list_whose_folder_has_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "study [2024]*"
    (folder / "deep").mkdir(parents=True)
    scans = [folder / name for name in ("a1.nii", "a2.nii", "deep/a3.nii")]
    other = tmp_path / "a9.nii"
    for path in (*scans, other):
        path.touch()
    listed = folder / "scans.txt"
    listed.write_text(f"a?.nii\n**/a3.nii\nnone*.nii\n{tmp_path}/a*.nii\n", encoding="utf-8")
    assert paths(listed) == [*scans, folder / "none*.nii", other]


def test_a_list_of_paths_alone(tmp_path: Path) -> None:
    listed = written(tmp_path / "dataset.json", {"test": ["./a.nii.gz", "b.nii.gz"], "spacing": [1.0, 1.0]})
    assert paths(listed) == [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]


def test_words_in_a_list_are_no_scans(tmp_path: Path) -> None:
    content = {"authors": ["A. B."], "classes": ["glioma", "none"], "training": [{"image": "a.nii", "label": "glioma"}]}
    assert paths(written(tmp_path / "list.json", content)) == [tmp_path / "a.nii"]
    (tmp_path / "b.nii").touch()
    content["fold_1"] = ["b.nii", "c.nii"]
    assert paths(written(tmp_path / "list.json", content)) == [tmp_path / n for n in ("a.nii", "b.nii", "c.nii")]


def test_the_decathlon(tmp_path: Path) -> None:
    content = {
        "name": "Hippocampus",
        "labels": {"0": "background", "1": "Anterior"},
        "numTraining": 1,
        "training": [{"image": "./im/a.nii.gz", "label": "./seg/a.nii.gz"}],
        "test": ["./im/b.nii.gz"],
    }
    assert paths(written(tmp_path / "dataset.json", content)) == [tmp_path / "im/a.nii.gz", tmp_path / "im/b.nii.gz"]


def test_truth_that_cannot_be_learnt_is_no_hindrance(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("image,label,value,fold,patient\na.nii|b.nii,x,1,-3,P\nc.nii|d.nii,,,1,p\n", encoding="utf-8")
    inputs, _ = inputs_of([str(table)])
    assert inputs == [(tmp_path / "a.nii", (tmp_path / "b.nii",)), (tmp_path / "c.nii", (tmp_path / "d.nii",))]


@pytest.mark.parametrize("content", [{"spacing": [1.0, 1.0]}, {}, [], ["a.nii"], {"training": [{"Image": "a.nii"}]}])
def test_a_list_of_no_case(tmp_path: Path, content: object) -> None:
    with pytest.raises(MedAttnError) as refused:
        paths(written(tmp_path / "list.json", content))
    assert refused.value.code == "bad_datalist"


def test_a_list_with_zero_bytes_is_no_text(tmp_path: Path) -> None:
    listed = tmp_path / "scans.txt"
    listed.write_bytes(b"a.nii\nb\0.nii\n")
    with pytest.raises(MedAttnError, match="it holds zero bytes, no text") as raised:
        paths(listed)
    assert raised.value.code == "bad_datalist"
