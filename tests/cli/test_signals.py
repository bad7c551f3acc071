"""Commands that are stopped: what they leave, and what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from medattn_core.cli.signals import terminable
from tests.cli.conftest import Run

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without a word to it")


@POSIX
def test_a_terminated_export_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    """Twice at once, as `timeout` does it: the second does not break off the taking away."""
    target = tmp_path / "made"
    command = [sys.executable, "-m", "medattn_core", "bundle", "export", str(tiny), "--output", str(target)]
    with subprocess.Popen([*command, "--torchscript"], stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.terminate()
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    # CPython's own words, where the signal comes while a zip archive is being opened.
    assert re.fullmatch(
        r"(Exception ignored in: <function ZipFile\.__del__.*\nAttributeError: [^\n]*\n)?", said, re.DOTALL
    )
    assert list(tmp_path.iterdir()) == []


ENDED = """
import os, signal, sys, time
from medattn_core.cli.signals import terminable
number = getattr(signal, sys.argv[1])
signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
try:
    with terminable():
        os.kill(os.getpid(), number)
        time.sleep(5)
finally:
    print(signal.getsignal(number) is signal.SIG_DFL)
"""

KEPT = """
import os, signal, time
from medattn_core.cli.signals import terminable
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with terminable():
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.1)
print("alive")
"""


def ran(code: str, *words: str) -> tuple[int, str]:
    """Status and output of a process of its own: a signal is for all that a process of tests has loaded."""
    done = subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout


@POSIX
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_what_ends_a_process_is_ours_for_as_long_as_a_command_runs(name: str, status: int) -> None:
    assert ran(ENDED, name) == (status, "True\n")


@POSIX
def test_a_command_under_nohup_outlives_its_terminal() -> None:
    assert ran(KEPT) == (0, "alive\n")


PATIENT = """
import time
from medattn_core.cli.signals import terminable
with terminable():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)
"""


@POSIX
def test_a_later_sigterm_ends_at_once_what_does_not_come_to_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "ending\n"
        time.sleep(1.2)
        process.terminate()
        assert process.wait(20) == 143


def test_sigterm_of_another_program_and_of_a_thread_is_left_alone() -> None:
    inside = []

    def look() -> None:
        with terminable():
            inside.append(signal.getsignal(signal.SIGTERM))

    def theirs(*_: object) -> None: ...

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGTERM, theirs)
    try:
        look()
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)
    assert inside == [signal.SIG_DFL, theirs]


@pytest.mark.parametrize(
    ("words", "place", "said"),
    [
        ("evaluate b --data x --output y", "evaluation.evaluate", "interrupted\n"),
        ("data check x", "datalists.check", "interrupted\n"),
        (
            "predict {tiny} --bundle {tiny} --output y",
            "batch.jobs.inputs_of",
            "interrupted; what was finished is saved\n",
        ),
    ],
)
def test_what_is_said_after_ctrl_c(
    run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch, words: str, place: str, said: str
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"medattn_core.{place}", pressed)
    ran = run(*words.format(tiny=tiny).split())
    assert (ran.status, ran.err) == (130, said)
