"""Volumes between scene and worker: nothing moves, whatever the geometry."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core import volumes

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", ">i2", ">f4"]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [one for one in range(3) if one != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        turned = turned @ turn
    return turned


@pytest.mark.parametrize("dtype", TYPES)
def test_voxels_of_every_type(tmp_path: Path, dtype: str) -> None:
    from MedAttnLib.exchange import write_scan

    array = (np.random.default_rng(0).random((4, 5, 6)) * 100).astype(dtype)
    write_scan(tmp_path / "scan.nrrd", array, np.diag([1.0, 2.0, 3.0, 1.0]))
    read = volumes.read(tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(read.data.transpose(2, 1, 0), array)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
def test_the_48_orientations(tmp_path: Path, axes, flips) -> None:
    from MedAttnLib.exchange import write_scan

    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3)[list(axes)] * flips) @ np.diag([0.7, 1.1, 3.3])
    matrix[:3, 3] = (-12.5, 34.25, 7.0)
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    write_scan(tmp_path / "scan.nrrd", array, matrix)
    read = volumes.read(tmp_path / "scan.nrrd")
    np.testing.assert_allclose(read.affine, matrix, atol=1e-9)
    np.testing.assert_array_equal(read.data.transpose(2, 1, 0), array)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(0.2, 8)] * 3), st.tuples(*[st.floats(-1e3, 1e3)] * 3))
def test_oblique_to_the_last_digits(tmp_path_factory: pytest.TempPathFactory, angles, spacing, origin) -> None:
    from MedAttnLib.exchange import write_scan

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(angles) @ np.diag(spacing), origin
    path = tmp_path_factory.mktemp("oblique") / "scan.nrrd"
    write_scan(path, np.arange(24.0).reshape(2, 3, 4), matrix)
    np.testing.assert_allclose(volumes.read(path).affine, matrix, atol=1e-6)


def test_sheared_as_under_gantry_tilt(tmp_path: Path) -> None:
    from MedAttnLib.exchange import write_scan

    matrix = np.array([[1, 0, 0, 5.0], [0, 1, 1.2, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    write_scan(tmp_path / "scan.nrrd", np.arange(24.0).reshape(2, 3, 4), matrix)
    np.testing.assert_allclose(volumes.read(tmp_path / "scan.nrrd").affine, matrix, atol=1e-6)


def test_slabs_are_small_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedAttnLib import exchange

    array = np.random.default_rng(1).random((9, 5, 7)).transpose(2, 0, 1)  # not contiguous
    exchange.write_scan(tmp_path / "whole.nrrd", array, np.eye(4))
    monkeypatch.setattr(exchange, "SLAB", 2 * array[0].nbytes)
    shares = list(exchange.write_scan_steps(tmp_path / "slabs.nrrd", array, np.eye(4)))
    assert shares == pytest.approx([2 / 7, 4 / 7, 6 / 7, 1.0])
    assert (tmp_path / "slabs.nrrd").read_bytes() == (tmp_path / "whole.nrrd").read_bytes()


def test_masks(tmp_path: Path) -> None:
    from MedAttnLib.exchange import write_mask

    array = np.zeros((3, 4, 5), np.int16)
    array[1, 2, 3] = 7
    for one in (array, array != 0, array.astype(float)):
        write_mask(tmp_path / "mask.nrrd", one, np.eye(4))
        read = volumes.read(tmp_path / "mask.nrrd", allow_constant=True)
        assert read.data.dtype == np.uint8
        np.testing.assert_array_equal(read.data.transpose(2, 1, 0), array != 0)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    from MedAttnLib.exchange import read_map, write_scan

    for array, matrix, words in (
        (np.zeros((2, 3)), np.eye(4), "K, J, I"),
        (np.zeros((0, 3, 3)), np.eye(4), "K, J, I"),
        (np.zeros((2, 3, 4), complex), np.eye(4), "complex128"),
        (np.zeros((2, 3, 4)), np.eye(3), "ijk_to_ras"),
    ):
        with pytest.raises(ValueError, match=words):
            write_scan(tmp_path / "scan.nrrd", array, matrix)
    assert not (tmp_path / "scan.nrrd").exists()
    with pytest.raises(ValueError, match=r"\.nii"):
        read_map({"path": "map.nrrd", "data_offset": None, "shape": [1, 1, 1], "dtype": "<f4"})


def test_a_file_is_discarded_without_waiting(tmp_path: Path) -> None:
    """Its name is free at once, under which the next scan is written; the other one is gone a moment later."""
    from MedAttnLib.exchange import discard

    path = tmp_path / "scan.nrrd"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        discard(path)
        assert not path.exists()
    path.write_bytes(b"third")
    discard(tmp_path / "never there.nrrd")
    end = time.monotonic() + 5.0
    while len(list(tmp_path.iterdir())) > 1 and time.monotonic() < end:
        time.sleep(0.005)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nrrd"]
    assert path.read_bytes() == b"third"


def test_the_maps_of_the_engine(drive, brain1: str, tmp_path: Path) -> None:
    from MedAttnLib.exchange import read_map, read_region_map
    from MedAttnLib.process import LocalEngine

    one = drive(LocalEngine())
    files = {name: one.engine.file(f"{name}.nii") for name in ("evidence", "region_map")}
    result = one.ask("predict", path=brain1, bundle="brain_tumor_t1ce", **files)
    found = read_map(result["evidence"])
    assert found.shape == (25, 256, 256)
    np.testing.assert_array_equal(found, volumes.read(files["evidence"]).data.transpose(2, 1, 0))
    i, j, k = result["regions"][0]["voxel_index"]
    assert found[k, j, i] > 0.5 * found.max()
    assert read_region_map(files["region_map"], result["evidence"])[k, j, i] == 1
    mask = one.ask("mask", prediction=result["prediction"], path=one.engine.file("mask.nii"), regions=[1])
    assert read_map(mask).dtype == np.uint8
    assert read_map(mask)[k, j, i] == 1
