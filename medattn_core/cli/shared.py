"""What all commands share: options, and how they fail."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import say
from medattn_core.errors import MedAttnError, known_error

TRAINING_SECTION = "training"
"""That of the data lists, repeated here so that help needs no NumPy (a test compares)."""

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_USAGE_CODES = ("bad_argument", "bad_config", "bad_task", "unknown_bundle")
"""A task that cannot be is of somebody's settings: that of a damaged bundle is ``bad_bundle``."""


class Runtime(str, Enum):
    """What computes the network: those of :mod:`medattn_core.inference.runtimes`, which would load torch, and auto."""

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
    from medattn_core.device import check_device_name

    with reported(verbose=False):
        check_device_name(name)
    return name


def output_folder(text: str) -> Path:
    """The parser of an option ``--output``: as a path, what an unset variable leaves is the current folder."""
    with reported(verbose=False):
        if not text.strip():
            raise MedAttnError("bad_argument", "--output is empty; perhaps a shell variable is not set")
    return Path(text)


Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", callback=_device, help="Where the network runs.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and the warnings of libraries.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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
