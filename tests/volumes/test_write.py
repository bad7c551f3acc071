"""Writing: the same voxels at the same place, whole or not at all."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume, geometry, read, write
from tests.strategies import affines
from tests.volumes.making import AFFINE, codes, refused, volume, voxels

SUFFIXES = (".nii", ".nii.gz", ".nrrd")
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [*TYPES, ">i2", ">f4"])
def test_types(tmp_path: Path, suffix: str, dtype: str) -> None:
    original = volume(dtype=dtype)
    write(original, tmp_path / f"a{suffix}")
    result = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(result.data, original.data)
    assert result.data.dtype == original.data.dtype.newbyteorder("=")
    assert codes(result) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_without_a_file_type_are_converted_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for dtype, stored in ((np.bool_, np.uint8), (np.float16, np.float32)):
        data = (voxels() % 2).astype(dtype)
        write(Volume(data=data, affine=AFFINE), path)
        assert read(path).data.dtype == stored
        np.testing.assert_array_equal(read(path).data, data)
    with pytest.raises(VolumeError, match="complex64") as caught:
        write(volume(dtype="complex64"), path)
    assert caught.value.code == "unwritable"


@settings(max_examples=60, deadline=None)
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(2, 12)] * 3),
    suffix=st.sampled_from(SUFFIXES),
    dtype=st.sampled_from(["int16", "float32", "uint8"]),
    order=st.sampled_from("CF"),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    suffix: str,
    dtype: str,
    order: str,
) -> None:
    path = tmp_path_factory.mktemp("w") / f"a{suffix}"
    data = np.array(voxels(shape, dtype), order=order)  # type: ignore[call-overload]
    write(Volume(data=data, affine=affine), path)
    result = read(path)
    np.testing.assert_array_equal(result.data, data)
    # NIfTI keeps 24 bits of each number, NRRD all
    np.testing.assert_allclose(result.affine, affine, rtol=1e-7, atol=0 if suffix == ".nrrd" else 2e-5)
    assert codes(result) == []


@settings(max_examples=60, deadline=None)
@given(affine=affines(), shape=st.tuples(*[st.integers(2, 9)] * 3), data=st.data())
def test_a_marker_stays_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, affine: np.ndarray, shape: tuple[int, int, int], data: st.DataObject
) -> None:
    """One bright voxel has one place in the patient, in every file, for us and for SimpleITK."""
    marker = np.array([data.draw(st.integers(0, n - 1)) for n in shape])
    content = np.zeros(shape, np.int16)
    content[tuple(marker)] = 1000
    place = geometry.to_world(affine, marker)
    folder = tmp_path_factory.mktemp("m")
    for suffix in SUFFIXES:
        path = folder / f"a{suffix}"
        write(Volume(data=content, affine=affine), path)
        result = read(path)
        found = np.array(np.unravel_index(result.data.argmax(), shape))
        np.testing.assert_allclose(geometry.to_world(result.affine, found), place, atol=1e-3)
        image = SimpleITK.ReadImage(str(path))
        found = np.array(np.unravel_index(SimpleITK.GetArrayFromImage(image).T.argmax(), shape))
        world = np.array(image.TransformIndexToPhysicalPoint([int(n) for n in found])) * (-1, -1, 1)
        np.testing.assert_allclose(world, place, atol=2e-3)
        if suffix != ".nrrd":
            other = nib.load(path)
            np.testing.assert_allclose(geometry.to_world(other.affine, found), place, atol=1e-3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sheared_grid_is_kept(tmp_path: Path, suffix: str) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.3
    path = tmp_path / f"a{suffix}"
    write(volume(affine=sheared), path)
    np.testing.assert_allclose(read(path).affine, sheared, atol=1e-5)
    assert codes(read(path)) == ["sheared_affine"]
    if suffix != ".nrrd":
        header = nib.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


def test_nifti_header_is_what_others_expect(tmp_path: Path) -> None:
    write(volume(), tmp_path / "a.nii.gz", description="MedAttn évidence logit/mL")
    image = nib.load(tmp_path / "a.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.header.get_zooms(), [0.8, 1.5, 3])
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).rstrip(b"\0").decode() == "MedAttn évidence logit/mL"
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), voxels())
    np.testing.assert_allclose(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")).GetSpacing(), [0.8, 1.5, 3])


def test_very_long_axis(tmp_path: Path) -> None:
    write(volume((40000, 2, 1)), tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").shape == (40000, 2, 1)
    assert nib.load(tmp_path / "a.nii").header["sizeof_hdr"] == 540


def test_picture_becomes_one_slice(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write(replace(volume((6, 5, 1)), spatial_dims=2), tmp_path / f"a{suffix}")
        assert read(tmp_path / f"a{suffix}").shape == (6, 5, 1)


def test_the_real_sample_keeps_its_place(tmp_path: Path, sample_data: Path) -> None:
    original = read(sample_data / "brain1_image.nrrd")
    for suffix in SUFFIXES:
        write(original, tmp_path / f"a{suffix}")
        result = read(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(result.data, original.data)
        np.testing.assert_allclose(result.affine, original.affine, atol=1e-6)


def test_same_input_same_bytes_and_whole_gzip(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd"):
        for name in "ab":
            write(volume((40, 30, 20)), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 2 * 40 * 30 * 20


def test_wrong_arguments(tmp_path: Path) -> None:
    for name in ("a.mha", "a.gz", "a"):
        with pytest.raises(VolumeError, match=r"\.nii\.gz or \.nrrd") as caught:
            write(volume(), tmp_path / name)
        assert caught.value.code == "bad_argument"
    for description in ("x" * 80, "two\nlines"):
        with pytest.raises(VolumeError, match="79 bytes"):
            write(volume(), tmp_path / "a.nii", description=description)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unwritable_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(VolumeError, match="folder exists") as caught:
        write(volume(), tmp_path / "gone" / f"a{suffix}")
    assert caught.value.code == "unwritable"
    assert str(tmp_path / "gone") in str(caught.value)
    (tmp_path / f"a{suffix}").mkdir()  # a folder stands where the file should be
    with pytest.raises(VolumeError) as caught:
        write(volume(), tmp_path / f"a{suffix}")
    assert caught.value.code == "unwritable"
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"], "no temporary file stays behind"


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full here")
    resource = pytest.importorskip("resource", reason="no limits on file size here")
    path = tmp_path / "a.nii"
    write(volume(), path)
    before = path.read_bytes()
    import signal

    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(VolumeError) as caught:
            write(volume((40, 40, 40)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old_handler)
    assert caught.value.code == "unwritable"
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(volume(), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_unreadable_result_is_not_taken_for_good(tmp_path: Path) -> None:
    """What is written constant (an empty map) is a valid file, but no scan."""
    write(Volume(data=np.zeros((4, 4, 4), np.float32), affine=AFFINE), tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "constant_image")
    assert read(tmp_path / "a.nii.gz", allow_constant=True).data.max() == 0
