"""Names of files and titles from paths: taken by every file system, and naming no patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medattn_core.volumes import filenames


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("sample_data/brain1_image.nrrd", "brain1_image"),
        ("a/b/scan.nii.gz", "scan"),
        ("SCAN.NII.GZ", "SCAN"),
        ("scan.v2.mha", "scan.v2"),
        ("dicom/series 3/", "series_3"),
        ("1.2.840.113.4", "1.2.840.113.4"),
        ("study.zip", "study"),
        ("im.dcm", "im"),
        ("a/.nii", "nii"),
        ("../../etc/passwd", "passwd"),
        ("<b>x</b>.png", "b"),
        ("con.nii", "con_"),
        ("CON.2.nii", "CON.2_"),
        ("", "image"),
        ("arch/DOE^JOHN", "image"),
        ("arch/DOE^JOHN.nii.gz", "image"),
        ("???.jpg", "image"),
        ("-rf.nii", "rf"),
        ("Ge\N{LATIN SMALL LETTER U WITH DIAERESIS}bt.nii", "Ge\N{LATIN SMALL LETTER U WITH DIAERESIS}bt"),
        ("Geu\N{COMBINING DIAERESIS}bt.nii", "Ge\N{LATIN SMALL LETTER U WITH DIAERESIS}bt"),
    ],
)
def test_name_of(source: str, name: str) -> None:
    assert filenames.name_of(source) == name


def test_the_folder_here_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "series 9"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert filenames.name_of(".") == "series_9"


@given(st.text(max_size=300))
def test_any_text_makes_a_usable_name(text: str) -> None:
    name = filenames.clean_name(text)
    assert name
    assert len(name.encode()) <= 121
    assert name[0] not in ".-"
    assert not set(name) & set('/\\:*?"<>|\0\n\t ')


def test_equal_names_are_told_apart_whatever_their_case() -> None:
    names = filenames.UniqueNames()
    given_names = [names.take(name) for name in ("scan", "Scan", "scan_2", "scan", "other")]
    assert given_names == ["scan", "Scan_2", "scan_2_2", "scan_3", "other"]
    assert len({name.casefold() for name in given_names}) == 5


def test_ten_thousand_scans_of_one_name_are_not_searched_each_time(monkeypatch) -> None:
    asked = 0
    folded = filenames._folded

    def counting(name):
        nonlocal asked
        asked += 1
        return folded(name)

    monkeypatch.setattr(filenames, "_folded", counting)
    names = filenames.UniqueNames()
    taken = [names.take(name) for name in ("t1", "T1", "t1_2", "t1_3", "t1")]
    assert taken == ["t1", "T1_2", "t1_2_2", "t1_3", "t1_4"]
    taken = [names.take("scan") for _ in range(1000)]
    assert taken[-1] == "scan_1000"
    assert len(set(taken)) == 1000
    assert asked < 10_000  # it was half a million


def test_no_number_makes_a_name_that_will_be_asked_for() -> None:
    wanted = ["scan", "scan", "scan_2", "SCAN", "scan_2"]
    names = filenames.UniqueNames(wanted)
    assert [names.take(name) for name in wanted] == ["scan", "scan_3", "scan_2", "SCAN_4", "scan_2_2"]
