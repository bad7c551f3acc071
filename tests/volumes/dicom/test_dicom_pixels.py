"""Stored values to voxels: rescale, signs, unused bits, MONOCHROME1, byte orders, compression, multi-frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_builder import codes, edit, edit_all, failure, files, message, multi_frame, pixels_of, world_value
from pydicom.dataset import Dataset

from medattn_core.volumes.dicom import read_dicom


def test_whole_rescale_stays_int16(series: Path) -> None:
    edit_all(series, RescaleSlope="1", RescaleIntercept="-1024")
    volume = read_dicom(series)
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data[:, :, 7], pixels_of(files(series)[0]) - 1024)


def test_rescale_differs_slice_by_slice(series: Path) -> None:
    for number, path in enumerate(files(series)):
        edit(path, RescaleSlope=str(0.5 + number), RescaleIntercept=str(-number))
    volume = read_dicom(series)
    assert volume.data.dtype == np.float32
    for number, path in enumerate(files(series)):
        np.testing.assert_allclose(volume.data[:, :, 7 - number], pixels_of(path) * (0.5 + number) - number, rtol=1e-6)


def test_whole_rescale_that_does_not_fit_becomes_float(series: Path) -> None:
    edit_all(series, RescaleSlope="1", RescaleIntercept="40000")
    volume = read_dicom(series)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data[:, :, 7], pixels_of(files(series)[0]).astype(int) + 40000)


def test_real_world_values_stand_in_for_a_missing_rescale(series: Path) -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.25, 3.0
    edit_all(series, RealWorldValueMappingSequence=[mapping])
    volume = read_dicom(series)
    np.testing.assert_allclose(volume.data[:, :, 7], pixels_of(files(series)[0]) * 0.25 + 3)
    edit_all(series, RescaleSlope="1", RescaleIntercept="5")
    np.testing.assert_array_equal(read_dicom(series).data[:, :, 7], pixels_of(files(series)[0]) + 5)


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 65535, 40000], np.uint16), ([0, 32767, 5], np.int16)], ids=["large", "small"]
)
def test_unsigned_values_are_not_wrapped(series: Path, values: list[int], expected: type) -> None:
    path = files(series)[0]
    stored = np.resize(np.array(values, np.uint16), (48, 64))
    edit(path, PixelData=stored.tobytes(), PixelRepresentation=0)
    volume = read_dicom(path)
    assert volume.data.dtype == expected
    np.testing.assert_array_equal(volume.data[:, :, 0], stored.T)


def test_mixed_signs_in_one_series(series: Path) -> None:
    """Slices of one series may differ in pixel representation; -5 must not become 65531."""
    edit(files(series)[0], PixelData=np.full((48, 64), 60000, np.uint16).tobytes(), PixelRepresentation=0)
    edit(files(series)[1], PixelData=np.full((48, 64), -5, np.int16).tobytes())
    volume = read_dicom(series)
    assert set(np.unique(volume.data[:, :, 7])) == {60000}
    assert set(np.unique(volume.data[:, :, 6])) == {-5}


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_cleared(series: Path, signed: bool) -> None:
    path = files(series)[0]
    true = np.resize(np.arange(-2048, 2048) if signed else np.arange(4096), (48, 64)).astype(np.int32)
    stored = (true & 0x0FFF) | 0x5000  # an old overlay in the upper bits
    edit(
        path,
        PixelData=stored.astype(np.uint16).tobytes(),
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=int(signed),
    )
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0], true.T)
    edit(path, PixelData=(((true & 0x0FFF) << 4) | 0x3).astype(np.uint16).tobytes(), HighBit=15)
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0], true.T)


def test_monochrome1_is_turned_unless_values_have_units(series: Path) -> None:
    path = files(series)[0]
    stored = np.resize(np.arange(4096), (48, 64)).astype(np.uint16)
    edit(
        path,
        PixelData=stored.tobytes(),
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        PhotometricInterpretation="MONOCHROME1",
    )
    # About the values that are there, 0 to 3071: the bits could hold 4095.
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0], 3071 - stored.T.astype(int))
    edit(path, Modality="CT")
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0], stored.T)


def test_monochrome1_keeps_the_range_of_the_series(series: Path) -> None:
    """Signed 16 bits, few of them used: turned about what they could hold, all would lie at one end.

    Of the series, not of each slice: what was the same in two of them is the same still.
    """
    right = np.stack([pixels_of(path) for path in files(series)[::-1]], axis=-1).astype(int)
    edit_all(series, PhotometricInterpretation="MONOCHROME1")
    volume = read_dicom(series)
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data, right.min() + right.max() - right)


@pytest.mark.parametrize("intercept", ["-1024", "0.5"])
def test_monochrome1_is_turned_after_the_rescale(series: Path, intercept: str) -> None:
    """Slices with slopes of their own compare in output units alone."""
    edit_all(series, PhotometricInterpretation="MONOCHROME1", RescaleSlope="1", RescaleIntercept=intercept)
    if intercept == "0.5":
        edit(files(series)[0], RescaleSlope="4")
    values = np.stack([pixels_of(path) for path in files(series)[::-1]], axis=-1) + float(intercept)
    if intercept == "0.5":
        values[:, :, 7] += 3 * pixels_of(files(series)[0])
    np.testing.assert_allclose(read_dicom(series).data, values.min() + values.max() - values, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.uint16, 60000, 65535), (np.int16, -32768, -30000), (np.int16, -32768, 32767)]
)
def test_monochrome1_at_the_ends_of_its_type(series: Path, dtype: type, low: int, high: int) -> None:
    path = files(series)[0]
    stored = np.linspace(low, high, 48 * 64).round().astype(dtype).reshape(48, 64)
    edit(
        path,
        PixelData=stored.tobytes(),
        PixelRepresentation=int(dtype is np.int16),
        PhotometricInterpretation="MONOCHROME1",
    )
    volume = read_dicom(path)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.data[:, :, 0], low + high - stored.T.astype(int))


def _padded(value: int, limit: int | None = None, kind: str = "SS") -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.add_new("PixelPaddingValue", kind, value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", kind, limit)

    return change


@pytest.mark.parametrize(("padding", "limit"), [(-2000, None), (-2000, -1990), (30000, None), (30010, 30000)])
def test_padding_of_monochrome1_is_the_darkest(series: Path, padding: int, limit: int | None) -> None:
    """It is no measurement: mirrored about it, all tissue would lie at the other end."""
    right = np.stack([pixels_of(path) for path in files(series)[::-1]], axis=-1).astype(int)
    for path in files(series):
        stored = pixels_of(path).T.copy()
        stored[:5] = padding
        stored[5:7] = padding if limit is None else limit
        edit(path, _padded(padding, limit), PixelData=stored.tobytes(), PhotometricInterpretation="MONOCHROME1")
    tissue = right[:, 7:]
    volume = read_dicom(series)
    np.testing.assert_array_equal(volume.data[:, 7:], tissue.min() + tissue.max() - tissue)
    assert (volume.data[:, :7] == tissue.min()).all()


def test_padding_in_the_other_sign_and_in_all_pixels(series: Path) -> None:
    path = files(series)[0]
    stored = pixels_of(path).T.copy()
    stored[:5] = -2000
    edit(path, PixelData=stored.tobytes(), PhotometricInterpretation="MONOCHROME1", RescaleSlope="2")
    edit(path, RescaleIntercept="-10")
    edit(path, _padded(65536 - 2000, kind="US"))
    tissue = stored[5:].astype(int) * 2 - 10
    volume = read_dicom(path)
    np.testing.assert_array_equal(volume.data[:, 5:, 0].T, tissue.min() + tissue.max() - tissue)
    assert (volume.data[:, :5] == tissue.min()).all()
    edit(path, _padded(-32768, 32767))  # nonsense: padding and nothing else
    whole = stored.astype(int) * 2 - 10
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0].T, whole.min() + whole.max() - whole)


def test_padding_of_monochrome2_stays_as_it_is_stored(series: Path) -> None:
    path = files(series)[0]
    stored = pixels_of(path).T.copy()
    stored[:5] = -2000
    edit(path, _padded(-2000), PixelData=stored.tobytes())
    np.testing.assert_array_equal(read_dicom(path).data[:, :, 0].T, stored)


def test_a_series_of_both_monochromes_compares(series: Path) -> None:
    """One slice stored the other way round is the others' again: about the values of all, not its own."""
    right = read_dicom(series).data.astype(int)
    low, high = right.min(), right.max()
    inner = [path for path in files(series) if low < pixels_of(path).min() and pixels_of(path).max() < high]
    path = inner[0]  # without it the range is the same
    turned = low + high - pixels_of(path).T.astype(int)
    edit(path, PixelData=turned.astype(np.int16).tobytes(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(series).data, right)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_every_encoding_gives_the_same_image(pydicom_files: Path, name: str) -> None:
    """Real files: one MR image in eight transfer syntaxes, JPEG 2000 and JPEG-LS lossless among them."""
    plain = read_dicom(pydicom_files / "MR_small.dcm")
    other = read_dicom(pydicom_files / name)
    np.testing.assert_array_equal(other.data, plain.data)
    np.testing.assert_array_equal(other.affine, plain.affine)


def test_deflated_and_lossy_files(pydicom_files: Path) -> None:
    assert read_dicom(pydicom_files / "image_dfl.dcm").data.dtype == np.uint8
    assert read_dicom(pydicom_files / "JPGExtended.dcm").data.max() == 264


def test_rescaled_ct_of_a_real_scanner(pydicom_files: Path) -> None:
    volume = read_dicom(pydicom_files / "CT_small.dcm")
    source = pydicom.dcmread(pydicom_files / "CT_small.dcm")
    np.testing.assert_array_equal(volume.data[:, :, 0], source.pixel_array.T - 1024)


def test_multi_frame_with_frames_in_any_order(series: Path, tmp_path: Path) -> None:
    right = read_dicom(series)
    path = multi_frame(series, tmp_path / "enhanced.dcm", [3, 0, 7, 1, 6, 2, 5, 4])
    volume = read_dicom(path)
    assert codes(volume) == ["multi_frame"]
    assert "enhanced.dcm" in message(volume, "multi_frame")
    assert "8 frames" in message(volume, "multi_frame")
    np.testing.assert_allclose(volume.affine, right.affine, atol=1e-9)
    np.testing.assert_array_equal(volume.data, right.data.astype(np.float32) * 2 - 10)
    assert world_value(volume, right.affine[:3, 3]) == right.data[0, 0, 0] * 2 - 10
    missing = multi_frame(series, tmp_path / "gap.dcm", [0, 1, 2, 5, 6, 7])
    assert set(codes(read_dicom(missing))) == {"multi_frame", "missing_slices"}


def test_multi_frame_without_positions_is_refused(series: Path, tmp_path: Path) -> None:
    path = multi_frame(series, tmp_path / "legacy.dcm", range(8), groups=False)
    error = failure(path)
    assert error.code == "incomplete_geometry"
    assert "legacy.dcm" in error.message


def test_multi_frame_that_contradicts_itself(series: Path, tmp_path: Path) -> None:
    path = multi_frame(series, tmp_path / "wrong.dcm", range(8))
    edit(path, lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop())
    assert failure(path).code == "corrupt_file"
    edit(path, NumberOfFrames=900)
    assert failure(path).code == "truncated_file"


def test_compressed_multi_frame(series: Path, tmp_path: Path) -> None:
    path = multi_frame(series, tmp_path / "enhanced.dcm", range(8))
    right = read_dicom(path)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(read_dicom(tmp_path / "rle.dcm").data, right.data)
