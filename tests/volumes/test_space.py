"""Units, spaces with time and impossible geometry in the headers of NRRD and MetaImage; what channels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medattn_core.volumes import read
from medattn_core.volumes.space import sides_of_las, steps_in_las
from tests.volumes.making import codes, refused, save_mha, save_nrrd, voxels

PLACED = ("space: left-posterior-superior", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)")
META = ("TransformMatrix = 1 0 0 0 0 1 0 1 0", "Offset = 1 2 3", "ElementSpacing = 1 2 3")
FOUR = ("space directions: (1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,1)", "space origin: (1,2,3,0)")
VECTOR = ("space: LPS", "space directions: none (1,0,0) (0,2,0) (0,0,3)")


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(("um", 1e-3), ("µm", 1e-3), ("μm", 1e-3), ("microns", 1e-3), ("Micrometre", 1e-3)),
        *(("mm", 1), ("millimeters", 1), ("", 1), ("???", 1)),
        *(("cm", 10), ("m", 1000), ("metres", 1000)),
    ],
)
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    """In micrometres an image of 800 is less than a millimetre, and so is its place."""
    plain = read(save_nrrd(tmp_path / "a.nrrd", voxels(), *PLACED))
    result = read(save_nrrd(tmp_path / "b.nrrd", voxels(), *PLACED, f'space units: "{unit}" "{unit}" "{unit}"'))
    np.testing.assert_allclose(result.affine[:3], plain.affine[:3] * factor)
    assert (result.axis_codes, codes(result)) == ("LPS", [])
    plain = read(save_mha(tmp_path / "a.mha", voxels(), *META))
    result = read(save_mha(tmp_path / "b.mha", voxels(), *META, f"DistanceUnits = {unit}"))
    np.testing.assert_allclose(result.affine[:3], plain.affine[:3] * factor)


def test_units_of_axes_without_directions(tmp_path: Path) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), "spacings: 100 200 300", 'units: "um" "um" "um"')
    np.testing.assert_allclose(read(path).spacing, (0.1, 0.2, 0.3))
    path = save_nrrd(tmp_path / "b.nrrd", voxels((7, 6)), "spacings: 100 200", 'units: "um" "um"')
    np.testing.assert_allclose(read(path).spacing, (0.1, 0.2, 1.0))
    path = save_mha(tmp_path / "c.mha", voxels((7, 6)), "ElementSpacing = 10 20", "DistanceUnits = cm")
    np.testing.assert_allclose(read(path).spacing, (100.0, 200.0, 1.0))


@pytest.mark.parametrize("unit", ["pixel", "Pixels", "voxel", "voxels", "1", "arbitrary", "none", "unknown"])
def test_what_is_no_length_is_no_unit(tmp_path: Path, unit: str) -> None:
    """Millimetres are assumed, as where none is stated, and that is told once."""
    plain = read(save_nrrd(tmp_path / "plain.nrrd", voxels(), *PLACED)).affine
    units = [f'space units: "{first}" "{first}" "{unit}"' for first in ("mm", unit)]
    placed = read(save_mha(tmp_path / "plain.mha", voxels(), *META)).affine
    for path, field, affine in (
        (save_nrrd(tmp_path / "a.nrrd", voxels(), *PLACED, units[0]), "space units", plain),
        (save_nrrd(tmp_path / "b.nrrd", voxels(), *PLACED, units[1]), "space units", plain),
        (save_mha(tmp_path / "a.mha", voxels(), *META, f"DistanceUnits = {unit}"), "DistanceUnits", placed),
    ):
        result = read(path)
        np.testing.assert_array_equal(result.affine, affine)
        assert (codes(result), result.spacing_known) == (["unknown_spacing"], True)
        assert f"'{unit}' ({field}), which is no unit of length; millimetres" in result.warnings[0].message
    result = read(save_nrrd(tmp_path / "c.nrrd", voxels(), "spacings: 1 2 3", f'units: "{unit}" "cm" ""'))
    np.testing.assert_allclose(result.spacing, (1, 20, 3))
    assert codes(result) == ["unknown_spacing", "no_geometry"]


@pytest.mark.parametrize("unit", ["inch", "nm", "ms"])
def test_other_units_are_refused(tmp_path: Path, unit: str) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", voxels(), *PLACED, f'space units: "{unit}" "{unit}" "{unit}"')
    refused(path, "unsupported_storage", f"'{unit}' (space units)", "accepted are mm, um, cm and m", "millimetres")
    path = save_mha(tmp_path / "a.mha", voxels(), *META, f"DistanceUnits = {unit}")
    refused(path, "unsupported_storage", f"'{unit}' (DistanceUnits)")
    path = save_nrrd(tmp_path / "b.nrrd", voxels(), *PLACED, f'space units: "mm" "mm" "{unit}"')
    refused(path, "unsupported_storage", unit)


@pytest.mark.parametrize("place", ["right-anterior-superior", "left-anterior-superior", "left-posterior-superior"])
def test_spaces_with_time_lie_where_those_without_do(tmp_path: Path, place: str) -> None:
    """SimpleITK turns RAS, but takes RAS with time for LPS: left and right would be swapped."""
    right = read(save_nrrd(tmp_path / "a.nrrd", voxels(), f"space: {place}", *PLACED[1:]))
    short = "".join(word[0] for word in place.split("-")).upper() + "T"
    for space in (f"{place}-time", short):
        units = 'space units: "mm" "mm" "mm" "s"'
        path = save_nrrd(tmp_path / "b.nrrd", voxels()[..., np.newaxis], f"space: {space}", *FOUR, units)
        result = read(path)
        np.testing.assert_array_equal(result.affine, right.affine)
        assert codes(result) == ["singleton_dimensions"]
    path = save_nrrd(tmp_path / "c.nrrd", voxels((4, 5, 6, 3)), f"space: {short}", *FOUR)
    refused(path, "too_many_dimensions", "3 volumes")


def test_what_is_wrong_with_a_geometry_is_said(tmp_path: Path) -> None:
    flat = ("space directions: (1,0,0) (0,2,0)", PLACED[2])
    for field in (PLACED[0], "space dimension: 3"):
        path = save_nrrd(tmp_path / "a.nrrd", voxels((7, 6)), field, *flat)
        message = refused(path, "unsupported_storage", "a 2D image in a space of 3 dimensions", "save it as a 3D image")
        assert "damaged" not in message
    path = save_nrrd(tmp_path / "b.nrrd", voxels(), "space: RAST", *FOUR)
    refused(save_nrrd(tmp_path / "b.nrrd", voxels(), "space: RAST", *PLACED[1:]), "corrupt_file", "4 dimensions")
    for fields in (
        (PLACED[0], "space directions: (1,0,0) (0,nan,0) (0,0,3)", PLACED[2]),
        (*PLACED[:2], "space origin: (1,2,inf)"),
    ):
        path = save_nrrd(tmp_path / "c.nrrd", voxels(), *fields)
        refused(path, "singular_affine", "NaN or infinite numbers")


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_list_of_volumes_is_no_colour(tmp_path: Path, count: int) -> None:
    """3D Slicer writes a sequence so."""
    data = voxels((count, 7, 6, 5))
    path = save_nrrd(tmp_path / "a.nrrd", data, *VECTOR, "kinds: list domain domain domain")
    message = refused(path, "too_many_dimensions", f"{count} x 7 x 6 x 5", f"that is {count} volumes")
    assert "colour" not in message


def test_a_constant_second_component_is_no_transparency(tmp_path: Path) -> None:
    """An imaginary part that is zero, or a field along one axis."""
    for count in (2, 4):
        data = np.repeat(voxels(dtype="uint8")[np.newaxis], count, axis=0)
        data[-1] = 0
        for kind in ("vector", f"{count}-vector"):
            path = save_nrrd(tmp_path / "a.nrrd", data, *VECTOR, f"kinds: {kind} domain domain domain")
            refused(path, "too_many_dimensions", f"{count} values in each voxel")
        path = save_mha(tmp_path / "a.mha", data[0], *META, f"ElementNumberOfChannels = {count}")
        path.write_bytes(path.read_bytes()[: -data[0].size] + data.tobytes(order="F"))
        refused(path, "too_many_dimensions", f"{count} values in each voxel")
    path = save_nrrd(tmp_path / "b.nrrd", data, *VECTOR, "kinds: RGBA-color domain domain domain")
    result = read(path)
    assert codes(result) == ["grey_in_rgb"]
    np.testing.assert_array_equal(result.data, data[0])


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_opaque_picture_written_by_simpleitk_is_grey(tmp_path: Path, dtype: str, name: str) -> None:
    """SimpleITK calls grey with alpha, and RGBA, a vector."""

    def save(data: np.ndarray) -> Path:
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0, 3)), isVector=True)
        SimpleITK.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    grey, most = voxels(dtype=dtype), np.iinfo(dtype).max
    for count in (2, 4):
        data = np.repeat(grey[..., np.newaxis], count, axis=-1)
        data[..., -1] = most
        result = read(save(data))
        assert codes(result) == ["grey_in_rgb"]
        np.testing.assert_array_equal(result.data, grey)
        for value in (most - 1, 1, 0):
            data[..., -1] = value
            refused(save(data), "too_many_dimensions", f"{count} values in each voxel")
        data[..., -1] = most
        data[0, 0, 0, -1] = 0
        refused(save(data), "too_many_dimensions", f"{count} values in each voxel")
    data[..., -1] = most
    data[..., 1] //= 2
    refused(save(data), "colour_image")


def test_a_largest_value_of_signed_numbers_is_no_transparency(tmp_path: Path) -> None:
    data = np.repeat(voxels()[np.newaxis], 2, axis=0)
    data[-1] = np.iinfo(data.dtype).max
    path = save_nrrd(tmp_path / "a.nrrd", data, *VECTOR, "kinds: vector domain domain domain")
    refused(path, "too_many_dimensions", "2 values in each voxel")


@pytest.mark.parametrize("turned", [np.diag([1.0, -1.0, 1.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0])],
                         ids=["SimpleITK 2.5.6", "SimpleITK 2.3"])  # fmt: skip
@pytest.mark.parametrize("seed", range(4))
def test_sides_of_las_are_right_whichever_simpleitk_reads(turned: np.ndarray, seed: int) -> None:
    """The two give LAS in these two ways, whatever the directions of the axes are."""
    stated = np.random.default_rng(seed).normal(size=(4, 4))
    stated[3] = (0, 0, 0, 1)
    directions = " ".join(f"({','.join(map(repr, column[:3].tolist()))})" for column in stated.T[:3])
    for name in ("LAS", "left-anterior-superior", "Left-Anterior-Superior"):
        steps = steps_in_las({"space": name, "space directions": f"none {directions}"})
        assert steps is not None
        wanted = np.diag([1.0, -1.0, 1.0, 1.0]) @ stated
        np.testing.assert_allclose(sides_of_las(turned @ stated, steps), wanted, rtol=0, atol=1e-12)


def test_other_spaces_are_left_to_simpleitk() -> None:
    for name in ("LPS", "RAS", "left-anterior-superior-time", ""):
        assert steps_in_las({"space": name, "space directions": "(1,0,0) (0,1,0) (0,0,1)"}) is None
    assert steps_in_las({"space": "LAS", "space directions": "(1,x,0)"}) is None
