"""What all commands share: options, how they speak, how they fail."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from medattn_core.errors import MedAttnError, known_error

FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
_USAGE_CODES = ("bad_argument", "bad_config", "bad_task", "unknown_bundle")
"""A task that cannot be is of somebody's settings: that of a damaged bundle is ``bad_bundle``."""


class Runtime(str, Enum):
    """What computes the network."""

    torch = "torch"
    torch_bf16 = "torch-bf16"
    onnx = "onnx"
    openvino = "openvino"
    openvino_bf16 = "openvino-bf16"
    auto = "auto"


class EvidenceDtype(str, Enum):
    """How evidence is stored in files."""

    int16 = "int16"
    float32 = "float32"


def _device(name: str) -> str:
    from medattn_core.bundles.device import check_device_name

    with reported(verbose=False):
        check_device_name(name)
    return name


def output_folder(text: str) -> Path:
    """The parser of an option ``--output``: as a path, what an unset variable leaves is the current folder."""
    with reported(verbose=False):
        if not text.strip():
            raise MedAttnError("bad_argument", "--output is empty; perhaps a variable is not set")
    return Path(text)


Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", callback=_device, help="Where the network runs.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the trace of errors and what libraries warn of.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # Piped into a file or another program, a name must not be cut at the width of a terminal that is not there.
    width = None if terminal else 10_000
    text = io.StringIO()
    Console(file=text, force_terminal=terminal, width=width, markup=False, emoji=False, highlight=False).print(table)
    out(text.getvalue().removesuffix("\n"))


@contextlib.contextmanager
def bars() -> Iterator[tuple[Callable[[int, int], None], Callable[[int, int, dict[str, float]], None]]]:
    """Progress bars of training on stderr: one called with (done, all), one with (step, steps, losses)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    stream = cast(TextIO, _Lossy(sys.stderr)) if sys.stderr else None  # there is none after `2>&-`
    bars = Progress(*columns, console=Console(file=stream, stderr=True))
    reading = bars.add_task("reading", total=None, visible=False)
    steps = bars.add_task("training", total=None, visible=False)

    # Started by what they first show: bars without a task end with an empty line.
    def read(done: int, count: int) -> None:
        bars.update(reading, completed=done, total=count, visible=True)
        bars.start()

    def step(done: int, count: int, losses: dict[str, float]) -> None:
        words = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        bars.update(steps, completed=done, total=count, description=f"training  {words}", visible=True)
        bars.start()

    try:
        yield read, step
    finally:
        if bars.live.is_started:
            bars.stop()


class _Lossy:
    """A stream for rich, which ends the process where the reader of a stream has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            let_go(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            let_go(self._stream)


def put(text: str, *, err: bool = False) -> OSError | None:
    """Print a line on stdout or stderr.

    Either may end before the work does (``| head -1``, a full disk). That costs what would have been printed there.

    Returns:
        Why the stream cannot be written; it leads nowhere from then on, so this is told once.
    """
    try:
        typer.echo(text, err=err)
    except OSError as error:
        let_go(sys.stderr if err else sys.stdout)
        return error
    return None


def say(text: str) -> None:
    """Print a line on stderr, if it can be written: the work does not depend on it."""
    put(text, err=True)


def out(text: str) -> None:
    """Print a result on stdout.

    A reader that has gone wants no more of it, which is no error.

    Raises:
        MedAttnError: ``unwritable``: the disk is full, or the like.
    """
    error = put(text)
    # Windows calls a pipe without a reader an invalid argument.
    if error and not isinstance(error, BrokenPipeError) and not (os.name == "nt" and error.errno == errno.EINVAL):
        raise unwritten(error)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """End on SIGTERM by an exception, as on Ctrl-C: what is half written or unpacked is taken away.

    Left alone where the signal already means something (a program that embeds this one) or cannot be caught.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    last = -math.inf

    def end(*_: object) -> None:
        nonlocal last
        now = time.monotonic()
        if last == -math.inf:
            last = now
            raise SystemExit(TERMINATED)
        if now - last > 1:  # `timeout` sends it twice at once, which must not break off the taking away
            os._exit(TERMINATED)  # to end by an exception once more would leave threads behind in C

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def unwritten(error: OSError) -> MedAttnError:
    """Why standard output cannot be written."""
    return MedAttnError("unwritable", f"standard output cannot be written ({error.strerror or type(error).__name__})")


def let_go(stream: TextIO) -> None:
    """Lead a stream nowhere: what it still holds would raise when Python flushes it at its end."""
    with contextlib.suppress(OSError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def prepare(verbose: bool) -> None:
    """One encoding everywhere (Windows pipes have others), and quiet libraries: what matters is in our warnings."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    if not verbose:
        import logging
        import warnings

        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)


def show(error: MedAttnError, verbose: bool) -> None:
    if verbose and sys.exc_info()[0] is not None:
        say(traceback.format_exc().rstrip())
    say(f"error [{error.code}] {' '.join(error.message.split())}")


@contextlib.contextmanager
def reported(verbose: bool, interrupted: str = "interrupted") -> Iterator[None]:
    """Errors that end the command: one line, and the exit status.

    Args:
        verbose: show the trace too.
        interrupted: what is said after Ctrl-C.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        say(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        known = known_error(error)
        show(known, verbose)
        raise typer.Exit(WRONG_USAGE if known.code in _USAGE_CODES else FAILED) from None
