"""What of a mask counts: no NaN, no noise of a JPEG, and nothing in between without a word."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medattn_core.errors import PredictionError, VolumeError
from medattn_core.inference.masks import native_mask
from medattn_core.volumes import Volume, read

SHAPE = (40, 32, 6)


@pytest.fixture
def scan() -> Volume:
    data = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
    return Volume(data=data, affine=np.diag([2.0, 2.0, 5.0, 1.0]))


@pytest.fixture
def box() -> np.ndarray:
    inside = np.zeros(SHAPE, bool)
    inside[10:20, 8:20, 2:4] = True
    return inside


def write(path: Path, data: np.ndarray, scan: Volume, slope: float | None = None) -> Path:
    image = nib.Nifti1Image(data, scan.affine)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_no_mask(scan, box, value, tmp_path):
    data = box.astype(np.float32)
    data[0, 0, 0] = value
    path = write(tmp_path / "m.nii.gz", data, scan)
    for mask in (data, Volume(data=data, affine=scan.affine, source="m.nii.gz"), path):
        with pytest.raises(PredictionError, match="NaN or infinite") as caught:
            native_mask(mask, scan)
        assert caught.value.code == "bad_mask"
    assert str(path) in caught.value.message


def test_a_mask_with_nothing_but_nan_around_it_is_told_what_masks_are(scan, box, tmp_path):
    """More of it than a reader replaces: the error is one of a mask, not of a scan that was computed badly."""
    path = write(tmp_path / "m.nii.gz", np.where(box, 1, np.nan).astype(np.float32), scan)
    with pytest.raises(PredictionError, match="a mask has 0 outside") as caught:
        native_mask(path, scan)
    assert caught.value.code == "bad_mask"
    assert str(path) in caught.value.message


@pytest.mark.parametrize("dtype", [complex, object, "U1"])
def test_kinds_of_voxels_that_are_no_mask(scan, box, dtype):
    with pytest.raises(PredictionError, match="plain numbers") as caught:
        native_mask(box.astype(int).astype(dtype), scan)
    assert caught.value.code == "bad_mask"


def test_a_soft_mask_counts_wherever_it_is_not_zero_and_says_so(scan, box, tmp_path):
    soft = np.where(box, 1.0, 0.0).astype(np.float32)
    soft[9, 8:20, 2:4] = 0.25
    folder = tmp_path / "DOE^JOHN"
    folder.mkdir()
    for mask in (soft, Volume(data=soft, affine=scan.affine), write(folder / "m.nii.gz", soft, scan)):
        inside, (notice,) = native_mask(mask, scan)
        np.testing.assert_array_equal(inside, soft > 0)
        assert notice.code == "soft_mask"
        assert "24 of the 264 voxels" in notice.message
        assert "0.25" in notice.message
    assert notice.message.startswith("m.nii.gz:")  # a folder may name a patient


def test_a_sharp_soft_mask_that_is_nowhere_zero_says_so(scan, box):
    """A sigmoid leaves little but not nothing outside, and nearly one inside: no voxel is far from a whole number."""
    sharp = (1 / (1 + np.exp(np.where(box, -9.0, 9.0)))).astype(np.float32)
    inside, (notice,) = native_mask(sharp, scan)
    assert inside.all()
    assert notice.code == "soft_mask"
    assert f"{(~box).sum()} of the {box.size} voxels" in notice.message


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_is_below_zero_is_outside_and_said(scan, box, dtype):
    inside, (notice,) = native_mask(np.where(box, 1, -1).astype(dtype), scan)
    np.testing.assert_array_equal(inside, box)
    assert notice.code == "soft_mask"
    assert f"{(~box).sum()} voxels are below zero" in notice.message
    with pytest.raises(PredictionError, match="no voxel of it above zero") as caught:
        native_mask(np.where(box, -1, 0).astype(dtype), scan)
    assert caught.value.code == "empty_mask"


def test_what_a_reader_noticed_is_said_without_folders(scan, box, tmp_path):
    folder = tmp_path / "DOE^JOHN"
    folder.mkdir()
    path = write(folder / "m.nii.gz", box.astype(np.uint8)[..., None], scan)
    _, (notice,) = native_mask(path, scan)
    assert notice.code == "singleton_dimensions"
    assert notice.message.startswith("mask: m.nii.gz: read as 3D")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_no_fractions_however_they_are_stored(scan, box, dtype, tmp_path):
    labels = box.astype(np.float64) * np.arange(1, 7)
    inside, notices = native_mask(labels.astype(dtype), scan)
    np.testing.assert_array_equal(inside, box)
    assert notices == ()
    # A slope of float32 leaves 2.99999993 of a 3 in int32.
    path = write(tmp_path / "m.nii.gz", np.rint(labels * 100).astype(np.int32), scan, slope=0.01)
    stored = read(path).data
    assert (stored != np.rint(stored)).any()
    inside, notices = native_mask(path, scan)
    np.testing.assert_array_equal(inside, box)
    assert notices == ()


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_the_noise_of_a_jpeg_is_no_mask(quality, tmp_path):
    image = pytest.importorskip("PIL.Image")
    drawn = np.zeros((96, 80), np.uint8)
    drawn[30:50, 20:60] = 255
    drawn[60:70, 30:37] = 255
    picture = Volume(
        data=np.random.default_rng(0).integers(0, 255, (80, 96, 1)).astype(np.uint8), affine=np.eye(4),
        spatial_dims=2, spacing_known=False,
    )  # fmt: skip
    image.fromarray(drawn).save(tmp_path / "m.jpg", quality=quality)
    stored = np.asarray(image.open(tmp_path / "m.jpg"))
    assert (stored != 0).sum() > (drawn != 0).sum()
    inside, notices = native_mask(tmp_path / "m.jpg", picture)
    np.testing.assert_array_equal(inside[..., 0].T, drawn != 0)
    (notice,) = (notice for notice in notices if notice.code == "soft_mask")
    assert "the noise of a JPEG, or a region in a darker grey; save masks as PNG" in notice.message
    assert f"{(stored != 0).sum() - (drawn != 0).sum()} pixels" in notice.message
    image.fromarray(drawn).save(tmp_path / "m.png")
    inside, notices = native_mask(tmp_path / "m.png", picture)
    np.testing.assert_array_equal(inside[..., 0].T, drawn != 0)
    assert not [notice for notice in notices if notice.code == "soft_mask"]


def test_a_dicom_segmentation_is_told_what_masks_are(scan, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SegmentationStorage
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta, dataset.SOPClassUID = meta, meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.SeriesInstanceUID = pydicom.uid.generate_uid()
    dataset.Modality = "SEG"
    folder = tmp_path / "seg"
    folder.mkdir()
    dataset.save_as(folder / "seg.dcm", enforce_file_format=True)
    for mask in (folder / "seg.dcm", folder):
        with pytest.raises(VolumeError, match="masks are NIfTI, NRRD, MetaImage or PNG") as caught:
            native_mask(mask, scan)
        assert caught.value.code == "unsupported_dicom"
