"""The measure of the other tests: what a thread waits for counts, what others have of the processors does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.extension import kept
from tests.extension.kept import Kept

MUCH = 0.1
"""Seconds."""


@pytest.fixture
def neighbours() -> Iterator[None]:
    """Three busy programs on the processor of this thread, so that it gets a quarter of it at most."""
    if not hasattr(os, "sched_setaffinity") or not kept.QUEUE.is_file():
        pytest.skip("the system does not tell, or binds no program to a processor")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    program = [sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"]
    busy = [subprocess.Popen(program, stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for one in busy:
            one.stdout.readline()
        yield
    finally:
        for one in busy:
            one.kill()
            one.communicate()
        os.sched_setaffinity(0, allowed)


def of_a_pipe() -> None:
    """Reads what is written only after a while."""
    here, there = os.pipe()
    threading.Timer(MUCH, os.write, (there, b"x")).start()
    os.read(here, 1)
    os.close(here)
    os.close(there)


def of_a_process() -> None:
    subprocess.run(["sleep", str(MUCH)], check=True)


def of_a_lock() -> None:
    threading.Event().wait(MUCH)


def of_work(processor_s: float = MUCH) -> None:
    end = time.thread_time() + processor_s
    while time.thread_time() < end:
        pass


WAYS = [lambda: time.sleep(MUCH), of_a_pipe, of_a_process, of_a_lock, of_work]
NAMES = ["sleep", "pipe", "process", "lock", "work"]


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_what_it_does_itself_counts(way: Callable[[], None]) -> None:
    with Kept() as measured:
        way()
    assert 0.9 * MUCH < measured.seconds <= measured.wall


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_it_counts_beside_others(neighbours: None, way: Callable[[], None]) -> None:
    with Kept() as measured:
        way()
    assert 0.9 * MUCH < measured.seconds <= measured.wall


def among_others(theirs: float = 0.2) -> float:
    """Works until others have had its processor for so many seconds; seconds of its own work."""
    clock, own = time.perf_counter(), time.thread_time()
    while time.perf_counter() - clock - (time.thread_time() - own) < theirs:
        pass
    return time.thread_time() - own


def test_what_others_have_does_not_count(neighbours: None) -> None:
    with Kept() as measured:
        worked = among_others()
    assert measured.wall > worked + 0.2
    assert worked <= measured.seconds < worked + 0.01
    with Kept() as measured:
        time.sleep(0.001)  # the rest is the same after it has once left the processor
        worked = among_others()
    assert measured.wall > worked + 0.2
    assert worked <= measured.seconds < worked + 0.03


def test_without_the_counts_it_is_the_clock(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(kept, "QUEUE", tmp_path / "missing")
    with Kept() as measured:
        time.sleep(0.02)
    assert measured.seconds == measured.wall >= 0.02
