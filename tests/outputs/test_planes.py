"""Anatomical display: the same picture whatever the axis order, nothing flipped, true proportions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medattn_core.errors import Notice
from medattn_core.outputs import colour, planes, render
from medattn_core.volumes import Volume
from tests.strategies import AXIS_CODES, rotation

SHAPE, SPACING = (18, 22, 9), np.array([1.5, 1.0, 4.0])
PEAK = (14, 17, 6)  # right, anterior, superior of the middle


def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS+ voxels without any symmetry, a map with for and against, and the affine."""
    data = np.random.default_rng(0).integers(0, 400, SHAPE).astype(np.int16)
    data[10:, :, :] += 300
    data[:, 15:, :] += 500
    data[:, :, 6:] += 900
    density = np.zeros(SHAPE, dtype=np.float32)
    density[PEAK] = 80.0
    density[3:6, 17, 2:5] = -7.0
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-13.0, 8.0, -21.0)
    return data, density, affine


def native(permutation: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Volume, np.ndarray]:
    """The phantom stored with other axes, the same in the world."""
    data, density, affine = phantom()
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    flips = []
    for axis, (world, sign) in enumerate(zip(permutation, signs, strict=True)):
        turn[world, axis] = sign
        turn[world, 3] = 0 if sign > 0 else SHAPE[world] - 1
        flips.append(slice(None, None, sign))
    volume = Volume(data=data.transpose(permutation)[tuple(flips)].copy(), affine=affine @ turn)
    return volume, density.transpose(permutation)[tuple(flips)].copy()


def rendered(volume: Volume, density: np.ndarray, world: np.ndarray) -> tuple[list[np.ndarray], list[str]]:
    shown = planes.planes_through(volume, density, world)
    cell = render.cell_size(shown, 120, 200)
    scale = colour.scale_of(density, 0.006, "logit/mL")
    limits = planes.window(volume)
    pictures = [render.compose(*render.layers(plane, limits, scale, cell, mark=True)) for plane in shown]
    return pictures, [plane.caption + "".join(plane.letters) for plane in shown]


def world_of(index: tuple[int, int, int]) -> np.ndarray:
    return phantom()[2][:3, :3] @ np.array(index) + phantom()[2][:3, 3]


def test_all_48_axis_orders_give_the_same_picture() -> None:
    reference, words = rendered(*native((0, 1, 2), (1, 1, 1)), world_of(PEAK))
    assert len(AXIS_CODES) == 48
    for permutation, signs in AXIS_CODES:
        pictures, captions = rendered(*native(permutation, signs), world_of(PEAK))
        assert captions == words, (permutation, signs)
        for a, b in zip(pictures, reference, strict=True):
            assert np.array_equal(a, b), (permutation, signs)


def test_right_is_left_anterior_and_superior_are_up() -> None:
    """Absolute truth, independent of the canonical turning: every plane's brightest quarter is where it belongs."""
    data, density, affine = phantom()
    shown = planes.planes_through(Volume(data=data, affine=affine), density, world_of(PEAK))
    axial, coronal, sagittal = shown
    assert [plane.name for plane in shown] == ["axial", "coronal", "sagittal"]
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    i, j, k = PEAK
    assert np.array_equal(axial.image, [[data[x, y, k] for x in range(17, -1, -1)] for y in range(21, -1, -1)])
    assert np.array_equal(coronal.image, [[data[x, j, z] for x in range(17, -1, -1)] for z in range(8, -1, -1)])
    assert np.array_equal(sagittal.image, [[data[i, y, z] for y in range(21, -1, -1)] for z in range(8, -1, -1)])
    for plane in shown:
        row, column = np.unravel_index(plane.density.argmax(), plane.density.shape)
        assert (row + 0.5, column + 0.5) == plane.mark
        assert row < plane.image.shape[0] / 2
        assert column < plane.image.shape[1] / 2


def test_captions_name_the_place() -> None:
    data, density, affine = phantom()
    shown = planes.planes_through(Volume(data=data, affine=affine), density, world_of(PEAK))
    assert [plane.caption for plane in shown] == ["Axial · S 3.0 mm", "Coronal · A 25.0 mm", "Sagittal · R 8.0 mm"]


def test_thick_slices_keep_their_proportions() -> None:
    data, density, affine = phantom()
    shown = planes.planes_through(Volume(data=data, affine=affine), density, None)
    assert [plane.size_mm for plane in shown] == [(22.0, 27.0), (36.0, 27.0), (36.0, 22.0)]
    width, height, per_mm = render.cell_size(shown, 270, 720)
    assert (width, height, per_mm) == (270, 360, 10.0)
    flat = colour.Scale(limit=1.0, visible=0.2, unit="")
    base, _ = render.layers(shown[2], (-1.0, 1.0), flat, (width, height, per_mm), mark=False)
    assert (base > 0).any(axis=0).sum() == 220
    assert (base > 0).any(axis=1).sum() == 360


@pytest.mark.parametrize("degrees", [3.0, 17.0, 30.0])
def test_oblique_is_said_from_five_degrees(degrees: float) -> None:
    data, density, affine = phantom()
    oblique = affine.copy()
    oblique[:3, :3] = rotation((np.radians(degrees), 0.0, 0.0)) @ affine[:3, :3]
    volume = Volume(data=data, affine=oblique)
    shown = planes.planes_through(volume, density, oblique[:3, :3] @ np.array(PEAK) + oblique[:3, 3])
    for plane in shown:  # the turn is about the right-left axis: sagittal slices stay sagittal
        word = "turned" if plane.name == "sagittal" else "oblique"
        assert (f"{word} {degrees:.0f}°" in plane.caption) == (degrees > 5)
        assert ("oblique" in plane.caption) == (degrees > 5 and plane.name != "sagittal")
        assert plane.density.max() == 80.0
    assert shown[0].letters == (("R", "L", "A", "P") if degrees < 15 else ("R", "L", "AS", "PI"))


