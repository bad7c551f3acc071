"""However a batch ends: what it finished has its row, no file lies without its name, and nothing earlier is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medattn_core.batch.jobs import Job
from medattn_core.batch.journal import NAME, Journal
from tests.batch.checks import interrupted, maps, records, rows, run

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

KILLED = """
import os, signal, sys
from pathlib import Path
from medattn_core.batch import Settings, predict_many
from medattn_core.outputs import ResultWriter

bundle, output, options, victim, *scans = sys.argv[1:]
write = ResultWriter.write

def killed(self, prediction, name):
    written = write(self, prediction, name)
    if name == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return written

ResultWriter.write = killed
settings = Settings(bundle=bundle, device="cpu", workers=1, **eval(options))
predict_many([(Path(scan), ()) for scan in scans], Path(output), settings)
"""


def killed(scans: list[Path], output: Path, bundle: Path, *, victim: str = "scan", **options: Any) -> None:
    """A run that is killed when the files of one scan are written and its row is not."""
    words = [str(bundle), str(output), repr(options), victim, *map(str, scans)]
    process = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


@pytest.fixture
def patients(alike: list[Path]) -> list[Path]:
    """Two patients' scans of one name."""
    return alike[:2]


def made(output: Path) -> dict[str, bytes]:
    """All result files of scans, by name."""
    return {path.name: path.read_bytes() for path in output.glob("scan*_*")}


def mapped(output: Path) -> set[str]:
    """The maps that the table knows."""
    return {record["evidence"]["path"] for record in records(output) if not record["error"]}


@pytest.mark.parametrize("workers", [1, 8])
def test_what_was_finished_at_an_interrupt_has_its_row(
    tiny: Path, scans: list[Path], tmp_path: Path, workers: int
) -> None:
    def done(_: object) -> None:
        end = time.monotonic() + 20
        while len(maps(tmp_path)) < 3 and time.monotonic() < end:  # of the other threads
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scans, tmp_path, tiny, workers=workers, done=done)
    assert len(records(tmp_path)) == rows(tmp_path) >= 3
    assert mapped(tmp_path) == set(maps(tmp_path))
    assert b"dropped" not in (tmp_path / NAME).read_bytes()


