"""Written series come back with every voxel at its place; the grid arithmetic keeps positions true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_builder import codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.dicom import read_dicom, write_dicom_series
from medattn_core.volumes.dicom.geometry import fill_grid
from medattn_core.volumes.dicom.writer import derived_uid


def _rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))  # either hand


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    spacing=st.tuples(*[st.floats(0.3, 7.0)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    shape=st.tuples(st.integers(2, 7), st.integers(2, 7), st.integers(2, 6)),
    tilt=st.sampled_from([0.0, 0.0, 0.3, -0.4]),
)
def test_markers_come_back_at_their_place(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    shape: tuple[int, int, int],
    tilt: float,
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = _rotation(seed) * spacing
    affine[:3, 2] += tilt * spacing[2] * affine[:3, 1] / spacing[1]
    affine[:3, 3] = origin
    data = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape).astype(np.int16)
    folder = tmp_path_factory.mktemp("written") / "series"
    write_dicom_series(Volume(data=data, affine=affine), folder)
    volume = read_dicom(folder)
    assert volume.data.dtype == np.int16
    assert codes(volume) == (["gantry_tilt"] if tilt and _shift(affine, shape) > 0.1 else [])
    # Every voxel value is unique: it marks its own place.
    mine = {int(v): geometry.to_world(affine, np.array(i)) for i, v in np.ndenumerate(data)}
    theirs = {int(v): geometry.to_world(volume.affine, np.array(i)) for i, v in np.ndenumerate(volume.data)}
    assert mine.keys() == theirs.keys()
    for value, world in mine.items():
        np.testing.assert_allclose(theirs[value], world, atol=1e-3)


def _shift(affine: np.ndarray, shape: tuple[int, int, int]) -> float:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    step = affine[:3, 2]
    return float(np.linalg.norm(step - (step @ normal) * normal)) * (shape[2] - 1)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    gaps=st.lists(st.floats(0.4, 9.0), min_size=1, max_size=30),
    tilt=st.floats(-0.4, 0.4),
)
def test_the_grid_puts_a_linear_ramp_where_it_belongs(seed: int, gaps: list[float], tilt: float) -> None:
    """Slices that hold their own height, interpolated to any grid, hold the height of the grid."""
    axes = _rotation(seed)
    along = np.concatenate([[0], np.cumsum(gaps)])
    direction = axes[:, 2] + tilt * axes[:, 0]
    positions = np.array([7.0, -3.0, 11.0]) + along[:, None] * direction
    grid = fill_grid(positions, axes[:, 2], 1.0)
    if grid.kind == "apart":
        assert len(gaps) >= 2
        return
    assert grid.kind in ("regular", "missing", "irregular")
    after = np.minimum(grid.below + 1, len(along) - 1)
    heights = (1 - grid.weight) * along[grid.below] + grid.weight * along[after]
    placed = (grid.origin + np.arange(len(heights))[:, None] * grid.step - positions[0]) @ axes[:, 2]
    distance = grid.step @ axes[:, 2]
    if grid.kind == "irregular":
        np.testing.assert_allclose(heights, np.clip(placed, 0, along[-1]), atol=1e-6)
        assert abs(placed[-1] - along[-1]) <= distance / 2 + 1e-6
    else:
        # Every slice there is is taken as it is, within a tenth of the distance of where it lies.
        assert (grid.weight[np.isin(np.arange(len(placed)), np.rint(along / distance))] == 0).all()
        np.testing.assert_allclose(heights, placed, atol=0.1 * distance + 1e-6)


@pytest.mark.parametrize(
    ("gaps", "kind", "slices"),
    [
        ([3, 3, 3], "regular", 4),
        ([3, 3.02, 2.99], "regular", 4),
        ([3, 6, 3], "missing", 5),
        ([3, 3, 9, 3, 3, 3], "missing", 9),
        ([6, 3, 6, 6, 6, 3, 6], "missing", 13),
        ([4] * 13 + [1.08] + [7] * 13, "irregular", 37),
        ([3, 4, 3], "irregular", 4),
        ([1, 1, 50, 1], "apart", 0),
        ([2.5], "regular", 2),
    ],
)
def test_kinds_of_gaps(gaps: list[float], kind: str, slices: int) -> None:
    heights = np.concatenate([[0], np.cumsum(gaps)])
    grid = fill_grid(heights[:, None] * [0.0, 0.0, 1.0], np.array([0.0, 0.0, 1.0]), 1.0)
    assert grid.kind == kind
    if slices:
        assert len(grid.below) == slices


def test_float_values_come_back_to_their_rounding(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(9, 8, 5)).astype(np.float32)
    write_dicom_series(Volume(data=data, affine=np.eye(4)), tmp_path / "f")
    back = read_dicom(tmp_path / "f")
    assert back.data.dtype == np.float32
    step = (data.max() - data.min()) / 65535
    world = geometry.to_world(back.affine, np.array([0, 0, 0]))
    np.testing.assert_allclose(back.data[0, 0, 0], data[tuple(world.astype(int))], atol=step)


def test_a_constant_that_is_no_whole_number_comes_back(tmp_path: Path) -> None:
    write_dicom_series(Volume(data=np.full((6, 5, 4), 2.5, np.float32), affine=np.eye(4)), tmp_path / "c")
    stored = pydicom.dcmread(tmp_path / "c" / "IM0001.dcm")
    assert (stored.pixel_array * stored.RescaleSlope + stored.RescaleIntercept == 2.5).all()


def test_modality_signs_and_patient(tmp_path: Path) -> None:
    data = np.linspace(-1024, 3000, 120).astype(np.int16).reshape(6, 5, 4)
    paths = write_dicom_series(Volume(data=data, affine=np.eye(4)), tmp_path / "ct", modality="CT", seed="a")
    assert [path.name for path in paths] == ["IM0001.dcm", "IM0002.dcm", "IM0003.dcm", "IM0004.dcm"]
    header = pydicom.dcmread(paths[0])
    assert header.SOPClassUID == pydicom.uid.CTImageStorage
    assert header.RescaleType == "HU"
    assert header.SOPInstanceUID == derived_uid("a", "series", "1", "image", "1")
    assert read_dicom(tmp_path / "ct", modality=("CT",)).data.min() == -1024
    again = write_dicom_series(Volume(data=data, affine=np.eye(4)), tmp_path / "b", modality="CT", seed="b")
    assert pydicom.dcmread(again[0]).SeriesInstanceUID != header.SeriesInstanceUID


def test_what_cannot_be_written(tmp_path: Path) -> None:
    volume = Volume(data=np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine=np.eye(4))
    with pytest.raises(VolumeError, match="MR") as caught:
        write_dicom_series(volume, tmp_path / "x", modality="US")
    assert caught.value.code == "bad_argument"
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(VolumeError) as caught:
        write_dicom_series(Volume(data=volume.data, affine=sheared), tmp_path / "x")
    assert caught.value.code == "bad_argument"
    with pytest.raises(VolumeError) as caught:
        write_dicom_series(Volume(data=np.full((2, 2, 2), np.nan), affine=np.eye(4)), tmp_path / "x")
    assert caught.value.code == "non_finite_voxels"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    for overwrite in (False, True):
        with pytest.raises(VolumeError, match="mine") as caught:
            write_dicom_series(volume, tmp_path / "mine", overwrite=overwrite)
        assert caught.value.code == "unwritable"
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not touch"
    write_dicom_series(volume, tmp_path / "x")
    with pytest.raises(VolumeError) as caught:
        write_dicom_series(volume, tmp_path / "x")
    assert caught.value.code == "unwritable"
    assert len(write_dicom_series(volume, tmp_path / "x", overwrite=True)) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "x"]
