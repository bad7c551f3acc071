"""Images and patients that are there twice, by another path, as another channel, or in another spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core import datalists
from medattn_core.errors import DataListError
from tests.conftest import Write
from tests.test_datalists import refused

PATIENTS = "image,label,fold,patient\na.nii,x,0,Erika\nb.nii,y,{fold},erika\n"


def test_a_patient_in_two_spellings_is_in_one_fold(write: Write) -> None:
    """Short identifiers may differ in capital letters and be two people: they are kept together, and that is said."""
    message = refused(write("list.csv", PATIENTS.format(fold=1)))
    assert "row 3: the same patient in two spellings (small and capital letters, spaces, accents, or 1 and" in message
    assert "rika" not in message
    path = write("list.csv", PATIENTS.format(fold=0))
    assert len(datalists.load(path)) == 2
    (line,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[patient_spelling]")]
    assert "1 patient is spelt in several ways" in line
    assert "rika" not in line


def test_a_patient_in_two_spellings_is_not_held_out(write: Write) -> None:
    lists = {"training": [{"image": "a.nii", "label": "x", "patient": "Erika"}],
             "validation": [{"image": "b.nii", "label": "x", "patient": "erika"}]}  # fmt: skip
    path = write("list.json", lists)
    cases, held = (datalists.load(path, section=name) for name in lists)
    with pytest.raises(
        DataListError, match="a patient is in 'training' and in 'validation', in another spelling"
    ) as caught:
        datalists.check_apart(path, cases, held)
    assert "rika" not in caught.value.message


def test_a_label_in_two_spellings_is_not_held_out(write: Write) -> None:
    lists = {"training": [{"image": "a.nii", "label": "1"}], "validation": [{"image": "b.nii", "label": "1.0"}]}
    path = write("list.json", lists)
    cases, held = (datalists.load(path, section=name) for name in lists)
    with pytest.raises(DataListError, match=r"label '1\.0' in 'validation', but '1' in 'training'"):
        datalists.check_apart(path, cases, held)


def test_a_link_is_the_image_it_leads_to(write: Write) -> None:
    path = write("list.csv", "image,label\na.nii,x\nlinked.nii,y\n")
    (path.parent / "linked.nii").symlink_to(path.parent / "a.nii")
    assert "row 3: image linked.nii is already in row 2" in refused(path)


def two_channels(folder: Path, **lists: list[tuple[str, str]]) -> Path:
    """Cases of two pictures each."""
    rng = np.random.default_rng(0)
    written: dict[str, list[dict[str, Any]]] = {}
    for section, pairs in lists.items():
        for number, pair in enumerate(pairs):
            for name in pair:
                picture = sitk.GetImageFromArray(rng.integers(0, 255, (16, 16)).astype(np.uint8))
                sitk.WriteImage(picture, str(folder / f"{name}.png"))
            row = {"image": [f"{name}.png" for name in pair], "label": "xy"[number % 2]}
            written.setdefault(section, []).append(row)
    path = folder / "list.json"
    path.write_text(json.dumps(written))
    return path


def about_channels(path: Path) -> list[str]:
    return [line for line in map(str, datalists.check(path).warnings) if line.startswith("[shared_c")]


def test_a_further_channel_of_several_cases_is_noticed(tmp_path: Path) -> None:
    (line,) = about_channels(two_channels(tmp_path, training=[("a1", "a2"), ("b1", "a2")]))
    assert line.startswith("[shared_channels] 1 further channel is in several cases, the first ")
    assert "a2.png: right for an atlas or an earlier scan" in line
    (line,) = about_channels(two_channels(tmp_path, training=[("a1", "a2"), ("a2", "a1"), ("c1", "c2")]))
    assert "2 further channels are in several cases" in line
    assert not about_channels(two_channels(tmp_path, training=[("a1", "a2"), ("b1", "b2")]))


def test_what_two_lists_may_share_is_no_scan(tmp_path: Path) -> None:
    first, second = ("a1", "atlas"), ("b1", "b2")
    path = two_channels(tmp_path, training=[first, second], validation=[("c1", "atlas"), ("d1", "d2")])
    (line,) = about_channels(path)
    assert line.startswith("[shared_channels] the lists 'training' and 'validation' share 1 further channel: right for")
    for held in (("b2", "c2"), ("c1", "b1")):
        path = two_channels(tmp_path, training=[first, second], validation=[held])
        with pytest.raises(DataListError, match="an image is in 'training' and in 'validation'"):
            datalists.check(path)


def test_a_list_that_looks_held_out_is_noticed(tmp_path: Path) -> None:
    lists = {"training": [("a1", "a2"), ("b1", "b2")], "Val": [("c1", "c2")]}
    path = two_channels(tmp_path, **lists)
    (line,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[unused_list]")]
    assert "the list 'Val' is not used in training; one that is held out is named 'validation'" in line
    path = two_channels(tmp_path, **lists, validation=[("d1", "d2")])
    assert not any("[unused_list]" in line for line in map(str, datalists.check(path).warnings))