def test_a_plane_is_oblique_by_its_normal() -> None:
    """Turned about the head-feet axis the slices are still axial; sheared as under a gantry tilt none lies askew."""
    data, density, affine = phantom()
    turned = affine.copy()
    turned[:3, :3] = rotation((0.0, 0.0, np.radians(20.0))) @ affine[:3, :3]
    shown = planes.planes_through(Volume(data=data, affine=turned), density, None)
    words = [plane.caption.partition(" \N{MIDDLE DOT} ")[0] for plane in shown]
    assert words == ["Axial, turned 20°", "Coronal, oblique 20°", "Sagittal, oblique 20°"]
    frame = planes.Frame.of(Volume(data=data, affine=turned))
    assert [frame.tilt(normal) for normal in range(3)] == pytest.approx([20.0, 20.0, 0.0], abs=1e-4)
    leaning = affine.copy()
    leaning[1, 2] = -np.tan(np.radians(18.0)) * SPACING[2]  # the stack of slices leans back
    shown = planes.planes_through(Volume(data=data, affine=leaning), density, None)
    words = [plane.caption.partition(" \N{MIDDLE DOT} ")[0] for plane in shown]
    assert words == ["Axial", "Coronal, oblique 18°", "Sagittal, sheared 18°"]


def test_an_outline_is_turned_as_the_image_is() -> None:
    data, density, affine = phantom()
    for permutation, signs in AXIS_CODES:
        volume, _ = native(permutation, signs)
        marked = volume.data > 1200
        for plane in planes.planes_through(volume, volume.data, world_of(PEAK), marked):
            assert plane.outline is not None
            assert np.array_equal(plane.outline, plane.image > 1200)
    assert planes.planes_through(Volume(data=data, affine=affine), density, None)[0].outline is None


def test_a_slice_is_one_picture_in_its_own_plane() -> None:
    data, density, affine = phantom()
    for normal, name in enumerate(("sagittal", "coronal", "axial")):
        pick = tuple(slice(4, 5) if axis == normal else slice(None) for axis in range(3))
        shown = planes.planes_through(Volume(data=data[pick], affine=affine), density[pick], None)
        assert [plane.name for plane in shown] == [name]


def test_a_picture_without_geometry_is_shown_as_stored(picture: Volume) -> None:
    (plane,) = planes.planes_through(picture, np.zeros(picture.shape, np.float32), None)
    assert np.array_equal(plane.image, picture.data[:, :, 0].T)
    assert plane.letters == ("", "", "", "")
    assert "no orientation" in plane.caption


def test_a_scan_without_orientation_has_a_scale_and_no_sides() -> None:
    """Left and right are an assumption there: a letter would say what the file does not."""
    notice = Notice("no_geometry", "no orientation")
    volume = Volume(data=np.arange(60.0).reshape(3, 4, 5), affine=np.diag([-2.0, -2, 3, 1]), warnings=(notice,))
    shown = planes.planes_through(volume, np.zeros(volume.shape), None)
    assert [plane.name for plane in shown] == ["image"] * 3
    assert {plane.letters for plane in shown} == {("", "", "", "")}
    assert all(plane.scaled for plane in shown)
    assert shown[0].size_mm == (8.0, 6.0)
    assert shown[0].caption == "The file states no orientation \N{MIDDLE DOT} slice 3"


def test_slices_of_unknown_orientation_are_counted_as_stored() -> None:
    notice = Notice("no_geometry", "no orientation")
    for sign in (1, -1):
        affine = np.diag([-2.0, -2.0, 3.0 * sign, 1.0])
        volume = Volume(data=np.zeros((3, 4, 5)), affine=affine, warnings=(notice,))
        shown = planes.planes_through(volume, np.zeros(volume.shape), affine[:3, :3] @ np.array([1.0, 2.0, 1.0]))
        assert shown[0].caption.endswith("slice 2")


def test_window_ignores_background_and_outliers() -> None:
    data = np.zeros((50, 50, 4), dtype=np.int16)
    data[10:30, 10:30] = np.random.default_rng(0).integers(200, 300, (20, 20, 4))
    data[0, 0, 0] = 30000
    low, high = planes.window(Volume(data=data, affine=np.eye(4)))
    assert 195 < low < 210
    assert 290 < high < 300
    for odd in (np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan), np.array([0.0, 1.0] * 4).reshape(2, 2, 2)):
        low, high = planes.window(Volume(data=odd, affine=np.eye(4)))
        assert high > low


@pytest.mark.parametrize(("rows", "columns"), list(itertools.product((5, 40), (7, 33))))
def test_resize_keeps_constants_means_and_mirrors(rows: int, columns: int) -> None:
    noise = np.random.default_rng(1).normal(size=(16, 20))
    assert np.allclose(planes.resize(np.full((16, 20), 3.5), rows, columns), 3.5)
    assert np.allclose(planes.resize(noise[::-1, ::-1], rows, columns), planes.resize(noise, rows, columns)[::-1, ::-1])
