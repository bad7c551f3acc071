"""A picture as the mask of a scan that says how it lies: as the slice is shown, not as it is stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medattn_core.errors import PredictionError
from medattn_core.inference import Predictor
from medattn_core.inference.masks import native_mask
from medattn_core.outputs.planes import planes_through
from medattn_core.volumes import Volume, read
from tests.strategies import AXIS_CODES

image = pytest.importorskip("PIL.Image")


def shown(volume: Volume, data: np.ndarray) -> np.ndarray:
    """The one slice as pages and overlays show it, ``(rows, columns)``."""
    (plane,) = planes_through(volume, data.astype(np.float32), None)
    return plane.density


def corner(shape: tuple[int, int, int]) -> np.ndarray:
    """A region that no turn, mirror or exchange of axes leaves where it is."""
    inside = np.zeros(shape, bool)
    inside[tuple(slice(0, max(1, n // (3 + 2 * axis))) for axis, n in enumerate(shape))] = True
    return inside


def save(path: Path, pixels: np.ndarray) -> Path:
    image.fromarray(pixels.astype(np.uint8) * 255).save(path)
    return path


@pytest.mark.parametrize("size", [(24, 24), (30, 20)])
@pytest.mark.parametrize("thin", [0, 1, 2])
def test_a_mask_drawn_on_the_picture_of_a_slice_fits(size, thin, tmp_path):
    shape = [*size]
    shape.insert(thin, 1)
    for code, (permutation, signs) in enumerate(AXIS_CODES):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, list(permutation)] * np.array(signs)
        scan = Volume(data=np.zeros(shape, np.int16), affine=affine)
        drawn = corner(scan.shape)
        path = save(tmp_path / f"{code}.png", shown(scan, drawn))
        for mask in (path, read(path)):
            inside, (notice,) = native_mask(mask, scan)
            np.testing.assert_array_equal(inside, drawn)
            assert notice.code == "no_geometry"
            assert notice.message == (
                f"mask: {path.name}: a picture states no place; it lies on the slice as that is shown in the overlay"
            )


def test_a_picture_is_asked_as_the_array_it_was_drawn_from(predictor: Predictor, sample_data, tmp_path):
    """Of a slice stored from right to left, front to back; and a JPEG does as well."""
    whole = read(sample_data / "brain1_image.nrrd")
    tumour = read(sample_data / "brain1_label.nrrd").data > 0
    k = int(np.argmax(tumour.sum(axis=(0, 1))))
    data = whole.data[::-1, ::-1, k : k + 1].astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1, 5, 1])), tmp_path / "s.nii")
    drawn = tumour[::-1, ::-1, k : k + 1]
    said = predictor(tmp_path / "s.nii")
    pixels = shown(said.volume, drawn)
    image.fromarray(pixels.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=95)
    for path in (save(tmp_path / "m.png", pixels), tmp_path / "m.jpg"):
        np.testing.assert_allclose(said.without(path).logits, said.without(drawn).logits)
        asked = predictor(tmp_path / "s.nii", mask=path)
        np.testing.assert_allclose(asked.logits, predictor(tmp_path / "s.nii", mask=drawn).logits)
        assert any(notice.code == "no_geometry" and path.name in notice.message for notice in asked.warnings)
    mirrored = drawn[::-1, ::-1]
    assert not np.allclose(said.without(mirrored).logits, said.without(drawn).logits)


def test_a_picture_lies_on_a_picture_pixel_by_pixel(tmp_path):
    drawn = corner((30, 20, 1))
    mask = save(tmp_path / "mask.png", drawn[..., 0].T)
    grey = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    image.fromarray(grey).save(tmp_path / "scan.png")
    flat = Volume(data=grey.T[..., None], affine=np.eye(4), spatial_dims=2)
    unknown = Volume(data=grey.T[..., None], affine=np.eye(4), spacing_known=False)
    for scan in (read(tmp_path / "scan.png"), flat, unknown):
        inside, notices = native_mask(mask, scan)
        np.testing.assert_array_equal(inside, drawn)
        assert notices == ()


@pytest.mark.parametrize(
    ("shape", "pixels", "said"),
    [
        ((30, 20, 4), (20, 30), r"the scan \(30, 20, 4\), and without pixel size"),
        ((30, 20, 1), (30, 20), r"the scan \(30, 20, 1\) as it is shown, and without pixel size"),
        ((30, 20, 1), (40, 60), r"the scan \(30, 20, 1\) as it is shown, and without pixel size"),
        ((1, 30, 20), (30, 20), r"the scan \(30, 20, 1\) as it is shown, and without pixel size"),
    ],
)
def test_a_picture_of_another_size_or_of_several_slices_is_refused(shape, pixels, said, tmp_path):
    path = save(tmp_path / "m.png", np.ones(pixels, bool))
    with pytest.raises(PredictionError, match=said) as caught:
        native_mask(path, Volume(data=np.zeros(shape, np.int16), affine=np.eye(4)))
    assert caught.value.code == "bad_mask"
    assert str(path) in caught.value.message


def test_a_dicom_picture_without_a_place_lies_as_a_picture(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    scan = Volume(data=np.zeros((30, 20, 1), np.int16), affine=np.diag([1.0, 1.0, 5.0, 1.0]))
    drawn = corner(scan.shape)
    pixels = shown(scan, drawn).astype(np.uint8)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta, dataset.SOPClassUID = meta, meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.SeriesInstanceUID = dataset.StudyInstanceUID = pydicom.uid.generate_uid()
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelSpacing = [1, 1]
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "m.dcm", enforce_file_format=True)
    inside, notices = native_mask(tmp_path / "m.dcm", scan)
    np.testing.assert_array_equal(inside, drawn)
    assert "as that is shown in the overlay" in notices[-1].message
