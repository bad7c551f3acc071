"""medattn predict into a pipe that is closed, or onto a disk that is full: only what is printed is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medattn_core import volumes

POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")


@pytest.fixture
def command(tiny: Path, tmp_path: Path) -> list[str]:
    """Three scans, of which the last cannot be read."""
    for number in range(2):
        data = np.random.default_rng(number).integers(0, 900, (40, 40, 2)).astype(np.int16)
        path = tmp_path / f"scan{number}.nii.gz"
        volumes.write(volumes.Volume(data=data, affine=np.diag([4.0, 4.0, 5.0, 1.0])), path)
    (tmp_path / "scan2.nii.gz").touch()
    scans = [str(tmp_path / f"scan{number}.nii.gz") for number in range(3)]
    options = ["--bundle", str(tiny), "--output", str(tmp_path / "out"), "--device", "cpu"]
    return [sys.executable, "-m", "medattn_core", "predict", *scans, *options]


def finished(tmp_path: Path) -> list[bool]:
    records = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    return [record["error"] is None for record in records]


@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_behind_stdout(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, finished(tmp_path)) == (1, [True, True, False])
    assert ran.stderr.count("standard output cannot be written (No space left on device)") == 1
    assert "2 of 3 predicted" in ran.stderr
    assert "internal" not in ran.stderr
    assert "Exception ignored" not in ran.stderr, "nor may Python complain when it ends"


@POSIX
@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_has_gone(command: list[str], tmp_path: Path, both: bool) -> None:
    """``| head -1`` and ``2>&1 | head -1``. Without the scan that fails the exit status is that of a good batch."""
    out, into = os.pipe()
    os.close(out)
    command.remove(str(tmp_path / "scan2.nii.gz"))
    try:
        ran = subprocess.run(command, stdout=into, stderr=into if both else subprocess.PIPE, text=True)
    finally:
        os.close(into)
    assert (ran.returncode, finished(tmp_path)) == (0, [True, True])
    if not both:
        assert ran.stderr.count("standard output cannot be written") == 1
        assert "Exception ignored" not in ran.stderr
