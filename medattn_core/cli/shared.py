"""What all commands share: options, how they speak, how they fail."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from medattn_core.errors import MedAttnError, known_error

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
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
    # Piped into a file or another program, a name must not be cut at the width of a terminal that is not there.
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, width=10_000)
    console.print(table)


@contextlib.contextmanager
def bars() -> Iterator[tuple[Callable[[int, int], None], Callable[[int, int, dict[str, float]], None]]]:
    """Progress bars of training on stderr: one called with (done, all), one with (step, steps, losses)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        reading = bars.add_task("reading", total=None, visible=False)
        steps = bars.add_task("training", total=None, visible=False)

        def read(done: int, count: int) -> None:
            bars.update(reading, completed=done, total=count, visible=True)

        def step(done: int, count: int, losses: dict[str, float]) -> None:
            words = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bars.update(steps, completed=done, total=count, description=f"training  {words}", visible=True)

        yield read, step


def say(text: str) -> None:
    typer.echo(text, err=True)


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
def reported(verbose: bool) -> Iterator[None]:
    """Errors that end the command: one line, and the exit status."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        say("interrupted; what was finished is saved")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        known = known_error(error)
        show(known, verbose)
        raise typer.Exit(WRONG_USAGE if known.code in _USAGE_CODES else FAILED) from None
