"""Which files and which series: strays, localizers, several series, modality, DICOMDIR, zip archives."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_builder import codes, edit, edit_all, failure, files, message, pixels_of

from medattn_core.errors import VolumeError
from medattn_core.volumes.dicom import list_series, looks_like_dicom, read_dicom


@pytest.fixture
def two_series(series: Path) -> Path:
    """The series, and beside it a CT series of three of its slices."""
    other = series / "unter suchung" / "größe"
    other.mkdir(parents=True)
    for path in files(series)[:3]:
        shutil.copy(path, other)
    edit_all(other, SeriesInstanceUID="1.2.3.4", Modality="CT", SeriesNumber=7, SeriesDescription="Doe^John")
    return series


def test_the_deepest_series_is_read_and_the_others_named(two_series: Path) -> None:
    volume = read_dicom(two_series)
    assert volume.shape[2] == 8
    assert codes(volume) == ["other_series"]
    text = message(volume, "other_series")
    assert "1.2.3.4 (CT, 3 slices)" in text
    assert "Doe" not in text
    assert [(one.modality, one.slices, one.number) for one in list_series(two_series)] == [("MR", 8, 1), ("CT", 3, 7)]


def test_other_studies_may_be_other_patients(two_series: Path) -> None:
    other = two_series / "unter suchung" / "größe"
    edit_all(other, StudyInstanceUID="1.2.9")
    volume = read_dicom(two_series)
    assert codes(volume) == ["other_studies", "other_series"]
    assert "2 studies, maybe of as many patients, and one was read" in message(volume, "other_studies")
    assert codes(read_dicom(two_series, series="1.2.3.4")) == []  # who names a series knows


def test_the_series_asked_for_is_read(two_series: Path) -> None:
    volume = read_dicom(two_series, series="1.2.3.4")
    assert volume.shape[2] == 3
    assert volume.modality == "CT"
    assert codes(volume) == []


def test_the_modality_of_the_task_decides(two_series: Path) -> None:
    assert read_dicom(two_series, modality=("CT",)).shape[2] == 3
    assert read_dicom(two_series, modality=("PT", "MR")).shape[2] == 8


def test_a_series_that_is_not_there(two_series: Path) -> None:
    error = failure(two_series, series="9.9")
    assert error.code == "no_such_series"
    assert "9.9" in error.message
    assert "1.2.3.4 (CT, 3 slices)" in error.message
    assert str(two_series) in error.message


@pytest.mark.parametrize("uid", [None, "1.2.3.4"])
def test_another_modality_is_refused(two_series: Path, uid: str | None) -> None:
    error = failure(two_series, series=uid, modality=("PT",))
    assert error.code == "wrong_modality"
    assert "CT" in error.message
    assert "takes PT" in error.message


def test_a_series_without_modality_passes_with_a_word(series: Path) -> None:
    edit_all(series, Modality="")
    volume = read_dicom(series, modality=("MR",))
    assert codes(volume) == ["unknown_modality"]
    assert codes(read_dicom(series)) == []


def test_localizers_are_left_out(series: Path) -> None:
    right = read_dicom(series)
    for number, path in enumerate(files(series)[:3]):
        shutil.copy(path, series / f"loc{number}.dcm")
        edit(series / f"loc{number}.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume = read_dicom(series)
    assert codes(volume) == ["localizer_excluded"]
    assert "loc1.dcm" in message(volume, "localizer_excluded")
    np.testing.assert_array_equal(volume.data, right.data)


def test_images_in_another_orientation_are_left_out(series: Path) -> None:
    right = read_dicom(series)
    for number, orientation in enumerate(([0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        shutil.copy(files(series)[number], series / f"plane{number}.dcm")
        edit(series / f"plane{number}.dcm", ImageOrientationPatient=orientation)
    volume = read_dicom(series)
    assert codes(volume) == ["localizer_excluded"]
    assert "another orientation" in message(volume, "localizer_excluded")
    np.testing.assert_array_equal(volume.data, right.data)


def test_a_series_of_localizers_alone_can_be_read(series: Path) -> None:
    edit_all(series, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert read_dicom(series).shape[2] == 8


def test_three_plane_localizer_does_not_beat_a_thinner_scan(series: Path) -> None:
    """Nine scout images in three planes, not marked as such, give less depth than eight parallel slices."""
    scout = series / "scout"
    scout.mkdir()
    for number, path in enumerate([*files(series), files(series)[0]]):
        turned = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])[number % 3]
        shutil.copy(path, scout / f"{number}.dcm")
        edit(scout / f"{number}.dcm", SeriesInstanceUID="1.2.3", ImageOrientationPatient=turned)
    volume = read_dicom(series)
    assert volume.series is not None
    assert volume.series.slices == 8


@pytest.mark.parametrize("change", ["size", "spacing"])
def test_slices_of_another_size_or_spacing_are_left_out(series: Path, change: str) -> None:
    for path in files(series)[6:]:
        if change == "spacing":
            edit(path, PixelSpacing=[0.5, 0.5])
        else:
            edit(path, lambda d: d.__setattr__("PixelData", d.PixelData[: d.Columns * 40 * 2]), Rows=40)
    volume = read_dicom(series)
    assert codes(volume) == ["inconsistent_slices"]
    text = message(volume, "inconsistent_slices")
    assert "48 x 64 at 0.7812 x 0.7812 mm" in text
    assert "IM0015.dcm" in text
    assert volume.shape == (64, 48, 6)


def test_files_without_sop_class_are_read(series: Path) -> None:
    right = read_dicom(series)
    for path in files(series)[:5]:
        edit(path, SOPClassUID=None)
    volume = read_dicom(series)
    assert codes(volume) == ["no_sop_class"]
    assert "5 files" in message(volume, "no_sop_class")
    np.testing.assert_array_equal(volume.data, right.data)


def test_files_without_preamble_are_read(series: Path) -> None:
    right = read_dicom(series)
    import pydicom

    for path in files(series):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_dicom(series).data, right.data)


def test_strays_are_passed_over_in_silence(series: Path) -> None:
    right = read_dicom(series)
    (series / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(500))
    (series / "readme.txt").write_text("notes")
    (series / "empty.txt").write_bytes(b"")
    (series / ".DS_Store").write_bytes(bytes(6148))
    (series / "report.pdf").write_bytes(b"%PDF-1.4 ...")
    volume = read_dicom(series)
    assert codes(volume) == []
    np.testing.assert_array_equal(volume.data, right.data)


def test_broken_files_that_claim_to_be_dicom_are_named(series: Path) -> None:
    (series / "broken.bin").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + b"\xff" * 30)
    (series / "void.dcm").write_bytes(b"")
    volume = read_dicom(series)
    assert codes(volume) == ["skipped_files"]
    text = message(volume, "skipped_files")
    assert "broken.bin" in text
    assert "void.dcm" in text


def test_a_dicomdir_leads_to_its_files(pydicom_files: Path) -> None:
    volume = read_dicom(pydicom_files / "dicomdirtests" / "DICOMDIR", modality=("CT",))
    assert volume.shape == (16, 16, 5)
    assert codes(volume) == ["dicomdir", "other_studies", "other_series"]
    assert "13 series" in message(volume, "other_series")
    assert str(pydicom_files / "dicomdirtests" / "DICOMDIR") in message(volume, "dicomdir")


def test_a_dicomdir_with_missing_files_and_other_letter_case(pydicom_files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "disc"
    for number in ("17136", "17166", "17196"):
        target = copy / "77654033" / "ct2" / number
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pydicom_files / "dicomdirtests" / "77654033" / "CT2" / number, target)
    shutil.copy(pydicom_files / "dicomdirtests" / "DICOMDIR", copy / "dicomdir")
    volume = read_dicom(copy / "dicomdir")
    assert volume.shape[2] == 3
    assert "28 of the 31 files it lists are not there" in message(volume, "dicomdir")


def test_a_dicomdir_whose_files_are_elsewhere_falls_back_on_its_folder(series: Path, pydicom_files: Path) -> None:
    shutil.copy(pydicom_files / "dicomdirtests" / "DICOMDIR", series)
    volume = read_dicom(series / "DICOMDIR")
    assert volume.shape[2] == 8
    assert "was searched instead" in message(volume, "dicomdir")
    assert codes(read_dicom(series)) == []  # in the folder it needs no word


def test_a_zip_archive_reads_like_its_folder(series: Path, tmp_path: Path) -> None:
    right = read_dicom(series)
    archive = Path(shutil.make_archive(str(tmp_path / "scän"), "zip", series))
    assert looks_like_dicom(archive)
    volume = read_dicom(archive)
    np.testing.assert_array_equal(volume.data, right.data)
    np.testing.assert_array_equal(volume.affine, right.affine)
    assert volume.source == str(archive)
    folder = tmp_path / "holds a zip"
    folder.mkdir()
    shutil.copy(archive, folder)
    assert read_dicom(folder).shape == right.shape


def _zip(path: Path, names: list[str], data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


def test_archives_that_lead_out_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "C:/evil.dcm")):
        path = _zip(tmp_path / f"{number}.zip", ["fine.dcm", name])
        error = failure(path)
        assert error.code == "unsafe_archive"
        assert str(path) in error.message
        assert "(entry 2)" in error.message
        assert "evil.dcm" not in error.message  # entries may be named after patients


def test_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.dcm")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/hostname")
    assert failure(path).code == "unsafe_archive"


def test_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "locked.zip", ["a.dcm"])
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    error = failure(path)
    assert error.code == "unsafe_archive"
    assert "encrypted" in error.message


def test_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb.zip", ["a.dcm"], bytes(100 * 2**20))
    assert path.stat().st_size < 2**18
    error = failure(path)
    assert error.code == "unsafe_archive"
    assert "100 MiB" in error.message


def test_cut_archive_and_damaged_entry(series: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "scan"), "zip", series))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    assert failure(archive).code == "corrupt_file"
    stored = tmp_path / "stored.zip"
    with zipfile.ZipFile(stored, "w") as out:
        for path in files(series):
            out.write(path, path.name)
    damaged = bytearray(stored.read_bytes())
    marker = pixels_of(files(series)[2]).T.tobytes()[:200]
    damaged[damaged.index(marker) + 100] ^= 0xFF
    stored.write_bytes(damaged)
    error = failure(stored)
    assert error.code == "corrupt_file"
    assert "stored.zip (entry 3)" in error.message


def test_nothing_to_read(tmp_path: Path) -> None:
    assert failure(tmp_path).code == "no_images"
    (tmp_path / "notes.txt").write_text("no scan")
    error = failure(tmp_path)
    assert error.code == "no_images"
    assert str(tmp_path) in error.message
    assert failure(tmp_path / "absent").code == "not_found"
    with pytest.raises(VolumeError, match=r"notes\.txt") as caught:
        read_dicom(tmp_path / "notes.txt")
    assert caught.value.code == "not_an_image"
