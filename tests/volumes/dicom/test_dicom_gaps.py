"""What lies in wide gaps: slabs far apart are refused, a stray slice is left out, what nobody saw is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_builder import attempt, codes, failure, files, message, move, pixels_of
from hypothesis import given
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume
from medattn_core.volumes.dicom import read_dicom, write_dicom_series
from medattn_core.volumes.dicom.geometry import fill_grid, without_strays

UP = np.array([0.0, 0.0, 1.0])


def stack(folder: Path, heights: list[float]) -> list[Path]:
    """A series of slices at these heights, mm; slice ``n`` holds random values of its own."""
    data = np.random.default_rng(0).integers(0, 900, (9, 8, len(heights))).astype(np.int16)
    paths = write_dicom_series(Volume(data=data, affine=np.eye(4)), folder)
    for index, (path, height) in enumerate(zip(paths, heights, strict=True)):
        move(path, [0, 0, height - index])
    return paths


@pytest.mark.parametrize("gap", [84.0, 85.0])
def test_slabs_far_apart_are_refused_whatever_the_gap(tmp_path: Path, gap: float) -> None:
    """84 mm is a multiple of the distance, 85 is none: 27 slices between would be invented, of 38."""
    stack(tmp_path / "scan", [3.0 * n for n in range(6)] + [15 + gap + 3 * n for n in range(5)])
    error = failure(tmp_path / "scan")
    assert error.code == "inconsistent_slices"
    assert str(tmp_path / "scan") in error.message
    assert f"up to {gap:g} mm" in error.message
    assert "more slices are missing than are there" in error.message


@given(gaps=st.lists(st.floats(0.4, 40.0), min_size=1, max_size=30))
def test_never_more_slices_are_invented_than_there_are(gaps: list[float]) -> None:
    heights = np.concatenate([[0], np.cumsum(gaps)])
    grid = fill_grid(heights[:, None] * UP, UP, 1.0)
    if grid.kind != "apart":
        assert len(grid.below) <= 2 * len(heights)


@pytest.mark.parametrize(("far", "end"), [(170.0, "last"), (171.0, "last"), (171.0, "first"), (-1.0, "both")])
def test_a_stray_slice_is_left_out(tmp_path: Path, far: float, end: str) -> None:
    heights = [3.0 * n for n in range(20)]
    outside = {"last": [57 + far], "first": [-far], "both": [-100.0, 57 + 90.0]}[end]
    paths = stack(tmp_path / "scan", [*heights, *outside])
    volume = read_dicom(tmp_path / "scan")
    assert codes(volume) == ["inconsistent_slices"]
    text = message(volume, "inconsistent_slices")
    assert str(tmp_path / "scan") in text
    assert "100 mm and 90 mm from the other 20" in text if end == "both" else f"{far:g} mm from the other 20" in text
    assert all(path.name in text for path in paths[20:])
    assert paths[0].name not in text
    np.testing.assert_array_equal(volume.data, np.stack([pixels_of(path) for path in paths[:20]], axis=-1))
    assert volume.affine[2, 3] == 0
    assert volume.spacing[2] == pytest.approx(3.0)


def test_a_stray_slice_may_lie_beside_the_others(tmp_path: Path) -> None:
    """It is no part of the stack, and so does not make it crooked."""
    paths = stack(tmp_path / "scan", [*(3.0 * n for n in range(20)), 227.0])
    move(paths[-1], [30.0, 0, 0])
    assert codes(read_dicom(tmp_path / "scan")) == ["inconsistent_slices"]


@pytest.mark.parametrize(
    ("gaps", "left"),
    [
        ([3] * 5 + [12], 7),  # three slices that are missing
        ([3] * 5 + [60, 3], 8),  # two slices are no stray
        ([3, 60], 3),  # who is the stray of three?
        ([3, 4, 3, 5, 60], 6),  # the others are no regular stack
        ([3] * 5 + [60], 6),
        ([60] + [3] * 5 + [60], 6),
    ],
)
def test_what_is_a_stray(gaps: list[float], left: int) -> None:
    heights = np.concatenate([[0.0], np.cumsum(gaps)])
    rest = without_strays(heights[:, None] * UP, UP, 1.0)
    assert rest.stop - rest.start == left


@pytest.mark.parametrize("gap", [9.0, 10.0, 13.4])
def test_slices_that_nobody_saw_are_counted(tmp_path: Path, gap: float) -> None:
    """A whole multiple or not, the words are the same."""
    stack(tmp_path / "scan", [3.0 * n for n in range(10)] + [27 + gap + 3 * n for n in range(10)])
    volume = read_dicom(tmp_path / "scan")
    (notice,) = volume.warnings
    assert notice.code == ("missing_slices" if gap == 9 else "irregular_gaps")
    assert "nothing in them was seen by the scanner" in notice.message
    assert f"27 to {27 + gap:g} mm from the first slice" in notice.message
    assert ("3 of them" if gap == 13.4 else "2 slices are missing" if gap == 9 else "2 of them") in notice.message


def test_jitter_invents_nothing(tmp_path: Path) -> None:
    stack(tmp_path / "scan", [0.0, 3.0, 6.4, 9.0, 12.3, 15.0, 18.2])
    volume = read_dicom(tmp_path / "scan")
    assert codes(volume) == ["irregular_gaps"]
    assert "seen" not in message(volume, "irregular_gaps")


def test_a_far_slice_beside_an_irregular_stack_is_refused(tmp_path: Path) -> None:
    stack(tmp_path / "scan", [0.0, 3.0, 6.4, 9.0, 12.3, 15.0, 18.2, 90.0])
    error = attempt(tmp_path / "scan")
    assert isinstance(error, VolumeError)
    assert error.code == "inconsistent_slices"
    assert len(files(tmp_path / "scan")) == 8
