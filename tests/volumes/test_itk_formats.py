"""NRRD and MetaImage: every header variant agrees with SimpleITK, and damage does not pass."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medattn_core.volumes import geometry, read
from tests.volumes.making import codes, refused, save_mha, save_nrrd, voxels

PLACED = ("space: left-posterior-superior", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)")
META = ("TransformMatrix = 1 0 0 0 0 1 0 1 0", "Offset = 1 2 3", "ElementSpacing = 1 2 3")


def agrees_with_simpleitk(path: Path) -> None:
    result, image = read(path), SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(result.data, SimpleITK.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (2, 1, 3), tuple(n - 1 for n in result.shape)):
        world = np.array(image.TransformIndexToPhysicalPoint([int(n) for n in index])) * (-1, -1, 1)
        np.testing.assert_allclose(geometry.to_world(result.affine, np.array(index)), world, atol=1e-6)


def test_the_sample_scan(sample_data: Path) -> None:
    path = sample_data / "brain1_image.nrrd"
    result = read(path)
    assert (result.shape, result.data.dtype, result.format, codes(result)) == ((256, 256, 25), np.int16, "nrrd", [])
    np.testing.assert_allclose(result.spacing, [0.78125, 0.78125, 6.5])
    np.testing.assert_allclose(result.affine[:3, 3], [99.609375, -99.609375, -78])
    np.testing.assert_allclose(result.affine[:3, :3], np.diag([-0.78125, 0.78125, 6.5]))
    assert result.axis_codes == "LAS"
    agrees_with_simpleitk(path)
    mask = read(sample_data / "brain1_label.nrrd")
    np.testing.assert_array_equal(mask.affine, result.affine)


def test_real_volumes_agree_with_simpleitk(shared_data: Path) -> None:
    agrees_with_simpleitk(shared_data / "tumour_samples" / "breast1_image.nrrd")
    agrees_with_simpleitk(shared_data / "tumour_samples" / "brain2_image.nrrd")


@pytest.mark.parametrize(
    ("space", "axis_codes"),
    [
        ("left-posterior-superior", "LPS"),
        ("LPS", "LPS"),
        ("right-anterior-superior", "RAS"),
        ("RAS", "RAS"),
        ("left-anterior-superior", "LAS"),
    ],
)
def test_nrrd_spaces(tmp_path: Path, space: str, axis_codes: str) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), f"space: {space}", *PLACED[1:])
    result = read(path)
    assert (result.axis_codes, codes(result)) == (axis_codes, [])
    sides = [1 if code in "RAS" else -1 for code in axis_codes]
    np.testing.assert_array_equal(result.affine[:3], np.c_[np.diag([1, 2, 3]), [1, 2, 3]] * np.c_[sides])
    if axis_codes != "LAS" or tuple(map(int, SimpleITK.__version__.split(".")[:3])) >= (2, 5, 6):
        agrees_with_simpleitk(path)  # an earlier one swaps the sides of LAS


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ((), False),
        (("spacings: 1 2 3",), True),
        (("space dimension: 3", *PLACED[1:]), True),
        (("space: 3D-right-handed", *PLACED[1:]), True),
    ],
)
def test_nrrd_without_anatomical_space(tmp_path: Path, fields: tuple[str, ...], known: bool) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), *fields)
    result = read(path)
    assert codes(result) == ["no_geometry"]
    assert "left and right" in result.warnings[0].message
    assert result.spacing_known is known
    agrees_with_simpleitk(path)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", ">i2", "int32", "float32", ">f4", "float64"])
def test_nrrd_types_and_encodings(tmp_path: Path, dtype: str) -> None:
    data = voxels(dtype=dtype)
    content = data.tobytes(order="F")
    text = " ".join(str(n) for n in data.ravel(order="F")).encode()
    for encoding, payload in (
        ("raw", content),
        ("gzip", gzip.compress(content)),
        ("gz", gzip.compress(content)),
        ("bzip2", bz2.compress(content)),
        ("ascii", text),
    ):
        result = read(save_nrrd(tmp_path / "a.nrrd", data, *PLACED, encoding=encoding, payload=payload))
        np.testing.assert_array_equal(result.data, data)
        assert result.data.dtype == data.dtype.newbyteorder("=")


def test_nrrd_detached(tmp_path: Path) -> None:
    folder = tmp_path / "Schädel 頭"
    folder.mkdir()
    data = voxels()
    content = data.tobytes(order="F")
    (folder / "vöxel.raw").write_bytes(b"12345" + content)
    (folder / "b.raw.gz").write_bytes(gzip.compress(b"12345" + content))
    (folder / "c.raw").write_bytes(b"one\ntwo\n" + content)
    for fields, encoding in (
        (("byte skip: 5", "data file: vöxel.raw"), "raw"),
        (("byte skip: -1", "data file: vöxel.raw"), "raw"),
        (("byte skip: 5", "datafile: b.raw.gz"), "gzip"),
        (("line skip: 2", "data file: ./c.raw"), "raw"),
    ):
        path = save_nrrd(folder / "a.nhdr", data, *PLACED, *fields, encoding=encoding, payload=b"")
        np.testing.assert_array_equal(read(path).data, data)
    refused(save_nrrd(folder / "d.nhdr", data, *PLACED, "data file: d.raw", payload=b""), "not_found", "d.raw")
    path = save_nrrd(folder / "d.nhdr", data, *PLACED, "data file: gone.raw", payload=b"")
    assert "gone" not in refused(path, "not_found", "another file, named in its header")  # it may name a patient
    (folder / "gone.raw").touch()
    assert "gone" not in refused(path, "empty_file", "its data file")
    refused(save_nrrd(folder / "e.nhdr", data, *PLACED, "data file: LIST", payload=b"\na\n"), "unsupported_storage")
    short = save_nrrd(folder / "f.nhdr", voxels((9, 9, 9)), *PLACED, "data file: vöxel.raw", payload=b"")
    refused(short, "truncated_file", "1,458")


def test_a_header_cannot_reach_other_folders(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(voxels().tobytes())
    (tmp_path / "inner").mkdir()
    for target in ("../secret.raw", str(tmp_path / "secret.raw")):
        refused(save_nrrd(tmp_path / "inner" / "a.nhdr", voxels(), *PLACED, f"data file: {target}"), "not_found")
        refused(save_mha(tmp_path / "inner" / "a.mhd", voxels(), *META, where=target), "not_found", "another file")


def test_nrrd_dimensions_and_channels(tmp_path: Path) -> None:
    grey = np.repeat(voxels(dtype="uint8")[None], 3, axis=0)
    rgb = ("space: LPS", "space directions: none (1,0,0) (0,2,0) (0,0,3)", "kinds: RGB-color domain domain domain")
    result = read(save_nrrd(tmp_path / "a.nrrd", grey, *rgb))
    assert codes(result) == ["grey_in_rgb"]
    np.testing.assert_array_equal(result.data, grey[0])
    grey[1] //= 2
    refused(save_nrrd(tmp_path / "b.nrrd", grey, *rgb), "colour_image")
    # Of 16 bits nobody knows how much a level is: colours of 0 to 255 must not pass for rounding.
    colours = np.random.default_rng(0).integers(0, 256, grey.shape)
    for kind in (np.int16, np.int32):
        refused(save_nrrd(tmp_path / "c.nrrd", colours.astype(kind), *rgb), "colour_image")
    last = ("space: LPS", "space directions: (1,0,0) (0,2,0) (0,0,3) none", "kinds: domain domain domain list")
    refused(save_nrrd(tmp_path / "c.nrrd", voxels((4, 5, 6, 3)), *last), "too_many_dimensions", "4 x 5 x 6 x 3")
    result = read(save_nrrd(tmp_path / "d.nrrd", voxels((4, 5, 6, 1)), *last))
    assert codes(result) == ["singleton_dimensions"]
    assert result.shape == (4, 5, 6)
    result = read(save_nrrd(tmp_path / "e.nrrd", voxels((1, 4, 5, 6)), *rgb[:2], "kinds: list domain domain domain"))
    assert (result.shape, codes(result)) == ((4, 5, 6), [])
    six = save_nrrd(tmp_path / "f.nrrd", voxels((6, 4, 5, 6)), *rgb[:2], "kinds: vector domain domain domain")
    refused(six, "too_many_dimensions", "6 values in each voxel")
    result = read(save_nrrd(tmp_path / "g.nrrd", voxels((4, 5)), "spacings: 1 2"))
    assert (result.shape, result.spatial_dims) == ((4, 5, 1), 2)
    result = read(save_nrrd(tmp_path / "h.nrrd", voxels((4, 5, 1)), *PLACED))
    assert (result.spatial_dims, codes(result)) == (3, ["one_slice"])


def test_sheared_and_singular(tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), PLACED[0], "space directions: (1,0,0) (0.5,2,0) (0,0,3)", PLACED[2])
    assert codes(read(path)) == ["sheared_affine"]
    agrees_with_simpleitk(path)
    path = save_mha(tmp_path / "a.mha", voxels(), "TransformMatrix = 1 0 0 0.5 1 0 0 0 1", *META[1:])
    assert codes(read(path)) == ["sheared_affine"]
    agrees_with_simpleitk(path)
    for second, words in (
        ("(1,0,0)", "along each other"),
        ("(0,0,0)", "voxel size 1 x 0 x 3 mm"),
        ("(nan,0,0)", "NaN"),
    ):
        directions = f"space directions: (1,0,0) {second} (0,0,3)"
        path = save_nrrd(tmp_path / "b.nrrd", voxels(), PLACED[0], directions, PLACED[2])
        refused(path, "singular_affine", words)
    path = save_mha(tmp_path / "b.mha", voxels(), "TransformMatrix = 1 0 0 1 0 0 0 0 1", *META[1:])
    refused(path, "singular_affine", "along each other")
    path = save_mha(tmp_path / "c.mha", voxels(), *META[:2], "ElementSpacing = 1 0 3")
    refused(path, "singular_affine", "voxel size 1 x 0 x 3 mm")


@pytest.mark.parametrize("dtype", ["int16", ">i2", "uint8"])
def test_metaimage(tmp_path: Path, dtype: str) -> None:
    data = voxels(dtype=dtype)
    content = data.tobytes(order="F")
    path = save_mha(tmp_path / "a.mha", data, *META)
    assert (read(path).format, codes(read(path))) == ("metaimage", [])
    agrees_with_simpleitk(path)
    packed = zlib.compress(content)
    compressed = ("CompressedData = True", f"CompressedDataSize = {len(packed)}")
    agrees_with_simpleitk(save_mha(tmp_path / "b.mha", data, *META, *compressed, payload=packed))
    (tmp_path / "c.raw").write_bytes(b"123" + content)
    agrees_with_simpleitk(save_mha(tmp_path / "c.mhd", data, *META, "HeaderSize = 3", where="c.raw"))
    (tmp_path / "d.raw").write_bytes(b"123" + content)
    agrees_with_simpleitk(save_mha(tmp_path / "d.mhd", data, *META, "HeaderSize = -1", where="d.raw"))
    (tmp_path / "e.zraw").write_bytes(packed)
    np.testing.assert_array_equal(
        read(save_mha(tmp_path / "e.mhd", data, *META, *compressed, where="e.zraw")).data, data
    )


def test_metaimage_without_geometry(tmp_path: Path) -> None:
    result = read(save_mha(tmp_path / "a.mha", voxels()))
    assert (codes(result), result.spacing_known) == (["no_geometry"], False)
    result = read(save_mha(tmp_path / "b.mha", voxels(), "ElementSpacing = 1 2 3"))
    assert (codes(result), result.spacing_known) == (["no_geometry"], True)


def test_metaimage_written_by_simpleitk(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(voxels().T)
    image.SetSpacing((0.5, 0.7, 4))
    image.SetOrigin((10, -20, 30))
    for name in ("a.mha", "b.mhd", "c.nrrd", "d.nhdr"):
        for compressed in (False, True):
            SimpleITK.WriteImage(image, str(tmp_path / name), compressed)
            assert codes(read(tmp_path / name)) == []
            agrees_with_simpleitk(tmp_path / name)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_truncated_and_damaged(tmp_path: Path, name: str, compressed: bool, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels((30, 30, 30))), str(path), compressed)
    content = path.read_bytes()
    for kept in (0.05, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * kept)])
        refused(path, "truncated_file", "cut off", "again")
    path.write_bytes(content[:100])
    refused(path, "truncated_file", "header")
    if compressed:
        for place in np.linspace(600, len(content) - 12, 8).astype(int):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
            refused(path, "corrupt_file", "damaged")
    assert capfd.readouterr() == ("", "")


def test_header_of_1024_cubed_with_little_data(tmp_path: Path) -> None:
    data, big = voxels((30, 30, 30)), b"1024 1024 1024"
    for path in (
        save_nrrd(tmp_path / "a.nrrd", data, *PLACED),
        save_nrrd(tmp_path / "b.nrrd", data, *PLACED, encoding="gzip", payload=gzip.compress(data.tobytes())),
        save_mha(tmp_path / "a.mha", data, *META),
        save_mha(tmp_path / "b.mha", data, *META, "CompressedData = True", payload=zlib.compress(data.tobytes())),
    ):
        path.write_bytes(path.read_bytes().replace(b"30 30 30", big, 1))
        refused(path, "oversized_header", "1024 x 1024 x 1024", "2.1 GB")


def test_headers_that_make_no_sense(tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), *PLACED)
    content = path.read_bytes()
    for old, new, code in (
        (b"sizes: 7 6 5", b"sizes: 7 6", "corrupt_file"),
        (b"sizes: 7 6 5", b"sizes: 7 x 5", "corrupt_file"),
        (b"sizes: 7 6 5", b"sizes: 7 -6 5", "corrupt_file"),
        (b"type: short", b"type: block", "unsupported_storage"),
        (b"encoding: raw", b"encoding: hex", "unsupported_storage"),
        (b"left-posterior-superior", b"nowhere", "corrupt_file"),
    ):
        path.write_bytes(content.replace(old, new))
        refused(path, code)
    path = save_mha(tmp_path / "a.mha", voxels(), *META)
    content = path.read_bytes()
    for old, new, code in (
        (b"DimSize = 7 6 5", b"DimSize = 7 6", "corrupt_file"),
        (b"MET_SHORT", b"MET_STRING", "unsupported_storage"),
        (b"LOCAL", b"LIST", "unsupported_storage"),
    ):
        path.write_bytes(content.replace(old, new))
        refused(path, code)
