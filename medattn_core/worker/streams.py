"""The two streams of the worker, out of reach of everything else that prints or reads."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from medattn_core.errors import MedAttnError

LONGEST = 16 << 20
"""Bytes of the longest line that is read; volumes travel as files, so a longer one is a mistake."""


def claim() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the messages alone.

    They are moved to other descriptors, which child processes do not inherit. Descriptor 1 then leads to standard
    error, so that what a C library prints cannot get between the messages, and descriptor 0 to an empty file.

    Returns:
        Requests, to be read, and answers, to be written without buffer.
    """
    try:
        os.fstat(2)
    except OSError:  # started without standard error
        _lead(2, os.O_WRONLY)
    requests, answers = os.dup(0), os.dup(1)
    _lead(0, os.O_RDONLY)
    os.dup2(2, 1)
    if sys.platform == "win32":  # no translation of line ends
        import msvcrt

        msvcrt.setmode(requests, os.O_BINARY)
        msvcrt.setmode(answers, os.O_BINARY)
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in a terminal ends it without a trace
    return os.fdopen(requests, "rb"), io.FileIO(answers, "wb")


def _lead(descriptor: int, mode: int) -> None:
    """Let a descriptor read or write nothing."""
    nothing = os.open(os.devnull, mode)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a stream until its end; None stands for one that is too long, of which nothing is kept."""
    while line := stream.readline(LONGEST + 1):
        if len(line) <= LONGEST:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST)
        yield None


class Answers:
    """Writes messages, each whole, from any thread.

    Args:
        stream: unbuffered.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Write one line. A client that is gone is noticed at the other stream.

        ASCII with escapes, which is UTF-8: a path that is not valid text on this system survives as well.
        """
        rest = memoryview(json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n")
        with self._lock:
            try:
                while rest:
                    rest = rest[self._stream.write(rest) :]
            except OSError:
                return

    def result(self, number: int | str, result: dict[str, Any]) -> None:
        """The final answer to a request."""
        self.send({"id": number, "type": "result", "result": result})

    def error(self, number: int | str | None, error: MedAttnError) -> None:
        """The other final answer; one line."""
        told = {"code": error.code, "message": " ".join(error.message.split())}
        self.send({"id": number, "type": "error", "error": told})

    def progress(self, number: int | str, stage: str, fraction: float, text: str) -> None:
        """One of any number of progress messages."""
        self.send({"id": number, "type": "progress", "stage": stage, "fraction": round(fraction, 4), "text": text})
