"""Arguments to inputs: files, wildcards, folders of images and of DICOM."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medattn_core.errors import MedAttnError
from medattn_core.inference.inputs import Expansion, expand

pydicom = pytest.importorskip("pydicom")


def names(arguments: list[str | Path], root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in expand(arguments).inputs]


def dicom(path: Path, *, study: str = "1.2.3", series: str = "1.2.3.4", preamble: bool = True) -> Path:
    """A real, small MR slice."""
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = study, series, "MR"
    data.Rows = data.Columns = 2
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelSpacing, data.ImageOrientationPatient, data.ImagePositionPatient = [1, 1], [1, 0, 0, 0, 1, 0], [0, 0, 0]
    data.PixelData = bytes(range(8))
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    if preamble:
        data.save_as(path, enforce_file_format=True)
    else:
        pydicom.dcmwrite(path, data, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return path


@pytest.fixture
def images(tmp_path: Path, sample_data: Path) -> Path:
    """A folder with two images, one of them deeper and without a telling name, and files that are none."""
    (tmp_path / "deep").mkdir()
    shutil.copy(sample_data / "brain1_label.nrrd", tmp_path / "b.nrrd")
    shutil.copy(sample_data / "brain1_label.nrrd", tmp_path / "deep" / "a.scan")
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"words"))
    (tmp_path / ".hidden.nrrd").write_text("x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.nrrd").write_text("x")
    return tmp_path


def test_a_file_is_one_input_whatever_it_holds(images: Path) -> None:
    given = [images / "README.md", images / "absent.nii", images / "b.nrrd"]
    assert list(expand(given).inputs) == given


def test_a_folder_is_each_image_in_it(images: Path) -> None:
    found = expand([images])
    assert names([images], images) == ["b.nrrd", "deep/a.scan"]
    assert {path.name for path in found.skipped} == {"README.md", "notes.gz"}


def test_bad_images_in_a_folder_stay_inputs(tmp_path: Path) -> None:
    for name in ("empty.nii.gz", "text.PNG", "broken.dcm", "z.zip"):
        (tmp_path / name).write_text("")
    (tmp_path / "gone.mha").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cut").write_bytes(struct.pack("<i", 348) + bytes(40))
    assert names([tmp_path], tmp_path) == ["broken.dcm", "cut", "empty.nii.gz", "gone.mha", "text.PNG", "z.zip"]


def test_wildcards_are_sorted_and_each_input_comes_once(images: Path) -> None:
    shutil.copy(images / "b.nrrd", images / "a.nrrd")
    assert names([str(images / "*.nrrd"), images / "b.nrrd", images / "deep" / ".." / "a.nrrd"], images) == [
        "a.nrrd",
        "b.nrrd",
    ]
    assert names([str(images / "**" / "*.scan")], images) == ["deep/a.scan"]
    assert names([str(images / "*.mha")], images) == ["*.mha"]


def test_results_are_no_inputs(images: Path) -> None:
    """The second run takes what the first took, wherever the results went."""
    first = names([images], images)
    output = images / "out"
    (output / "before").mkdir(parents=True)
    for folder in (output, output / "before"):
        shutil.copy(images / "b.nrrd", folder / "b_evidence.nii.gz")
        (folder / "b_overlay.png").write_bytes(b"\x89PNG")

    def found(argument: str | Path, exclude: str | Path) -> list[str]:
        return [os.path.relpath(path, images) for path in expand([argument], exclude=exclude).inputs]

    assert len(names([images], images)) == len(first) + 4
    assert found(images, output) == first
    assert found(f"{images}/", images / "deep" / ".." / "out") == first
    assert found(str(images / "[bdo]*"), output) == first
    assert found(str(images / "[do]*" / "*"), output) == ["deep/a.scan"]
    assert found(images / "deep", output) == ["deep/a.scan"]
    # A file that is typed is meant.
    assert found(output / "b_evidence.nii.gz", output) == ["out/b_evidence.nii.gz"]
    # Results beside the scans, or above them.
    shutil.rmtree(output)
    (images / "b_evidence.nii.gz").write_bytes(b"")
    assert found(images, images) == first
    assert found(str(images / "b*"), images) == ["b.nrrd"]
    assert found(images / "deep", images) == ["deep/a.scan"]


@pytest.mark.parametrize("table", ["predictions.jsonl", "predictions.json", "predictions.csv"])
def test_results_of_any_earlier_run_are_no_inputs(images: Path, table: str) -> None:
    """They may have gone into another folder than they go to now."""
    first = names([images], images)
    older = images / "deep" / "older"
    older.mkdir()
    for name in ("b_evidence.nii.gz", "b_overlay.png"):
        shutil.copy(images / "b.nrrd", older / name)
    assert len(names([images], images)) == len(first) + 2  # without a table beside them they are images like others
    for name in (table, "b_report.html", "report.html"):
        (older / name).write_text("")
    results = sorted(older / name for name in ("b_evidence.nii.gz", "b_overlay.png", "b_report.html", table,
                                               "report.html"))  # fmt: skip
    for argument in (images, images / "deep", f"{images}/**/*", f"{older}/*"):
        found = expand([argument], exclude=images / "out")
        assert sorted(found.results) == results
        assert not set(results) & {*found.inputs, *found.skipped}
    assert expand([f"{older}/*"], exclude=older) == Expansion(inputs=(), skipped=())
    assert names([images], images) == first
    # Beside DICOM, too, which is read as one.
    for number in range(2):
        dicom(images / "mr" / f"IM{number}")
        dicom(images / "mr" / "inner" / f"IM{number}", series="1.2.3.5")
    shutil.copytree(older, images / "mr" / "inner" / "older")
    found = expand([images / "mr"])
    assert found.inputs == (images / "mr",)
    assert {path.name for path in found.results} == {path.name for path in results}
    # A file that is typed is meant; a folder of nothing else is no patient.
    assert expand([results[0]]).inputs == (results[0],)
    found = expand([older])
    assert (found.inputs, found.results) == ((), tuple(results))
    assert expand([older], exclude=older).inputs == ()


@pytest.mark.parametrize("header", ["scan.mhd", "scan.nhdr", "scan.mha"])
def test_the_voxels_of_a_header_are_part_of_an_image(tmp_path: Path, header: str) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    path = tmp_path / header
    SimpleITK.WriteImage(image, str(path.with_suffix(".mhd" if header.endswith(".mha") else path.suffix)))
    if header.endswith(".mha"):  # named so by hand
        path.with_suffix(".mhd").rename(path)
    (tmp_path / "notes.raw").write_bytes(b"words")
    assert len(list(tmp_path.iterdir())) == 3
    found = expand([tmp_path])
    assert (found.inputs, found.skipped) == ((path,), (tmp_path / "notes.raw",))


def test_a_name_with_brackets_is_a_file(images: Path) -> None:
    path = images / "scan[1].nrrd"
    shutil.copy(images / "b.nrrd", path)
    assert expand([path]).inputs == (path,)


def test_an_empty_folder_stays_an_input(tmp_path: Path) -> None:
    assert expand([tmp_path]).inputs == (tmp_path,)


@pytest.mark.parametrize("preamble", [True, False])
def test_a_folder_of_dicom_is_one_input(tmp_path: Path, preamble: bool) -> None:
    for number in range(3):
        dicom(tmp_path / f"IM{number}", preamble=preamble)
    dicom(tmp_path / "more" / "IM9", series="1.2.3.5")
    (tmp_path / "README.txt").write_text("words")
    assert expand([tmp_path]).inputs == (tmp_path,)


def test_a_dicomdir_makes_one_input(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"")
    dicom(tmp_path / "A" / "IM0")
    dicom(tmp_path / "B" / "IM0", study="9.9")
    assert expand([tmp_path]).inputs == (tmp_path,)


def test_series_of_one_study_are_one_input_and_patients_are_many(tmp_path: Path) -> None:
    for patient, study in (("p1", "1.1"), ("p2", "2.2")):
        dicom(tmp_path / patient / "s1" / "IM0", study=study, series=study + ".1")
        dicom(tmp_path / patient / "s2" / "IM0", study=study, series=study + ".2")
    assert names([tmp_path], tmp_path) == ["p1", "p2"]
    assert names([tmp_path / "p1"], tmp_path) == ["p1"]


def test_dicom_beside_other_images(images: Path) -> None:
    dicom(images / "single.dcm")
    assert names([images], images) == ["b.nrrd", "single.dcm", "deep/a.scan"]
    dicom(images / "another.dcm")
    assert names([images], images) == [".", "b.nrrd", "deep/a.scan"]
    (images / "b.nrrd").unlink()
    dicom(images / "deep" / "third.dcm")  # read with the folder
    assert names([images], images) == [".", "deep/a.scan"]


def test_a_link_to_the_folder_above_ends(images: Path) -> None:
    (images / "deep" / "up").symlink_to(images, target_is_directory=True)
    assert names([images], images) == ["b.nrrd", "deep/a.scan"]


def test_a_circle_of_links_is_an_input_that_fails_alone(tmp_path):
    (tmp_path / "loop.nii.gz").symlink_to(tmp_path / "loop.nii.gz")
    (tmp_path / "scan.nrrd").write_bytes(b"NRRD0004\n")
    long = tmp_path / ("b" * 300 + ".nii.gz")
    found = expand([tmp_path / "loop.nii.gz", tmp_path / "scan.nrrd", long], exclude=tmp_path / "out")
    assert len(found.inputs) == 3
    assert tmp_path / "scan.nrrd" in expand([tmp_path], exclude=tmp_path / "out").inputs


def test_an_empty_argument_is_not_the_current_folder():
    with pytest.raises(MedAttnError) as caught:
        expand([""])
    assert caught.value.code == "bad_argument"


def test_one_examination_below_a_folder_goes_by_the_typed_name(tmp_path, sample_data):
    """The inner folder of an export may name the patient."""
    shutil.copytree(sample_data / "brain1_dicom", tmp_path / "case" / "Smith^John")
    assert expand([tmp_path / "case"]).inputs == (tmp_path / "case",)
