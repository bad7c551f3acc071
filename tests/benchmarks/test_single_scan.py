"""The floor that one scan is timed against."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.single_scan import floor
from medattn_core.evaluation.speed import made_up_scan
from medattn_core.inference import Predictor
from medattn_core.volumes import Volume, write


def test_the_floor_writes_a_map_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    write(Volume(data=made_up_scan(0, 40)[:, :36], affine=np.diag([-1.0, -1.0, 1.5, 1.0])), path)
    seconds = floor(Predictor.from_bundle("vessel_aneurysm", device="cpu"), path, tmp_path)()
    assert set(seconds) == {"read", "conform", "network", "map", "write"}
    assert min(seconds.values()) > 0
    assert nib.load(tmp_path / "floor.nii.gz").shape == (40, 36, 40)


def test_the_floor_is_of_volumes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3D"):
        floor(Predictor.from_bundle("brain_tumor_t1ce", device="cpu"), tmp_path / "scan.nii.gz", tmp_path)
