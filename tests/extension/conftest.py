"""The library of the Slicer module, importable, and an engine that a test drives as a QTimer would."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.extension.kept import Kept
from tests.worker.conftest import overload

EXTENSION = Path(__file__).resolve().parents[2] / "MedAttnExtension"
MODULE = EXTENSION / "MedAttn"
PERIOD = 0.01
"""Seconds between two polls."""

if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))


class Drive:
    """Polls an engine until something is so, and keeps the time of the longest poll.

    Args:
        engine: of MedAttnLib.

    Attributes:
        longest: seconds for which a poll or a request itself kept the thread, at most: see :class:`Kept`.
        wall: the longest by the clock, with what other programs had of it.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.longest = self.wall = 0.0
        self.states: list[str] = []
        self.messages: list[str] = []
        engine.on_state = self.states.append
        engine.on_message = self.messages.append

    def poll(self) -> None:
        with Kept() as kept:
            self.engine.poll()
        self.took(kept)

    def took(self, kept: Kept) -> None:
        """Something was done in the main thread."""
        self.longest = max(self.longest, kept.seconds)
        self.wall = max(self.wall, kept.wall)

    def told(self) -> str:
        """The longest poll in words."""
        return f"longest poll {self.longest * 1000:.1f} ms, {self.wall * 1000:.1f} ms with the time of other programs"

    def until(self, true: Callable[[], bool], patience: float = 120.0) -> float:
        """Poll until it is so; the seconds it took."""
        start = time.monotonic()
        while not true():
            assert time.monotonic() - start < patience, f"it did not happen; {self.messages}"
            self.poll()
            time.sleep(PERIOD)
        return time.monotonic() - start

    def rest(self, seconds: float) -> None:
        """Poll for some time."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def send(self, kind: str, **fields: Any) -> Answer:
        """A request under way."""
        return Answer(self, kind, fields)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The result of a request."""
        answer = self.send(kind, **fields).wait()
        assert answer.error is None, answer.error
        assert answer.result is not None
        return answer.result


class Answer:
    """What comes of one request: exactly one of result and error, once."""

    def __init__(self, drive: Drive, kind: str, fields: dict[str, Any]) -> None:
        self.drive = drive
        self.result: dict[str, Any] | None = None
        self.error: tuple[str, str] | None = None
        self.progress: list[tuple[float, str]] = []
        self.calls = 0
        with Kept() as kept:
            self.id = drive.engine.request(
                kind,
                done=self._done,
                failed=self._failed,
                progress=lambda fraction, text: self.progress.append((fraction, text)),
                **fields,
            )
        drive.took(kept)
        assert not self.calls, "a callback came before the first poll"

    def _done(self, result: dict[str, Any]) -> None:
        self.calls += 1
        self.result = result

    def _failed(self, code: str, message: str) -> None:
        self.calls += 1
        self.error = (code, message)

    def wait(self) -> Answer:
        self.drive.until(lambda: self.calls > 0)
        assert self.calls == 1
        return self


@pytest.fixture(autouse=True)
def only_new_objects() -> Iterator[None]:
    """What other tests have imported is no part of what Python's collector has to look through in a poll.

    With PyTorch and MONAI that is 400 000 objects and 0.2 s, whenever it happens to do so.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def drive() -> Iterator[Callable[[Any], Drive]]:
    """Drive engines; all are stopped after the test."""
    engines: list[Any] = []

    def one(engine: Any) -> Drive:
        engines.append(engine)
        return Drive(engine)

    yield one
    for engine in engines:
        engine.on_state = engine.on_message = None
        engine.stop()


@pytest.fixture(scope="session")
def brain1(sample_data: Path) -> str:
    """Path of the sample scan."""
    return str(sample_data / "brain1_image.nrrd")


def processes_of_group(group: int) -> list[int]:
    """Living processes of a process group (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def blocked() -> float:
    """Seconds that the main thread may be kept at most: 0.05, and more where others wait for the processors too.

    The thread in which a process is started gets its turn in a poll, and may lose its processor in the middle of it.
    """
    return 0.05 * overload()
