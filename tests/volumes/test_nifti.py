"""NIfTI: voxel types, scaling, geometry codes, and every way a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.volumes import geometry, read
from tests.volumes.making import AFFINE, LPS_IDENTITY, codes, refused, save_nifti, voxels

SUFFIXES = ("a.nii", "a.nii.gz")


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_type_keeps_its_values(tmp_path: Path, name: str, dtype: str) -> None:
    data = voxels(dtype=dtype)
    result = read(save_nifti(tmp_path / name, data))
    assert result.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result.data, data)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-5)
    assert (result.format, result.spatial_dims, result.spacing_known, codes(result)) == ("nifti", 3, True, [])


@pytest.mark.parametrize("name", SUFFIXES)
def test_big_endian_and_nifti2(tmp_path: Path, name: str) -> None:
    data = voxels()
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(data, AFFINE, header), tmp_path / name)
    result = read(tmp_path / name)
    np.testing.assert_array_equal(result.data, data)
    assert result.data.dtype.isnative
    nib.save(nib.Nifti2Image(data, AFFINE), tmp_path / name)
    result = read(tmp_path / name)
    np.testing.assert_array_equal(result.data, data)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("name", SUFFIXES)
def test_scaling_is_applied(tmp_path: Path, name: str) -> None:
    def scale(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -1024

    result = read(save_nifti(tmp_path / name, voxels(), change=scale))
    assert result.data.dtype == np.float32
    np.testing.assert_allclose(result.data, voxels() * 0.5 - 1024)
    np.testing.assert_allclose(result.data, nib.load(tmp_path / name).get_fdata())


def test_slope_of_zero_or_nan_means_none_but_a_broken_intercept_is_damage(tmp_path: Path) -> None:
    for slope in (0, np.nan):

        def change(header: nib.Nifti1Header, slope: float = slope) -> None:
            header["scl_slope"], header["scl_inter"] = slope, 7

        assert read(save_nifti(tmp_path / "a.nii", voxels(), change=change)).data.dtype == np.int16

    def broken(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = 2, np.inf

    refused(save_nifti(tmp_path / "b.nii", voxels(), change=broken), "corrupt_file", "scaling")


def test_extensions_before_the_voxels_are_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100_000))
    for name in SUFFIXES:
        nib.save(image, tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name).data, voxels())


def test_joined_gzip_streams_and_padding(tmp_path: Path) -> None:
    plain = save_nifti(tmp_path / "a.nii", voxels()).read_bytes()
    for number, content in enumerate(
        (
            gzip.compress(plain[:500]) + gzip.compress(plain[500:]),
            gzip.compress(plain) + b"\0" * 600,
            gzip.compress(plain + b"xyz"),
        )
    ):
        path = tmp_path / f"{number}.nii.gz"
        path.write_bytes(content)
        np.testing.assert_array_equal(read(path).data, voxels())


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(["int16", "float32", "uint8"]),
)
def test_agrees_with_nibabel_and_simpleitk(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], seed: int, dtype: str
) -> None:
    path = save_nifti(tmp_path_factory.mktemp("n") / "a.nii.gz", voxels(shape, dtype, seed))
    result, image = read(path), SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(result.data, np.asanyarray(nib.load(path).dataobj))
    np.testing.assert_array_equal(result.data, SimpleITK.GetArrayFromImage(image).T)
    index = [n - 1 for n in shape]
    world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
    np.testing.assert_allclose(geometry.to_world(result.affine, np.array(index)), world, atol=1e-3)


def test_real_oblique_scans_agree_with_simpleitk(shared_data: Path) -> None:
    paths = sorted((shared_data / "oblique_nifti").glob("*.nii.gz"))
    assert len(paths) == 2
    for path in paths:
        result, image = read(path), SimpleITK.ReadImage(str(path))
        assert result.shape == image.GetSize()
        assert result.shape[2] == 26
        np.testing.assert_allclose(result.spacing, image.GetSpacing(), rtol=1e-4)
        assert np.abs(result.affine[:2, 2]).max() > 0.3, "oblique"
        for index in ([0, 0, 0], [11, 5, 3], [n - 1 for n in result.shape]):
            world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
            np.testing.assert_allclose(geometry.to_world(result.affine, np.array(index)), world, atol=0.01)
        np.testing.assert_array_equal(result.data, SimpleITK.GetArrayFromImage(image).T)


def test_real_scans_of_other_origin(shared_data: Path) -> None:
    for path in (shared_data / "stroke_t2" / "T2.nii.gz", *sorted((shared_data / "ms_lesions").rglob("*.nii.gz"))[:2]):
        result, other = read(path), nib.load(path)
        np.testing.assert_allclose(result.affine, other.affine, atol=1e-4)
        np.testing.assert_allclose(result.data, other.get_fdata().reshape(result.shape), rtol=1e-5)


# --- geometry codes


def test_sheared_sform_is_read_with_a_warning(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.4
    for name in SUFFIXES:
        image = nib.Nifti1Image(voxels(), None)
        image.set_sform(sheared, 1)
        nib.save(image, tmp_path / name)
        result = read(tmp_path / name)
        assert codes(result) == ["sheared_affine"]
        assert "14.9 degrees" in result.warnings[0].message
        np.testing.assert_allclose(result.affine, sheared, atol=1e-5)
        np.testing.assert_array_equal(result.data, voxels())


def test_qform_alone(tmp_path: Path) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["sform_code"] = 0
        header["pixdim"][0] = 0  # counts as one; AFFINE is left-handed, so make it right-handed

    affine = AFFINE @ np.diag([-1, 1, 1, 1])
    np.testing.assert_allclose(read(save_nifti(tmp_path / "a.nii", voxels(), affine, change)).affine, affine, atol=1e-5)


def test_sform_wins_where_the_two_differ(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] += (3, 4, 0)

    def change(header: nib.Nifti1Header) -> None:
        header.set_sform(moved, 2)

    result = read(save_nifti(tmp_path / "a.nii", voxels(), change=change))
    assert codes(result) == ["sform_qform_differ"]
    assert "5.0 mm" in result.warnings[0].message
    np.testing.assert_allclose(result.affine, moved, atol=1e-5)

    def rounding(header: nib.Nifti1Header) -> None:
        header.set_sform(AFFINE + 1e-3 * np.eye(4, k=3), 1)

    assert codes(read(save_nifti(tmp_path / "b.nii", voxels(), change=rounding))) == []


def test_no_codes(tmp_path: Path) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["sform_code"] = header["qform_code"] = 0

    path = save_nifti(tmp_path / "a.nii", voxels(), change=change)
    result = read(path)
    assert codes(result) == ["no_geometry"]
    assert "left and right" in result.warnings[0].message
    np.testing.assert_allclose(result.affine, LPS_IDENTITY @ np.diag([0.8, 1.5, 3, 1]), atol=1e-6)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_allclose(
        np.array(image.TransformIndexToPhysicalPoint([1, 2, 3])) * (-1, -1, 1),
        geometry.to_world(result.affine, np.array([1, 2, 3])),
        atol=1e-5,
    )
    assert result.spacing_known

    def without_size(header: nib.Nifti1Header) -> None:
        change(header)
        header["pixdim"][1:4] = 0

    result = read(save_nifti(tmp_path / "b.nii", voxels(), change=without_size))
    assert not result.spacing_known
    np.testing.assert_array_equal(result.affine, LPS_IDENTITY)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001)])
def test_units_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    affine = np.diag([factor**-1, factor**-1, 2 * factor**-1, 1])
    image = nib.Nifti1Image(voxels(), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read(tmp_path / "a.nii").affine, np.diag([1, 1, 2, 1]), atol=1e-5)


def test_singular_affine(tmp_path: Path) -> None:
    for column, words in (((0, 0, 0), "voxel size 0 x"), ((0, 1.5, 0), "along each other"), ((np.nan, 0, 0), "NaN")):

        def change(header: nib.Nifti1Header, column: tuple[float, ...] = column) -> None:
            header["qform_code"] = 0
            for row, value in zip(("srow_x", "srow_y", "srow_z"), column, strict=True):
                header[row][0] = value

        refused(save_nifti(tmp_path / "a.nii.gz", voxels(), change=change), "singular_affine", words, "export")

    def hint(header: nib.Nifti1Header) -> None:
        header["srow_x"][:] = header["srow_y"][:] = header["srow_z"][:] = 0

    refused(save_nifti(tmp_path / "b.nii", voxels(), change=hint), "singular_affine", "sform_code to 0")

    def quaternion(header: nib.Nifti1Header) -> None:
        header["sform_code"], header["quatern_b"], header["quatern_c"] = 0, 0.9, 0.9

    refused(save_nifti(tmp_path / "c.nii", voxels(), change=quaternion), "singular_affine", "rotation")


# --- dimensions and kinds of voxels


def test_dimensions(tmp_path: Path) -> None:
    for name in SUFFIXES:
        refused(save_nifti(tmp_path / name, voxels((4, 5, 6, 3))), "too_many_dimensions", "4 x 5 x 6 x 3", "3 volumes")
        refused(save_nifti(tmp_path / name, voxels((4, 5, 6, 1, 3))), "too_many_dimensions")
    result = read(save_nifti(tmp_path / "b.nii", voxels((4, 5, 6, 1, 1))))
    assert (result.shape, codes(result)) == ((4, 5, 6), ["singleton_dimensions"])
    result = read(save_nifti(tmp_path / "c.nii.gz", voxels((4, 5))))
    assert (result.shape, result.spatial_dims, codes(result)) == ((4, 5, 1), 2, [])
    result = read(save_nifti(tmp_path / "d.nii.gz", voxels((4, 5, 1))))
    assert (result.shape, result.spatial_dims, codes(result)) == ((4, 5, 1), 3, ["one_slice"])

    def nothing(header: nib.Nifti1Header) -> None:
        header["dim"][2] = 0

    refused(save_nifti(tmp_path / "e.nii", voxels(), change=nothing), "corrupt_file", "7 x 0 x 5")

    def many(header: nib.Nifti1Header) -> None:
        header["dim"][0] = 9

    refused(save_nifti(tmp_path / "f.nii", voxels(), change=many), "corrupt_file", "9 dimensions")


def test_colour_and_complex(tmp_path: Path) -> None:
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    grey = np.repeat(voxels(dtype="uint8")[..., None], 3, axis=-1)
    result = read(save_nifti(tmp_path / "a.nii.gz", grey.copy().view(rgb)[..., 0]))
    assert codes(result) == ["grey_in_rgb"]
    np.testing.assert_array_equal(result.data, grey[..., 0])
    grey[..., 1] //= 2
    refused(save_nifti(tmp_path / "b.nii.gz", grey.copy().view(rgb)[..., 0]), "colour_image", "colour map")
    refused(save_nifti(tmp_path / "c.nii", voxels(dtype="complex64")), "unsupported_storage", "magnitude")

    def unknown(header: nib.Nifti1Header) -> None:
        header["datatype"] = 77

    refused(save_nifti(tmp_path / "d.nii", voxels(), change=unknown), "unsupported_storage", "77")


# --- files that are not whole


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.999])
def test_truncated(tmp_path: Path, name: str, kept: float) -> None:
    content = save_nifti(tmp_path / name, voxels((20, 30, 20))).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    refused(tmp_path / name, "truncated_file", "cut off", "again")


@pytest.mark.parametrize("kept", [4, 20, 100, 347])
def test_truncated_within_the_header(tmp_path: Path, kept: int) -> None:
    content = save_nifti(tmp_path / "a.nii", voxels()).read_bytes()[:kept]
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    for name in SUFFIXES:
        refused(tmp_path / name, "truncated_file", "header")


def test_damage_inside_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", voxels((30, 30, 30)))
    content = path.read_bytes()
    for place in np.linspace(2000, len(content) - 12, 12).astype(int):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        refused(path, "corrupt_file", "damaged")
    path.write_bytes(content[:12] + bytes([255] * 40) + content[52:])
    refused(path, "corrupt_file", "damaged")


@pytest.mark.parametrize("name", SUFFIXES)
def test_header_of_1024_cubed_with_little_data(tmp_path: Path, name: str) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["dim"][1:4] = 1024

    data = np.random.default_rng(0).integers(0, 30000, (40, 40, 40)).astype(np.int16)
    path = save_nifti(tmp_path / name, data, change=change)
    refused(path, "oversized_header", "1024 x 1024 x 1024", "2.1 GB")


def test_more_than_memory_is_refused_before_reading(tmp_path: Path) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["dim"][1:4] = 8000

    path = save_nifti(tmp_path / "a.nii", voxels(), change=change)
    with open(path, "r+b") as file:  # a file with a hole: 1 TB that no disk has to hold
        try:
            file.truncate(352 + 2 * 8000**3)
        except OSError:
            pytest.skip("this file system keeps no file of 1 TB, not even an empty one")
    refused(path, "oversized_header", "memory")


def test_name_and_compression_at_odds_is_read_with_a_warning(tmp_path: Path) -> None:
    plain = save_nifti(tmp_path / "x.nii", voxels()).read_bytes()
    (tmp_path / "a.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "a.nii.gz").write_bytes(plain)
    for name in SUFFIXES:
        result = read(tmp_path / name)
        assert codes(result) == ["wrong_extension"]
        np.testing.assert_array_equal(result.data, voxels())


def test_hdr_img_pair_is_explained(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(voxels(), AFFINE), tmp_path / "a.hdr")
    refused(tmp_path / "a.hdr", "not_an_image", ".hdr/.img", "single .nii")


def test_voxels_of_one_bit_are_called_so(tmp_path: Path) -> None:
    def binary(header: nib.Nifti1Header) -> None:
        header["datatype"], header["bitpix"] = 1, 1

    path = save_nifti(tmp_path / "a.nii", voxels(dtype="uint8"), change=binary)
    assert "|V0" not in refused(path, "unsupported_storage", "one bit each", "save as 8-bit integers")
