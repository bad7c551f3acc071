"""What a list cannot hold is refused when it is written, not read back as something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.errors import DataListError


def of(tmp_path: Path, name: str = "a.nii", **more: Any) -> Case:
    return Case(image=tmp_path / name, **more)


def refused(*arguments: Any, **more: Any) -> str:
    with pytest.raises(DataListError) as caught:
        datalists.save(*arguments, **more)
    return caught.value.message


def test_a_path_with_the_sign_between_channels_is_no_two_channels(tmp_path: Path) -> None:
    case = of(tmp_path, "c|0.nii", label="x")
    assert "image 'c|0.nii' cannot be written in CSV" in refused([case], tmp_path / "list.csv")
    datalists.save([case], tmp_path / "list.json")
    assert datalists.load(tmp_path / "list.json", check_files=False) == [case]


def test_several_lists_are_written_together_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    train, held = [of(tmp_path, label="x")], [of(tmp_path, "b.nii", label="y")]
    datalists.save({"training": train, "validation": held}, path)
    assert datalists.load(path, check_files=False) == train
    assert datalists.load(path, section="validation", check_files=False) == held
    assert datalists.listed_labels(path) == ("x", "y")
    before = path.read_text()
    assert "it holds 'training', which would be lost; save all lists together" in refused(
        held, path, section="validation"
    )
    assert path.read_text() == before
    assert "CSV holds one list, here are 2" in refused({"training": train, "test": held}, tmp_path / "list.csv")
    path.write_text("no list")
    datalists.save(train, path)
    datalists.save(train, path)
    assert datalists.load(path, check_files=False) == train


def test_numbers_of_numpy_are_numbers_and_others_are_none(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    datalists.save(
        [of(tmp_path, value=np.float32(1.5), fold=np.int64(1), box=tuple(np.arange(4.0, dtype="f4") + 1))], path
    )
    (entry,) = json.loads(path.read_text())["training"]
    assert (entry["value"], entry["fold"], entry["box"]) == (1.5, 1, [1.0, 2.0, 3.0, 4.0])


def test_what_would_be_read_as_something_else_is_refused(tmp_path: Path) -> None:
    for more, words in (
        ({"value": float("nan")}, "value nan; a finite number"),
        ({"value": 1e16}, "beyond 1e+15"),
        ({"fold": 0.5}, "; give a whole number"),
        ({"fold": -1}, "; give a whole number"),
        ({"box": (0.0, 0.0, float("nan"), 1.0)}, "box"),
        ({"labels": ("",)}, "label"),
    ):
        for suffix in ("json", "csv"):
            assert words in refused([of(tmp_path, **more)], tmp_path / f"list.{suffix}"), (more, suffix)
    assert "would be read back as" in refused([of(tmp_path, " a.nii", label="x")], tmp_path / "list.csv")
    twice = [of(tmp_path, fold=0, patient="p"), of(tmp_path, "b.nii", fold=1, patient="p")]
    assert "is the same patient" in refused(twice, tmp_path / "list.json")
    for suffix, what_to_do in (("json", "change it"), ("csv", "change it, or use .json")):
        said = refused([of(tmp_path, label="x", patient=" Erika M")], tmp_path / f"list.{suffix}")
        assert said.endswith(f"the patient would be read back as something else; {what_to_do}")
        assert "Erika" not in said
    assert not list(tmp_path.iterdir())


def test_accents_are_written_in_one_form(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    one, two = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"
    datalists.save([of(tmp_path, label=one), of(tmp_path, "b.nii", label=two)], path)
    assert [case.label for case in datalists.load(path, check_files=False)] == [one, one]


def test_one_label_is_no_list_of_its_letters(tmp_path: Path) -> None:
    assert of(tmp_path, labels="no").labels == ("no",)
    assert of(tmp_path, labels=["a", "b"]).labels == ("a", "b")
    with pytest.raises(DataListError, match=r"label 'a' and labels \('b', 'c'\) differ; give one of them"):
        of(tmp_path, label="a", labels=("b", "c"))
    assert of(tmp_path, label="a", labels=("a",)) == of(tmp_path, label="a")


def test_csv_has_no_sections(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,label\na.nii,x\n")
    with pytest.raises(DataListError, match="section 'test' is for JSON lists; leave it out for CSV"):
        datalists.load(path, section="test", check_files=False)
    assert datalists.load(path, section="validation", check_files=False)
