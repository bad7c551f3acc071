"""The shipped DICOM sample equals the NRRD it was made from, and is made the same way each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

from medattn_core.volumes import geometry
from medattn_core.volumes.dicom import list_series, looks_like_dicom, read_dicom, write_dicom_series


def test_the_series_equals_the_nrrd_voxel_by_voxel_in_the_world(sample_data: Path) -> None:
    image = SimpleITK.ReadImage(sample_data / "brain1_image.nrrd")
    volume = read_dicom(sample_data / "brain1_dicom")
    assert volume.shape == image.GetSize()
    assert volume.data.dtype == np.int16
    assert volume.warnings == ()
    assert volume.modality == "MR"
    assert volume.spacing_known
    assert volume.series is not None
    assert volume.series.slices == 25
    corners = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 24], [255, 255, 24], [10, 20, 5]], dtype=float)
    for index, world in zip(corners, geometry.to_world(volume.affine, corners), strict=True):
        lps = world * [-1, -1, 1]
        there = image.TransformPhysicalPointToIndex(lps.tolist())
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(there), lps, atol=1e-4)
        assert image[there] == volume.data[tuple(index.astype(int))]
    # All voxels: slices run the other way, nothing else differs.
    np.testing.assert_array_equal(volume.data[:, :, ::-1], SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))


def test_making_it_again_gives_the_same_bytes(sample_data: Path, tmp_path: Path) -> None:
    for name in ("make_dicom.py", "brain1_image.nrrd"):
        (tmp_path / name).write_bytes((sample_data / name).read_bytes())
    subprocess.run([sys.executable, tmp_path / "make_dicom.py"], check=True, cwd=sample_data.parent, env=_environment())
    names = sorted(path.name for path in (sample_data / "brain1_dicom").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "brain1_dicom").iterdir())
    for name in names:
        assert (tmp_path / "brain1_dicom" / name).read_bytes() == (sample_data / "brain1_dicom" / name).read_bytes(), (
            name
        )


def _environment() -> dict[str, str]:
    import os

    root = str(Path(__file__).resolve().parents[3])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_it_names_an_invented_patient_and_says_what_it_is(sample_data: Path) -> None:
    for path in (sample_data / "brain1_dicom").iterdir():
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName) == "Invented^Patient"
        assert dataset.PatientID == "MEDATTN-0001"
        assert "public test volume" in dataset.SeriesDescription
        assert dataset.file_meta.ImplementationVersionName == "MEDATTN"


def test_nothing_of_the_patient_leaves_the_reader(sample_data: Path) -> None:
    volume = read_dicom(sample_data / "brain1_dicom")
    assert "Invented" not in repr(vars(volume))
    assert "MEDATTN-0001" not in repr(vars(volume))


def test_simpleitk_reads_what_is_written_to_the_same_place(sample_data: Path) -> None:
    folder = sample_data / "brain1_dicom"
    theirs = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    ours = read_dicom(folder)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(theirs).transpose(2, 1, 0), ours.data)
    last = np.array(ours.shape) - 1.0
    expected = np.array(theirs.TransformContinuousIndexToPhysicalPoint(last.tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(geometry.to_world(ours.affine, last), expected, atol=1e-3)


def test_reading_256_slices_is_quick(sample_data: Path, tmp_path: Path) -> None:
    import time

    from medattn_core.volumes import Volume

    rng = np.random.default_rng(0)
    data = rng.integers(0, 2000, (256, 256, 256)).astype(np.int16)
    folder = write_dicom_series(Volume(data=data, affine=np.eye(4)), tmp_path / "big")[0].parent
    times = []
    for _ in range(3):
        start = time.perf_counter()
        volume = read_dicom(folder)
        times.append(time.perf_counter() - start)
    # 0.25 s on an idle two-core machine; the bound leaves room for a busy one.
    assert min(times) < 1.0
    assert geometry.to_world(volume.affine, np.array([255, 0, 7])) @ [1, 0, 0] in (0.0, 255.0)


def test_list_series_and_recognition(sample_data: Path, tmp_path: Path) -> None:
    (one,) = list_series(sample_data / "brain1_dicom")
    assert (one.modality, one.number, one.slices) == ("MR", 1, 25)
    assert one.series_instance_uid.startswith("2.25.")
    assert looks_like_dicom(sample_data / "brain1_dicom")
    assert looks_like_dicom(sample_data / "brain1_dicom" / "IM0001.dcm")
    assert not looks_like_dicom(sample_data / "brain1_image.nrrd")
    assert not looks_like_dicom(tmp_path)
    assert not looks_like_dicom(tmp_path / "absent")
