"""How commands speak: lines, tables and bars on streams that may end before the work does."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

import typer

from medattn_core.errors import TRACES, MedAttnError


def prepare(verbose: bool) -> None:
    """One encoding everywhere (Windows pipes have others), and quiet libraries: what matters is in our warnings."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    if not verbose:
        import warnings

        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    elif not any(isinstance(handler, _Said) for handler in logging.getLogger(TRACES).handlers):
        logging.getLogger(TRACES).addHandler(_Said())


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


class _Said(logging.Handler):
    """Says what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


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