@posix
def test_ctrl_c_of_the_command(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medattn_core", "predict", *map(str, scans), "--bundle", str(tiny)]
    command += ["--output", str(tmp_path), "--device", "cpu", "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[3/"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert (process.returncode, "what was finished is saved" in said) == (130, True)
    assert mapped(tmp_path) == set(maps(tmp_path))
    assert run(scans, tmp_path, tiny).failed == 0
    assert len(maps(tmp_path)) == 12


@posix
@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
def test_files_of_a_killed_scan_are_never_beside_those_of_another(
    tiny: Path, patients: list[Path], tmp_path: Path, good: bool
) -> None:
    pytest.importorskip("PIL")
    out = tmp_path / "out"
    killed(patients[:1], out, tiny, report=True)
    first = made(out)
    assert (len(first), rows(out)) == (3, 0)
    if not good:
        patients[1].write_bytes(b"damaged")
    for _ in range(2):
        assert run(patients[1:], out, tiny).failed == (not good)
        assert {name: made(out)[name] for name in first} == first
        assert mapped(out) == ({"scan_2_evidence.nii.gz"} if good else set())
    # The first patient's run goes on: its files are its own again, and none is left that it did not make now.
    run(patients[:1], out, tiny)
    assert [record["input"] for record in records(out)] == [str(path) for path in patients[::-1]]
    assert set(made(out)) == mapped(out)
    assert b"dropped" not in (out / NAME).read_bytes()


@posix
def test_files_of_a_killed_scan_go_before_another_has_their_name(
    tiny: Path, patients: list[Path], tmp_path: Path
) -> None:
    """Asked for together in another order, the second patient has the name that the first one had."""
    pytest.importorskip("PIL")
    out = tmp_path / "out"
    killed(patients[:1], out, tiny, report=True)
    patients[1].write_bytes(b"damaged")
    assert run(patients[::-1], out, tiny).failed == 1
    assert set(made(out)) == mapped(out) == {"scan_2_evidence.nii.gz"}


@posix
def test_a_row_whose_files_are_half_replaced_at_a_kill_is_no_row(
    tiny: Path, patients: list[Path], tmp_path: Path
) -> None:
    """Of the same bytes, too: the map is as large as before, and the page is of no row."""
    pytest.importorskip("PIL")
    out = tmp_path / "out"
    run(patients[:1], out, tiny)
    killed(patients[:1], out, tiny, report=True)
    assert rows(out) == 1
    run(patients[1:], out, tiny)
    assert mapped(out) == {"scan_2_evidence.nii.gz"}
    assert len(made(out)) == 4  # of which three keep their name
    assert run(patients[:1], out, tiny, report=True).taken_over == 0
    assert mapped(out) == {"scan_2_evidence.nii.gz", "scan_evidence.nii.gz"}


@pytest.mark.parametrize("how", ["interrupted", pytest.param("killed", marks=posix)])
def test_results_stay_until_those_with_other_options_are_there(
    tiny: Path, scans: list[Path], tmp_path: Path, how: str
) -> None:
    pytest.importorskip("PIL")
    out, gone = tmp_path / "out", tmp_path / "gone.nii.gz"
    run([*scans, gone], out, tiny)
    before = {record["input"]: record for record in records(out)}
    if how == "killed":
        killed([*scans, gone], out, tiny, victim="scan05", report=True)
        assert len(maps(out)) == 12
        # The rows of scans whose files were replaced go, with what waited to be written; all others are there.
        run([scans[0].with_name("none.nii.gz")], out, tiny, report=True)
        found = {record["input"]: record for record in records(out)}
        assert {str(scans[5])} <= before.keys() - found.keys() <= set(map(str, scans[:8]))
        assert found[str(scans[11])] == before[str(scans[11])]
    else:
        new = interrupted([*scans, gone], out, tiny, after=1, report=True) - len(before)
        assert new == 0
        assert len(maps(out)) == 12
        assert records(out)[12] == before[str(gone)]
    pages = len(list(out.glob("*_report.html")))
    assert 1 <= pages < 12
    # The same command goes on, and other options are refused no more than before.
    assert 0 < run([*scans, gone], out, tiny, report=True).taken_over < 12
    assert len(list(out.glob("*_report.html"))) == len(maps(out)) == 12
    run([*scans, gone], out, tiny)
    assert list(out.glob("*_report.html")) == []
    assert rows(out) == len(records(out)) == len((out / NAME).read_bytes().splitlines()) == 13 + (how == "killed")


def test_a_failure_keeps_its_row_until_it_is_predicted_again(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.nii.gz", tmp_path / "out"
    bad.write_bytes(b"damaged")
    run([bad], out, tiny)
    (failure,) = records(out)
    run(scans[:1], out, tiny)
    run(scans[1:2], out, tiny, batch_size=2)
    assert records(out)[0] == failure
    assert [record["input"] for record in records(out)] == [str(path) for path in (bad, *scans[:2])]
    assert len((out / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 4
    shutil.copy(scans[2], bad)
    assert run([bad], out, tiny).failed == 0
    assert [record["error"] for record in records(out)] == [None, None, None]


def test_a_row_whose_files_are_written_over_is_in_no_table(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    """As after a second Ctrl-C: the files of one scan are the new ones, and its new row is not written."""
    out = tmp_path / "out"
    run(scans[:2], out, tiny)
    jobs = [Job(index, path, path.stem) for index, path in enumerate(scans[:2])]
    model = json.loads((out / NAME).read_text(encoding="utf-8").splitlines()[-1])["batch"]["model"]
    journal = Journal(out, jobs, "other options", model=model)
    for job in journal.jobs:
        journal.reserve(job)
    assert len(list(journal.rows())) == 2
    [name] = [name for name in maps(out) if name.startswith(f"{journal.jobs[1].name}_")]
    (out / name).write_bytes(b"of another scan")
    left = list(journal.rows())
    journal.close()
    assert [Path(row["input"]) for row in left] == [scans[0]]
