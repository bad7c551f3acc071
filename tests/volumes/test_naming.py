"""No name of a folder or an archive's entry that the user did not type reaches a message."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from medattn_core.errors import VolumeError
from medattn_core.volumes import list_series, naming, read
from medattn_core.volumes.dicom.archive import zip_members
from tests.volumes.making import save_mha, save_nifti, voxels

PATIENT = "DOE^JOHN"
INNER = ("Doe^John 1970", "JOHN_DOE")
TRACE = re.compile("doe|john", re.IGNORECASE)

Packed = Callable[[Path], Path]


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.parent / "scan"), "zip", folder))


def zip_in_folder(folder: Path) -> Path:
    place = folder.parent / "outer" / PATIENT
    place.mkdir(parents=True)
    zipped(folder).rename(place / f"{PATIENT}.zip")
    return folder.parent / "outer"


PLAIN = pytest.mark.parametrize("pack", [lambda folder: folder, zipped], ids=["folder", "zip"])
PACKED = pytest.mark.parametrize("pack", [lambda folder: folder, zipped, zip_in_folder], ids=["folder", "zip", "both"])


@pytest.fixture
def export(sample_data: Path, tmp_path: Path) -> Path:
    """A series as a hospital archive exports it: folders named after the patient."""
    folder = tmp_path / "export"
    shutil.copytree(sample_data / "brain1_dicom", folder / INNER[0] / INNER[1])
    return folder


def edit(path: Path, **attributes: object) -> None:
    import pydicom

    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def told(path: Path) -> tuple[str, str]:
    """Code and all that a user sees of reading a path."""
    try:
        volume = read(path)
    except VolumeError as error:
        return error.code, error.message
    assert volume.source == str(path)
    text = " ".join(notice.message for notice in volume.warnings)
    return volume.warnings[0].code, f"{text} {volume!r} {list_series(path)!r}"


def localizer(inner: Path) -> None:
    edit(inner / "IM0003.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def copies(inner: Path) -> None:
    shutil.copy(inner / "IM0003.dcm", inner / "IM0999.dcm")


def contradiction(inner: Path) -> None:
    shutil.copy(inner / "IM0003.dcm", inner / "IM0999.dcm")
    content = bytearray((inner / "IM0999.dcm").read_bytes())
    content[-1000:] = bytes(range(250)) * 4
    (inner / "IM0999.dcm").write_bytes(content)


def cut(inner: Path) -> None:
    (inner / "IM0003.dcm").write_bytes((inner / "IM0003.dcm").read_bytes()[:-5000])


def stray(inner: Path) -> None:
    (inner / "IM0999.dcm").write_text("no DICOM")
    (inner / "DOE.JOHN.dcm").write_text("no DICOM")


def other_size(inner: Path) -> None:
    edit(inner / "IM0003.dcm", Rows=128, Columns=128)


def no_place(inner: Path) -> None:
    edit(inner / "IM0003.dcm", ImagePositionPatient=None)


@PACKED
@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (localizer, "localizer_excluded"),
        (copies, "duplicate_positions"),
        (contradiction, "duplicate_positions"),
        (cut, "truncated_file"),
        (stray, "skipped_files"),
        (other_size, "inconsistent_slices"),
        (no_place, "incomplete_geometry"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_patients_folder_is_in_no_message(
    export: Path, pack: Packed, harm: Callable[[Path], None], code: str
) -> None:
    pytest.importorskip("pydicom")
    inner = export / INNER[0] / INNER[1]
    harm(inner)
    path = pack(export)
    found, text = told(path)
    assert found == code
    assert not TRACE.search(text.replace(str(path.parent), "")), text
    assert "(entry " in text if path.suffix == ".zip" or path.name == "outer" else "file IM0" in text


@PACKED
def test_one_multi_frame_file(export: Path, pack: Packed, sample_data: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    inner = export / INNER[0] / INNER[1]
    first, second = (pydicom.dcmread(inner / name) for name in ("IM0001.dcm", "IM0002.dcm"))
    first.NumberOfFrames, first.PixelData = 2, first.PixelData + second.PixelData
    shutil.rmtree(inner)
    inner.mkdir()
    first.save_as(inner / "IM0001.dcm")
    code, text = told(pack(export))
    assert code == "incomplete_geometry"
    assert not TRACE.search(text)


@PLAIN
def test_one_image_of_another_format(tmp_path: Path, pack: Packed) -> None:
    """Its warnings, and the errors of one that cannot be read."""
    inner = tmp_path / "export" / PATIENT
    inner.mkdir(parents=True)
    save_mha(inner / "scan.mha", voxels(), "ElementSpacing = 1 2 3")
    path = pack(tmp_path / "export")
    volume = read(path)
    np.testing.assert_array_equal(volume.data, voxels())
    assert [notice.code for notice in volume.warnings] == ["no_geometry"]
    assert not TRACE.search(repr(vars(volume)))
    name = f"{path} (entry 2)" if path.suffix == ".zip" else f"{path}: file scan.mha"
    assert volume.warnings[0].message.startswith(f"{name}: ")

    (inner / "scan.mha").write_text("words")
    code, text = told(pack(tmp_path / "export"))
    assert (code, TRACE.search(text)) == ("not_an_image", None)
    save_mha(inner / "scan.mha", voxels(), "ElementSpacing = 1 2 3", where="DOE_JOHN.raw")
    code, text = told(pack(tmp_path / "export"))
    assert (code, TRACE.search(text)) == ("not_found", None)


@PLAIN
def test_several_images(tmp_path: Path, pack: Packed) -> None:
    inner = tmp_path / "export" / PATIENT
    (inner / "second").mkdir(parents=True)
    for name in ("t1.nii", "DOE_T2.nii", "second/t1.nii"):
        save_nifti(inner / name, voxels())
    code, text = told(pack(tmp_path / "export"))
    assert code == "several_images"
    assert not TRACE.search(text)


def test_an_entry_that_leads_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr(f"../{PATIENT}/a.dcm", b"x")
    code, text = told(tmp_path / "scan.zip")
    assert (code, TRACE.search(text)) == ("unsafe_archive", None)


def test_what_the_user_typed_is_shown_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PATIENT).mkdir()
    save_nifti(tmp_path / PATIENT / "a.nii", voxels())
    monkeypatch.chdir(tmp_path)
    for typed in (f"./{PATIENT}/a.nii", f"{PATIENT}//", f"./{PATIENT}"):
        assert read(typed).source == typed


def test_dicom_keeps_the_path_as_typed(sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    monkeypatch.chdir(sample_data)
    assert read("./brain1_dicom/").source == "./brain1_dicom/"


def test_the_archive_is_closed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("a.dcm", b"words")
    with ExitStack() as keep:
        (member,) = zip_members(tmp_path / "scan.zip", "scan.zip", keep)
        with member.open() as file:
            assert file.read() == b"words"
    with pytest.raises(ValueError, match="closed"):
        member.open()


def test_names_inside_a_folder() -> None:
    files = [PurePosixPath(text) for text in ("a.dcm", "x/a.dcm", "x/b.dcm", "ann lee/Lee_1.dcm", "LEE^ANN.dcm")]
    assert naming.inside("in", files) == [
        os.path.join("in", "a.dcm"),
        "in: file a.dcm (number 2)",
        "in: file b.dcm",
        "in: file number 4",
        "in: file number 5",
    ]
    assert naming.entry("a.zip", 17) == "a.zip (entry 17)"
