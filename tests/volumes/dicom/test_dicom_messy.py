"""Real, messy data: GE head with gantry tilt and irregular gaps, Philips scouts and secondary captures, oblique MR."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_builder import codes, failure, message, world_value

from medattn_core.volumes import geometry
from medattn_core.volumes.dicom import list_series, read_dicom

PHILIPS_SCOUT = "1.3.46.670589.33.1.17491953482334658115.21841165151607525240"
PHILIPS_REPORT = "1.3.46.670589.33.1.22100348011750129999.30936184503286111321"


@pytest.fixture(scope="module")
def messy(shared_data: Path) -> Path:
    return shared_data / "messy_ct_dicom" / "dcm_qa_ct_subset.zip"


@pytest.fixture(scope="module")
def unpacked(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messy")
    with zipfile.ZipFile(messy) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def remind(shared_data: Path) -> Path:
    return shared_data / "remind_dicom_seg" / "remind022_T1post_SEG.zip"


def test_ge_head_keeps_every_voxel_in_place(messy: Path, unpacked: Path) -> None:
    volume = read_dicom(messy)
    assert codes(volume) == ["other_studies", "other_series", "irregular_gaps", "gantry_tilt"]
    assert "from 1.081 to 6.999 mm" in message(volume, "irregular_gaps")
    assert "18.5 degrees" in message(volume, "gantry_tilt")
    text = message(volume, "other_series")
    assert f"{PHILIPS_SCOUT} (CT, 1 slice)" in text
    assert f"{PHILIPS_REPORT} (CT, 6 slices)" in text
    assert volume.shape == (512, 512, 37)
    assert geometry.shear_degrees(volume.affine) == pytest.approx(18.5, abs=0.05)
    # The first 14 slices lie on the grid and must be untouched; the others lie between two grid slices.
    for number in (1, 7, 14):
        source = pydicom.dcmread(unpacked / "In" / "GE" / f"{number:02d}.dcm")
        np.testing.assert_array_equal(volume.data[:, :, number - 1], source.pixel_array.T * 1 + 0)
        position = np.array(source.ImagePositionPatient, dtype=float) * [-1, -1, 1]
        np.testing.assert_allclose(geometry.to_world(volume.affine, np.array([0, 0, number - 1])), position, atol=0.02)
    last = pydicom.dcmread(unpacked / "In" / "GE" / "28.dcm")
    end = geometry.to_index(volume.affine, np.array(last.ImagePositionPatient, dtype=float) * [-1, -1, 1])
    np.testing.assert_allclose(end[:2], 0, atol=0.02)
    assert abs(end[2] - 36) <= 0.5


def test_the_regular_half_of_the_head_is_taken_as_it_is(unpacked: Path, tmp_path: Path) -> None:
    for number in range(15, 29):
        name = f"{number:02d}.dcm"
        (tmp_path / name).write_bytes((unpacked / "In" / "GE" / name).read_bytes())
    volume = read_dicom(tmp_path)
    assert codes(volume) == ["gantry_tilt"]
    assert volume.spacing[2] == pytest.approx(7.38, abs=1e-4)
    source = pydicom.dcmread(unpacked / "In" / "GE" / "20.dcm")
    column, row = 250, 300
    x, y = np.array(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
    lps = np.array(source.ImagePositionPatient, dtype=float) + 0.4882812 * (column * x + row * y)
    assert world_value(volume, lps * [-1, -1, 1]) == source.pixel_array[row, column]


def test_folder_zip_and_dicomdir_give_the_same(messy: Path, unpacked: Path) -> None:
    archive, folder, directory = read_dicom(messy), read_dicom(unpacked), read_dicom(unpacked / "DICOMDIR")
    for other in (folder, directory):
        np.testing.assert_array_equal(archive.data, other.data)
        np.testing.assert_array_equal(archive.affine, other.affine)
    assert codes(folder) == codes(archive)
    assert codes(directory) == ["dicomdir", *codes(archive)]
    assert "none of the 433 files" in message(directory, "dicomdir")


def test_the_scout_and_the_report_can_be_asked_for(messy: Path) -> None:
    assert [series.slices for series in list_series(messy)] == [28, 6, 1]
    scout = read_dicom(messy, series=PHILIPS_SCOUT)
    assert scout.shape == (512, 256, 1)
    assert codes(scout) == ["one_slice"]
    report = read_dicom(messy, series=PHILIPS_REPORT)
    assert set(codes(report)) == {"skipped_files", "duplicate_positions", "one_slice"}
    assert "colour images in the series were left out: 3" in message(report, "skipped_files")


def test_oblique_mr_beside_a_segmentation(remind: Path, tmp_path: Path) -> None:
    volume = read_dicom(remind, modality=("MR",))
    assert volume.shape == (248, 256, 176)
    assert codes(volume) == []
    assert volume.data.dtype == np.int16
    with zipfile.ZipFile(remind) as archive:
        archive.extractall(tmp_path)
    error = failure(tmp_path / "Tumor_segmentation.dcm")
    assert error.code == "unsupported_dicom"
    assert "Segmentation" in error.message
    folder = tmp_path / "3DAXT1postcontrast_MRI"
    theirs = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    rng = np.random.default_rng(0)
    for index in rng.integers(0, volume.shape, (200, 3)):
        lps = geometry.to_world(volume.affine, index) * [-1, -1, 1]
        there = theirs.TransformPhysicalPointToContinuousIndex(lps.tolist())
        np.testing.assert_allclose(there, np.rint(there), atol=0.02)
        assert theirs[[round(value) for value in there]] == volume.data[tuple(index)]
