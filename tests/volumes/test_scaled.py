"""Maps as scaled int16: how far a voxel may be off, and that sums survive."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume, read, write_scaled
from medattn_core.volumes.scaled import ERROR

shapes = st.tuples(st.integers(1, 300), st.integers(1, 24), st.integers(1, 12))


def a_map(kind: str, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=shape)
    if kind == "background":  # a peak, and everywhere far less than half a step: what plain rounding would lose
        data = np.full(shape, 4e-6)
        data.flat[rng.integers(data.size)] = 1.0
    elif kind == "flat":
        data = np.full(shape, -0.7)
    elif kind == "peaks":
        data = np.where(rng.random(shape) < 0.01, data, 0.0)
    return (data * 10.0 ** rng.integers(-12, 6)).astype(np.float32)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes, st.sampled_from(["noise", "background", "flat", "peaks"]), st.integers(0, 2**31), st.floats(0.01, 1e4))
def test_error_and_sum(tmp_path: Path, shape, kind, seed, factor):
    data = a_map(kind, shape, seed)
    path = tmp_path / "map.nii.gz"
    written = write_scaled(Volume(data=data, affine=np.eye(4)), path, factor=factor, description="a map")
    image = nib.load(path)
    found = np.asarray(image.dataobj, np.float64).reshape(shape)
    wanted = data.astype(np.float64) * factor
    peak = np.abs(wanted).max()
    assert image.get_data_dtype() == np.int16
    assert np.abs(found - wanted).max() <= ERROR * peak
    # A step a row, and what float32 rounds.
    rows = wanted.size // shape[0]
    assert abs(found.sum() - wanted.sum()) <= 3.2e-5 * peak * rows + 1e-5 * np.abs(wanted).sum()
    assert written.total == pytest.approx(found.sum(), rel=1e-9, abs=1e-12 * peak)


def test_a_faint_background_is_not_lost(tmp_path: Path) -> None:
    """Plain rounding would lose 80 % of this map's sum."""
    data = np.full((64, 64, 64), 1e-5, np.float32)
    data[3, 4, 5] = 1.0
    write_scaled(Volume(data=data, affine=np.eye(4)), tmp_path / "a.nii.gz")
    assert np.rint(data * 32000).sum() / 32000 < 0.5 * data.sum()
    assert read(tmp_path / "a.nii.gz").data.sum(dtype=np.float64) == pytest.approx(data.sum(dtype=np.float64), rel=1e-3)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    written = write_scaled(Volume(data=np.zeros((4, 5, 6), np.float32), affine=np.eye(4)), tmp_path / "a.nii.gz")
    assert written.total == 0
    assert not np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).any()


def test_header_says_what_the_error_is_and_bytes_repeat(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(200, 150, 100)).astype(np.float32)  # more than one piece
    one = Volume(data=data, affine=np.diag([-2.0, 1, 1, 1]))
    for name in "ab":
        write_scaled(one, tmp_path / f"{name}.nii.gz", description="x" * 90)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 2 * data.size
    header = nib.load(tmp_path / "a.nii.gz").header
    assert bytes(header["descrip"]).rstrip(b"\0").decode().endswith("int16, error < 1e-04 of max")
    assert np.allclose(nib.load(tmp_path / "a.nii.gz").affine, np.diag([-2.0, 1, 1, 1]))


def test_wrong_arguments(tmp_path: Path) -> None:
    one = Volume(data=np.ones((2, 2, 2), np.float32), affine=np.eye(4))
    for path, description in ((tmp_path / "a.nii", ""), (tmp_path / "a.nii.gz", "two\nlines")):
        with pytest.raises(VolumeError, match=r"\.nii\.gz") as caught:
            write_scaled(one, path, description=description)
        assert caught.value.code == "bad_argument"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("peak", [1e-45, 1e-37, 1e-35, 3e-33, 1e-31])
def test_a_map_of_next_to_nothing_is_no_noise(tmp_path: Path, peak: float) -> None:
    """A network that attends to its null token alone: the scale of such a map has no float32."""
    data = np.zeros((8, 6, 4), np.float32)
    data[1, 2, 3], data[4, 4, 1] = peak, -peak / 3
    factor = 1000.0
    written = write_scaled(Volume(data=data, affine=np.eye(4)), tmp_path / "a.nii.gz", factor=factor)
    found = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj, np.float64)
    assert np.abs(found - data.astype(np.float64) * factor).max() <= max(ERROR * peak * factor, 4e-34)
    assert written.total == pytest.approx(found.sum(), rel=1e-9, abs=1e-12 * peak)


@pytest.mark.parametrize("peak", [2.5, 0.0])
def test_other_readers_find_the_scaled_values(tmp_path: Path, peak: float) -> None:
    import SimpleITK as sitk

    data = np.linspace(-peak, peak / 2, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    write_scaled(Volume(data=data, affine=np.diag([-1.0, -2.0, 3.0, 1.0])), tmp_path / "a.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.GetSpacing() == (1.0, 2.0, 3.0)
    found = sitk.GetArrayFromImage(image).transpose()
    np.testing.assert_allclose(found, data, rtol=0, atol=ERROR * peak)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    data = np.ones((4, 5, 6), np.float32)
    data[1, 2, 3] = value
    with pytest.raises(VolumeError) as caught:
        write_scaled(Volume(data=data, affine=np.eye(4)), tmp_path / "a.nii.gz")
    assert caught.value.code == "non_finite_voxels"
    assert list(tmp_path.iterdir()) == []
