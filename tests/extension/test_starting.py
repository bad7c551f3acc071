"""The start of the process: the system makes its caller wait, and that is not the main thread."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extension.conftest import MODULE, blocked, processes_of_group

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
LONG = 0.4
"""Seconds that a start takes here."""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started, each of which took long to stand."""
    from MedAttnLib import launch

    started, start = [], launch.start

    def slowly(*arguments, **options) -> subprocess.Popen[bytes]:
        time.sleep(LONG)
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(launch, "start", slowly)
    return started


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_nobody_waits_for_it(drive, slow: list) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker(warm=False))
    greeted = []
    answer = one.send("cancel")
    one.engine.start(done=greeted.append)
    assert (one.engine.running, one.engine.pid, one.engine.state) == (True, None, "busy")
    answer.wait()
    one.until(lambda: bool(greeted))
    assert answer.error is None
    assert greeted == [one.engine.hello]
    assert [one.engine.pid] == [process.pid for process in slow]
    assert one.longest < min(blocked(), LONG)


def test_cancelled_before_it_stands(drive, slow: list) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker(warm=False))
    answer = one.send("predict", path="scan.nii")
    one.engine.cancel()
    answer.wait()
    assert answer.error[0] == "cancelled"
    assert not slow
    assert (one.engine.running, one.engine.pid, one.engine.state) == (True, None, "starting")
    assert one.send("cancel").wait().error is None
    assert len(slow) == 1


@LINUX
def test_stopped_before_it_stands(drive, slow: list, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedAttnLib import process

    monkeypatch.setattr(process, "MOST_TO_STOP", 30)  # what happens when time is up is the next test's
    one = drive(process.Worker(warm=False))
    answer = one.send("predict", path="scan.nii")
    folder = one.engine.folder
    one.engine.stop()
    assert answer.error[0] == "cancelled"
    assert one.states == ["starting", "busy", "stopped"]
    assert [processes_of_group(process.pid) for process in slow] == [[]]
    assert not folder.exists()
    one.engine.poll()
    assert one.send("cancel").wait().error is None, "it can be started again"


@LINUX
def test_stopped_long_before_it_stands(drive, slow: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for ever; the process that comes afterwards is ended as it comes."""
    from MedAttnLib import process

    monkeypatch.setattr(process, "MOST_TO_STOP", 0.05)
    monkeypatch.setattr(sys.modules[__name__], "LONG", 2.0)  # the folder below comes sooner
    one = drive(process.Worker(warm=False))
    one.engine.start()
    folder = one.engine.folder
    one.engine.stop()
    assert not slow
    assert one.engine.state == "stopped"
    folder.mkdir()  # else it does not even start: its working directory is gone
    until(lambda: bool(slow) and slow[0].returncode is not None)
    assert processes_of_group(slow[0].pid) == []
    folder.joinpath("worker.log").unlink()
    folder.rmdir()


def test_any_other_fault_is_raised(drive) -> None:
    """Once, in a poll; the next start tries again."""
    from MedAttnLib.process import Worker

    one = drive(Worker(variables={"NAME": "\0"}))
    for _ in range(2):
        one.engine.start()
        with pytest.raises(ValueError, match="null byte"):
            one.until(lambda: False, patience=5)
        assert not one.engine.running


@LINUX
@pytest.mark.parametrize("how", ["", "os._exit(1)", "os.kill(os.getpid(), 9)"], ids=["ends", "exit", "killed"])
def test_a_client_that_ends_at_once_leaves_nothing(tmp_path: Path, how: str) -> None:
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(MODULE)!r})\n"
        "from MedAttnLib.process import Worker\n"
        f"one = Worker({str(tmp_path / 'python')!r}); one.start()\n"
        "print(one.folder, flush=True)\n" + how
    )
    worker = tmp_path / "python"
    worker.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/pid"\nexec "{sys.executable}" "$@"\n')
    worker.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    pid = tmp_path / "pid"
    time.sleep(0.2)  # it may still come
    until(lambda: not pid.exists() or not pid.read_text() or processes_of_group(int(pid.read_text())) == [])
    folder = Path(done.stdout.strip())
    assert how or not folder.exists()
    shutil.rmtree(folder, ignore_errors=True)  # of one that had no time to tell the worker about it
