"""A worker process and a client that knows nothing but the protocol."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds after which a test gives up on an answer; nothing is measured by it."""


class Client:
    """Speaks to ``python -m medattn_core.worker`` in lines.

    Args:
        variables: added to the environment.
    """

    def __init__(self, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medattn_core.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **variables},
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.everything: list[bytes] = []
        self.errors = b""
        self.count = 0
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.everything.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while part := self.process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
            self.errors += part

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, kind: str, **fields: Any) -> int:
        self.count += 1
        self.write(json.dumps({"id": self.count, "type": kind, **fields}).encode() + b"\n")
        return self.count

    def receive(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next message."""
        line = self.lines.get(timeout=patience)
        assert line is not None, f"the worker ended: {self.errors.decode(errors='replace')[-2000:]}"
        message: dict[str, Any] = json.loads(line)
        return message

    def answer(self, number: int) -> dict[str, Any]:
        """The final answer to a request; progress before it is left out, other answers are not expected."""
        while True:
            message = self.receive()
            if message["type"] != "progress":
                assert message["id"] == number, message
                return message

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The result of a request."""
        message = self.answer(self.send(kind, **fields))
        assert message["type"] == "result", message
        return message["result"]  # type: ignore[no-any-return]

    def refused(self, kind: str, **fields: Any) -> tuple[str, str]:
        """Code and message of a request that fails."""
        message = self.answer(self.send(kind, **fields))
        assert message["type"] == "error", message
        return message["error"]["code"], message["error"]["message"]

    def end(self, patience: float = 20.0) -> int:
        """Wait until the process is gone."""
        return self.process.wait(patience)


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    """Start workers; none is left after the test."""
    clients: list[Client] = []

    def one(greet: bool = True, folder: Path | None = None, warm: bool = True, **variables: str) -> Client:
        client = Client(**variables)
        clients.append(client)
        if greet:
            client.ask("hello", protocol=1, warm=warm, **({"folder": str(folder)} if folder else {}))
        return client

    yield one
    for client in clients:
        client.process.kill()
        client.process.wait()


@pytest.fixture(scope="module")
def worker() -> Iterator[Client]:
    """One worker for the tests of a file, greeted."""
    client = Client()
    client.ask("hello", protocol=1)
    yield client
    client.process.kill()
    client.process.wait()


@pytest.fixture(scope="session")
def brain1(sample_data: Path) -> str:
    """Path of the sample scan."""
    return str(sample_data / "brain1_image.nrrd")


def until(true: Callable[[], bool], patience: float = 20.0) -> float:
    """Wait until something is so; the seconds it took.

    Raises:
        AssertionError: it did not become so.
    """
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < patience, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - start


def overload() -> float:
    """How many want each processor, at least 1: promises in seconds are made for a machine that is not shared."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 1.0
