"""The budget: never more than its limit is out, large scans get their turn, and what it says of a scan holds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from medattn_core import volumes
from medattn_core.batch import memory
from medattn_core.batch.memory import Budget, budget_of, expected_voxels, scan_bytes
from medattn_core.batch.settings import bytes_of, count_of
from medattn_core.errors import MedAttnError
from tests.batch.checks import records, run

ROOT = Path(__file__).resolve().parents[2]


def test_no_more_is_lent_than_there_is() -> None:
    budget, most, wrong = Budget(100), 0, []
    rng = np.random.default_rng(0)

    def work(needs: list[int]) -> None:
        nonlocal most
        for need in needs:
            with budget.lend(need, "scan"):
                most = max(most, budget.lent)
                if budget.lent > 100:
                    wrong.append(budget.lent)
                time.sleep(0.0005)

    team = [threading.Thread(target=work, args=(rng.integers(1, 101, 40).tolist(),)) for _ in range(6)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(30)
    assert not any(thread.is_alive() for thread in team)
    assert (wrong, budget.lent) == ([], 0)
    assert most > 50


def test_a_large_scan_is_not_overtaken_for_ever() -> None:
    budget, order = Budget(100), []
    started, asks = threading.Event(), threading.Event()

    def small() -> None:
        for turn in range(200):
            if turn == 1:
                asks.wait()
            with budget.lend(60, "small"):
                order.append("small")
                started.set()
                time.sleep(0.001)

    def large() -> None:
        started.wait()
        asks.set()
        with budget.lend(100, "large"):
            order.append("large")

    team = [threading.Thread(target=one) for one in (small, small, large)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(30)
    assert order.index("large") < 200


def test_a_scan_larger_than_all_is_alone_or_refused() -> None:
    with Budget(100).lend(500, "scan") as loan:
        assert loan.size == 100
    with pytest.raises(MedAttnError) as refused, Budget(100, strict=True).lend(500, "big.nii"):
        pass
    assert (refused.value.code, "big.nii" in refused.value.message) == ("too_large", True)
    budget = Budget(100, strict=True)
    with pytest.raises(MedAttnError), budget.lend(10, "big.nii") as loan:
        loan.grow(500)
    assert budget.lent == 0


def test_too_little_for_the_model_is_said() -> None:
    with pytest.raises(MedAttnError, match="MB or more") as refused:
        budget_of(1 << 20)
    assert refused.value.code == "bad_argument"
    with pytest.raises(MedAttnError, match="--memory of 1024 bytes: model"):
        budget_of(1024)
    assert budget_of(0).limit > memory.PER_SCAN


def test_voxels_are_known_from_the_header(scans: list[Path], sample_data: Path, tmp_path: Path) -> None:
    assert expected_voxels(scans[1]) == 60 * 60 * 3
    assert expected_voxels(sample_data / "brain1_image.nrrd") == 256 * 256 * 25
    image = volumes.Volume(data=np.ones((4, 5, 6), np.uint8), affine=np.eye(4))
    volumes.write(image, tmp_path / "a.nii")
    assert expected_voxels(tmp_path / "a.nii") == 120
    # 25 slices of 256 x 256 in two bytes each, packed or not: the guess is not too small
    assert expected_voxels(sample_data / "brain1_dicom") >= 256 * 256 * 25 / 4
    assert expected_voxels(tmp_path / "gone.nii") == 0
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[42:44] = np.array([-4], "<i2").tobytes()
    (tmp_path / "negative.nii").write_bytes(content)
    assert expected_voxels(tmp_path / "negative.nii") == 0
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\nnonsense")
    assert expected_voxels(tmp_path / "bad.nrrd") == 0


@pytest.mark.parametrize(("text", "size"), [("4G", 4 << 30), ("1.5 GB", 3 << 29), ("800m", 800 << 20), ("auto", 0)])
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "4X", "-1G", "0", "G", "0.5", "0.0001K", "9" * 400])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(MedAttnError, match="--memory"):
        bytes_of(text)


def test_counts() -> None:
    assert [count_of(text, "--workers") for text in ("auto", "3")] == [0, 3]
    for text in ("0", "-1", "two", "1.5"):
        with pytest.raises(MedAttnError, match="--workers"):
            count_of(text, "--workers")


def test_under_a_small_limit_a_large_scan_is_a_row(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    # Sparse: 16 GB of zeros by its header, and a file of a few bytes more than its header.
    large = tmp_path / "large.nii"
    volumes.write(volumes.Volume(data=np.zeros((2, 2, 2), np.int16), affine=np.eye(4)), large)
    content = bytearray(large.read_bytes())
    content[42:48] = np.array([2000, 2000, 2000], "<i2").tobytes()
    large.write_bytes(content)
    limit = memory.resident_bytes() + (900 << 20)
    run([scans[0], large, scans[1]], tmp_path / "out", tiny, memory=limit)
    found = [record["error"] and record["error"]["code"] for record in records(tmp_path / "out")]
    assert found == [None, "too_large", None]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_the_limit_holds_for_scans_of_all_sizes(tiny: Path, tmp_path: Path) -> None:
    """20 scans from 2 to 134 MB of voxels, four at a time, under 3 GiB: the process never holds more."""
    rng = np.random.default_rng(0)
    for number in range(20):
        shape = (256, 256, int(rng.integers(16, 160))) if number % 4 else (512, 512, 256)
        data = rng.integers(0, 900, shape).astype(np.int16)
        volumes.write(volumes.Volume(data=data, affine=np.diag([0.9, 0.9, 1.0, 1.0])), tmp_path / f"s{number}.nii")
    limit = 3 << 30
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom tests.batch.checks import run\n"
        f"scans = sorted(Path({str(tmp_path)!r}).glob('*.nii'))\n"
        f"summary = run(scans, Path({str(tmp_path)!r}) / 'out', Path({str(tiny)!r}), memory={limit}, workers=4)\n"
        "line = [x for x in open('/proc/self/status') if x.startswith('VmHWM')][0]\n"
        "print(json.dumps([summary.failed, int(line.split()[1]) * 1024]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    failed, peak = json.loads(done.stdout.splitlines()[-1])
    assert failed == 0
    assert scan_bytes(512 * 512 * 256) < limit
    assert peak <= limit
