"""Gaps, tilt, duplicates, order: minimally broken copies of a real series keep every voxel at its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_builder import codes, edit, edit_all, failure, files, message, move, pixels_of, world_value
from pydicom.dataset import Dataset

from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.dicom import list_series, read_dicom, write_dicom_series


def test_instance_number_does_not_matter(series: Path) -> None:
    right = read_dicom(series)
    for number, path in zip([5, 1, 8, 2, 7, 3, 6, 4], files(series), strict=True):
        edit(path, InstanceNumber=number, SliceLocation=float(number), SliceThickness=1.0, SpacingBetweenSlices=2.0)
        path.rename(path.with_name(f"{9 - number}.dcm"))
    shuffled = read_dicom(series)
    np.testing.assert_array_equal(shuffled.data, right.data)
    np.testing.assert_array_equal(shuffled.affine, right.affine)
    assert shuffled.warnings == ()


def test_missing_slices_are_interpolated_in_place(series: Path) -> None:
    whole = read_dicom(series)
    paths = files(series)
    for index in (2, 5, 6):
        paths[index].unlink()
    volume = read_dicom(series)
    assert codes(volume) == ["missing_slices"]
    text = message(volume, "missing_slices")
    assert str(series) in text
    assert "3 slices are missing" in text
    # The normal of the sample points down, so the first slice of the volume is that of the last file.
    assert "0 to 19.5" in text
    assert "26 to 39" in text
    assert volume.shape == whole.shape
    np.testing.assert_allclose(volume.affine, whole.affine, atol=1e-9)
    for kept in (0, 3, 4, 7):
        np.testing.assert_array_equal(volume.data[:, :, 7 - kept], whole.data[:, :, 7 - kept])
    between = (whole.data[:, :, 4].astype(float) + whole.data[:, :, 6]) / 2
    np.testing.assert_allclose(volume.data[:, :, 5], between, atol=0.51)
    assert volume.data.dtype == np.int16


def test_irregular_gaps_are_resampled_in_place(series: Path) -> None:
    for path in files(series)[5:]:
        move(path, [0, 0, 2.0])  # one gap of 8.5 among 6.5
    volume = read_dicom(series)
    assert codes(volume) == ["irregular_gaps"]
    text = message(volume, "irregular_gaps")
    assert str(series) in text
    assert "from 6.5 to 8.5 mm" in text
    assert volume.spacing[2] == pytest.approx(6.5)
    # The wide gap lies between the files 4 and 5. Every grid slice mixes, by distance, the two files around it.
    grid = geometry.to_world(volume.affine, np.array([[0, 0, k] for k in range(volume.shape[2])], dtype=float))[:, 2]
    heights = np.array([_height(path) for path in files(series)])
    voxels = np.stack([pixels_of(path) for path in files(series)]).astype(float)
    assert abs(grid[0] - heights).min() < 1e-9
    for place, height in enumerate(np.clip(grid, heights.min(), heights.max())):
        upper = int(np.searchsorted(heights, height - 1e-9))
        lower = max(0, upper - 1)
        share = 0.0 if upper == lower else (height - heights[lower]) / (heights[upper] - heights[lower])
        expected = (1 - share) * voxels[lower] + share * voxels[upper]
        np.testing.assert_allclose(volume.data[:, :, place], expected, atol=0.51)


def _height(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


def test_rounding_of_positions_is_no_gap(series: Path) -> None:
    for index, path in enumerate(files(series)):
        move(path, [0, 0, 0.008 * (-1) ** index])
    assert codes(read_dicom(series)) == []


def test_more_missing_than_there_is_an_error(series: Path) -> None:
    for path in files(series)[4:]:
        move(path, [0, 0, 650.0])
    error = failure(series)
    assert error.code == "inconsistent_slices"
    assert str(series) in error.message
    assert "656.5 mm" in error.message


def test_slices_off_the_straight_line_are_an_error(series: Path) -> None:
    move(files(series)[3], [4.0, 0, 0])
    error = failure(series)
    assert error.code == "inconsistent_slices"
    assert "straight line" in error.message


def test_tilted_stack_keeps_its_sheared_affine(series: Path) -> None:
    for index, path in enumerate(files(series)):
        move(path, [0, 6.5 * np.tan(np.radians(15)) * index, 0])
    volume = read_dicom(series)
    assert codes(volume) == ["gantry_tilt"]
    assert "15.0 degrees" in message(volume, "gantry_tilt")
    assert geometry.shear_degrees(volume.affine) == pytest.approx(15.0, abs=0.01)
    marker = pixels_of(files(series)[2])
    column, row = 30, 20
    header = pydicom.dcmread(files(series)[2], stop_before_pixels=True)
    x, y = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    lps = np.array(header.ImagePositionPatient, dtype=float) + 0.78125 * (column * x + row * y)
    assert world_value(volume, lps * [-1, -1, 1]) == marker[column, row]


def test_copies_of_slices_are_kept_once(series: Path) -> None:
    right = read_dicom(series)
    shutil.copy(files(series)[3], series / "copy.dcm")
    shutil.copytree(series, series / "again")
    volume = read_dicom(series)
    assert codes(volume) == ["duplicate_positions"]
    assert "10 slices are there more than once" in message(volume, "duplicate_positions")
    np.testing.assert_array_equal(volume.data, right.data)
    np.testing.assert_array_equal(volume.affine, right.affine)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"EchoTime": "2.5"}, {"EchoTime": "5.0"}, "EchoTime; the 8 images with the first 2.5"),
        ({"TemporalPositionIdentifier": "1"}, {"TemporalPositionIdentifier": "2"}, "TemporalPosition"),
        ({"AcquisitionNumber": "3"}, {"AcquisitionNumber": "4"}, "AcquisitionNumber"),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
            "ImageType",
        ),
        (
            {"AcquisitionTime": "120000"},
            {"AcquisitionTime": "120107"},
            "AcquisitionTime; the 8 images with the first were",
        ),
    ],
)
def test_echoes_and_phases_are_told_apart(
    series: Path, first: dict[str, Any], second: dict[str, Any], named: str
) -> None:
    right = read_dicom(series)
    other = Path(shutil.copytree(series, series / "a second"))
    edit_all(series, **first)
    for path in files(other):
        edit(path, _blank(0), **second)
    volume = read_dicom(series)
    assert codes(volume) == ["duplicate_positions"]
    assert named in message(volume, "duplicate_positions")
    np.testing.assert_array_equal(volume.data, right.data)


def test_of_two_echoes_the_one_that_has_every_slice(tmp_path: Path) -> None:
    """The first lacks its last slice, which nobody would miss in the picture."""
    data = np.arange(6 * 5 * 12, dtype=np.int16).reshape(6, 5, 12)
    first = write_dicom_series(Volume(data=data, affine=np.eye(4)), tmp_path / "scan")
    other = Path(shutil.copytree(tmp_path / "scan", tmp_path / "scan" / "second"))
    edit_all(tmp_path / "scan", EchoTime="2")
    for number, path in enumerate(files(other)):
        edit(path, _blank(number + 1), EchoTime="5")
    first[-1].unlink()
    volume = read_dicom(tmp_path / "scan")
    assert volume.shape[2] == 12
    assert "EchoTime; the 12 images with the first 5" in message(volume, "duplicate_positions")


def test_two_attributes_together_tell_apart(series: Path) -> None:
    right = read_dicom(series)
    for echo in (1, 2):
        for phase in (1, 2):
            if echo == phase == 1:
                edit_all(series, EchoTime="1", TemporalPositionIdentifier="1")
                continue
            other = Path(
                shutil.copytree(series, series.parent / f"{echo}{phase}", ignore=shutil.ignore_patterns("[0-9]*"))
            )
            for path in files(other):
                edit(path, _blank(echo * 10 + phase), EchoTime=str(echo), TemporalPositionIdentifier=str(phase))
            shutil.move(other, series)
    volume = read_dicom(series)
    assert codes(volume) == ["duplicate_positions"]
    np.testing.assert_array_equal(volume.data, right.data)


def _blank(value: int) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.PixelData = np.full(dataset.pixel_array.shape, value, np.int16).tobytes()

    return change


def test_differing_images_that_nothing_tells_apart_are_an_error(series: Path) -> None:
    shutil.copy(files(series)[3], series / "other.dcm")
    edit(series / "other.dcm", _blank(7))
    error = failure(series)
    assert error.code == "duplicate_positions"
    assert "other.dcm" in error.message
    assert files(series)[3].name in error.message


def test_without_positions_a_series_is_an_error(series: Path) -> None:
    edit_all(series, ImagePositionPatient=None)
    error = failure(series)
    assert error.code == "incomplete_geometry"
    assert "IM0009.dcm" in error.message
    assert "8 slices" in error.message


def test_one_slice_without_position_is_not_dropped(series: Path) -> None:
    edit(files(series)[2], ImageOrientationPatient=None)
    error = failure(series)
    assert error.code == "incomplete_geometry"
    assert "IM0011.dcm" in error.message
    assert "1 of 8" in error.message


def test_without_pixel_spacing_is_an_error(series: Path) -> None:
    edit_all(series, PixelSpacing=None)
    assert failure(series).code == "incomplete_geometry"


def test_orientation_that_is_no_rotation_is_an_error(series: Path) -> None:
    edit_all(series, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    error = failure(series)
    assert error.code == "incomplete_geometry"
    assert "right angle" in error.message


def test_a_single_slice_keeps_its_place(series: Path) -> None:
    path = files(series)[4]
    volume = read_dicom(path)
    assert codes(volume) == ["one_slice"]
    assert volume.shape == (64, 48, 1)
    assert volume.spatial_dims == 3
    whole = read_dicom(series)
    np.testing.assert_allclose(volume.affine[:3, 3], geometry.to_world(whole.affine, np.array([0, 0, 3])), atol=1e-6)
    assert volume.spacing[2] == 6.5


def test_a_single_image_without_place_is_a_flat_picture(series: Path) -> None:
    path = files(series)[0]
    edit(
        path, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None, ImagerPixelSpacing=[0.5, 0.25]
    )
    volume = read_dicom(path)
    assert codes(volume) == ["no_geometry"]
    assert "detector" in message(volume, "no_geometry")
    assert (volume.spatial_dims, volume.spacing_known) == (2, True)
    np.testing.assert_array_equal(volume.affine, np.diag([-0.25, -0.5, 1, 1]))
    edit(path, ImagerPixelSpacing=None)
    volume = read_dicom(path)
    assert codes(volume) == ["no_geometry", "unknown_spacing"]
    assert not volume.spacing_known
    np.testing.assert_array_equal(volume.affine, np.diag([-1, -1, 1, 1]))


@pytest.mark.parametrize("named", ["PROJECTION IMAGE", "MIP", "MIN IP", "MIN_IP"])
def test_a_projection_between_the_slices_is_no_slice(series: Path, named: str) -> None:
    """Taken as one it would halve the distance, and all others were missing."""
    right = read_dicom(series)
    shutil.copy(files(series)[3], series / "mip.dcm")
    move(series / "mip.dcm", [0, 0, 3.25])
    edit(series / "mip.dcm", ImageType=["DERIVED", "SECONDARY", named], SOPInstanceUID="1.2.3")
    volume = read_dicom(series)
    assert codes(volume) == ["skipped_files"]
    assert "projections through the volume (such as MIP) were left out: 1" in message(volume, "skipped_files")
    assert "mip.dcm" in message(volume, "skipped_files")
    np.testing.assert_array_equal(volume.data, right.data)
    np.testing.assert_array_equal(volume.affine, right.affine)


def test_more_projections_than_slices_are_still_none(series: Path) -> None:
    right = read_dicom(series)
    for copy in range(3):
        other = Path(shutil.copytree(series, series.parent / f"mip{copy}"))
        for path in files(other):
            edit(path, ImageType=["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"])
            move(path, [0, 0, 1.5 * (copy + 1)])
    for copy in range(3):
        shutil.move(series.parent / f"mip{copy}", series)
    volume = read_dicom(series)
    assert codes(volume) == ["skipped_files"]
    assert "left out: 24" in message(volume, "skipped_files")
    np.testing.assert_array_equal(volume.data, right.data)
    (listed,) = list_series(series)
    assert listed.slices == 32


def test_a_series_of_projections_alone_is_read(series: Path) -> None:
    """Thick slabs are shown as MIP; a single other image among them is a picture beside them."""
    right = read_dicom(series)
    edit_all(series, ImageType=["DERIVED", "SECONDARY", "MIP"])
    volume = read_dicom(series)
    assert codes(volume) == []
    np.testing.assert_array_equal(volume.data, right.data)
    shutil.copy(files(series)[3], series / "other.dcm")
    edit(series / "other.dcm", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    volume = read_dicom(series)
    assert codes(volume) == ["skipped_files"]
    assert "unlike the 8 that were read" in message(volume, "skipped_files")
    np.testing.assert_array_equal(volume.data, right.data)


@pytest.mark.parametrize("heights", [[1.0, 7.5], [1.0, 9.0, 30.0], [1.0, 1.0, 1.0], [None, None, None]])
def test_a_few_other_images_beside_projections_are_no_volume(series: Path, heights: list[float | None]) -> None:
    edit_all(series, ImageType=["DERIVED", "SECONDARY", "MIP"])
    right = read_dicom(series)
    for number, height in enumerate(heights):
        path = series / f"other{number}.dcm"
        shutil.copy(series / files(series)[0].name, path)
        edit(path, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], SOPInstanceUID=f"1.2.{number + 3}")
        if height is None:
            edit(path, ImagePositionPatient=None, ImageOrientationPatient=None)
        else:
            move(path, [0, 0, height])
    volume = read_dicom(series)
    assert codes(volume) == ["skipped_files"]
    text = message(volume, "skipped_files")
    assert "images that are no projections through the volume" in text
    assert "unlike the 8 that were read" in text
    assert f"left out: {len(heights)}" in text
    np.testing.assert_array_equal(volume.data, right.data)
    (listed,) = list_series(series)
    assert volume.series == listed


@pytest.mark.parametrize("kept", [(0, 1, 2), (0, 1, 2, 5), (0, 1, 2, 3, 5, 6, 7)])
def test_slices_with_a_gap_come_before_projections(series: Path, kept: tuple[int, ...]) -> None:
    other = Path(shutil.copytree(series, series.parent / "mip"))
    for index, path in enumerate(files(series)):
        if index not in kept:
            path.unlink()
    right = read_dicom(series)
    for path in files(other):
        edit(path, ImageType=["DERIVED", "SECONDARY", "MIP"])
        move(path, [0, 0, 1.5])
    shutil.move(other, series)
    volume = read_dicom(series)
    assert "left out: 8" in message(volume, "skipped_files")
    assert [code for code in codes(volume) if code != "skipped_files"] == codes(right)
    np.testing.assert_array_equal(volume.data, right.data)


@pytest.mark.parametrize("stated", [b"0\\0 ", b"0,7\\0,9 "])
def test_a_pixel_spacing_that_cannot_be_used_is_not_said_to_be_absent(series: Path, stated: bytes) -> None:
    edit_all(series, PixelSpacing=[1, 1])
    for path in files(series):
        edit(path, lambda dataset: dataset.add_new("PixelSpacing", "LO", stated.decode()))  # as bad software does
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\x28\x00\x30\x00LO", b"\x28\x00\x30\x00DS"))
    error = failure(series)
    assert error.code == "incomplete_geometry"
    assert "its PixelSpacing cannot be used" in error.message
    assert "no PixelSpacing" not in error.message


def test_pixels_that_are_not_square_are_told(series: Path) -> None:
    path = files(series)[0]
    edit(path, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None, PixelAspectRatio=["3", "2"])
    volume = read_dicom(path)
    assert not volume.spacing_known
    assert "pixels 1.5 times as high as wide" in message(volume, "unknown_spacing")
    np.testing.assert_array_equal(volume.affine, np.diag([-1, -1.5, 1, 1]))
    edit(path, PixelAspectRatio=["0", "2"])
    np.testing.assert_array_equal(read_dicom(path).affine, np.diag([-1, -1, 1, 1]))
    edit(path, PixelSpacing=[0.5, 0.5], PixelAspectRatio=["3", "2"])
    np.testing.assert_array_equal(read_dicom(path).affine, np.diag([-0.5, -0.5, 1, 1]))
