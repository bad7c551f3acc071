"""Two evaluations into one folder: the second is refused, and what a killed one leaves refuses nobody."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate
from medattn_core.evaluation.lock import LOCK
from medattn_core.files import lock_file
from tests.squares import write_list

NUMBERS = Settings(compared_cases=0, bootstrap=0, examples=0)
WAITING = """
import sys, time
from pathlib import Path
from medattn_core.evaluation import Settings, evaluate
bundle, data, output, signs = sys.argv[1:]
def wait(*_):
    Path(signs, "begun").touch()
    while not Path(signs, "go").exists():
        time.sleep(0.01)
numbers = Settings(compared_cases=0, bootstrap=0, examples=0)
evaluate(bundle, data, output, settings=numbers, device="cpu", progress=wait)
"""
needs_locks = pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")


@pytest.fixture
def lists(trained: tuple[Path, Path], tmp_path: Path) -> list[Path]:
    """Two lists of four squares each."""
    rows = [row | {"image": str(trained[1].with_name(row["image"]))} for row in csv.DictReader(trained[1].open())]
    return [write_list(tmp_path / f"{i}.csv", rows[4 * i : 4 * i + 4]) for i in range(2)]


@pytest.fixture
def begin(trained: tuple[Path, Path], lists: list[Path], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """Evaluate on the first list in another process, which stops at its first case until ``go`` is there."""
    running: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        arguments = [str(trained[0]), str(lists[0]), str(tmp_path / "out"), str(tmp_path)]
        process = subprocess.Popen([sys.executable, "-c", WAITING, *arguments])
        running.append(process)
        end = time.monotonic() + 120
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


@needs_locks
def test_a_second_evaluation_is_refused_and_changes_nothing(
    trained: tuple[Path, Path], lists: list[Path], begin: Callable[[], subprocess.Popen], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = begin()
    options = ["--compared-cases", "0", "--bootstrap", "0", "--device", "cpu", "--overwrite"]
    second = subprocess.run(
        [sys.executable, "-m", "medattn_core", "evaluate", str(trained[0]), "--data", str(lists[1]),
         "--output", str(output), *options],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert f"{output}: another medattn evaluate writes there" in "".join(second.stderr.splitlines())
    assert "[unwritable]" in second.stderr
    (tmp_path / "go").touch()
    assert first.wait(120) == 0
    assert json.loads((output / "metrics.json").read_text())["data"] == "0.csv"
    assert "0.csv" in (output / "summary.html").read_text()
    assert not list(output.glob(".*"))
    evaluate(trained[0], lists[1], output, settings=NUMBERS, device="cpu", overwrite=True)


@needs_locks
def test_what_a_killed_evaluation_leaves_refuses_nobody(
    trained: tuple[Path, Path], lists: list[Path], begin: Callable[[], subprocess.Popen], tmp_path: Path
) -> None:
    output, first = tmp_path / "out", begin()
    first.kill()
    assert first.wait(120) == -signal.SIGKILL
    assert [path.name for path in output.iterdir()] == [LOCK]
    evaluate(trained[0], lists[1], output, settings=NUMBERS, device="cpu")
    assert (output / "summary.html").exists()
    assert not list(output.glob(".*"))


def test_one_that_fails_leaves_no_folder(trained: tuple[Path, Path], lists: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MedAttnError):
        evaluate(trained[0], lists[0], tmp_path / "a" / "b", fold=7, settings=NUMBERS, device="cpu")
    assert not (tmp_path / "a").exists()


def test_where_there_are_no_locks_it_works_all_the_same(
    trained: tuple[Path, Path], lists: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "out").mkdir()
    with lock_file(tmp_path / "out" / LOCK):
        evaluate(trained[0], lists[0], tmp_path / "out", settings=NUMBERS, device="cpu")
    assert not list((tmp_path / "out").glob(".*"))
