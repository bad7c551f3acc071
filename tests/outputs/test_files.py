"""Names that every file system takes, each once; files whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from medattn_core.errors import VolumeError
from medattn_core.outputs import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "a.json", "old")

    def fail() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_unwritable_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(VolumeError, match="file") as caught:
        files.make_folder(tmp_path / "file")
    assert caught.value.code == "unwritable"
    with pytest.raises(VolumeError, match="gone") as caught:
        files.write_text(tmp_path / "gone" / "a.json", "x")
    assert caught.value.code == "unwritable"


def test_names_that_are_not_utf8_leave_the_tables_readable(tmp_path):
    path = files.write_text(tmp_path / "table.csv", "caf\udce9,1")
    assert path.read_text(encoding="utf-8") == "caf\\udce9,1"


@pytest.mark.parametrize(
    ("text", "sources", "shown"),
    [
        ("arch/DOE^JOHN/t1.nii: cropped", ["arch/DOE^JOHN/t1.nii"], "t1.nii: cropped"),
        ("/data/DOE JOHN/t1.nii: cropped", ["/data/DOE JOHN/t1.nii"], "t1.nii: cropped"),
        ("a/P/t1/x.nii and a/P/flair/y.nii", ["a/P/t1/x.nii"], "x.nii and flair/y.nii"),
        ("a/P/dicom/IM1.dcm is no image", ["a/P/dicom"], "dicom/IM1.dcm is no image"),
        ("a/P/x.nii: cut", ["./a/P/x.nii"], "x.nii: cut"),
        ("./a/P/x.nii: cut", ["./a/P/x.nii"], "x.nii: cut"),
        ("a/P/x.nii: cut", ["a/P//x.nii"], "x.nii: cut"),
        ("'a/P/x.nii' (a/P/y.nii)", ["a/P/x.nii"], "'x.nii' (y.nii)"),
        ("b/a/P/x.nii is another", ["a/P/x.nii"], "b/a/P/x.nii is another"),
        ("arch/DOE^JOHN/IM1.dcm is no image", ["arch/DOE^JOHN"], "image/IM1.dcm is no image"),
        ("DOE^JOHN.nii: cut", ["DOE^JOHN.nii"], "image.nii: cut"),
        (
            "1/2 of x.nii; it is 3 m/s. ../y",
            ["x.nii", "../x.nii", "/x.nii", ".", "", "/"],
            "1/2 of x.nii; it is 3 m/s. ../y",
        ),
    ],
)
def test_a_page_shows_no_folder_of_an_input(text: str, sources: list[str], shown: str) -> None:
    assert files.without_folders(text, sources) == shown
