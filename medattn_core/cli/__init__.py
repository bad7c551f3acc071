"""``medattn``: the command line. It reads arguments, calls the library and prints; what it knows is how to print."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from medattn_core.cli.bench import bench
from medattn_core.cli.bundle import bundle
from medattn_core.cli.console import let_go, out, unwritten
from medattn_core.cli.data import data
from medattn_core.cli.describe import bundles, info
from medattn_core.cli.evaluate import evaluate
from medattn_core.cli.predict import predict
from medattn_core.cli.shared import FAILED, reported, show
from medattn_core.cli.signals import terminable
from medattn_core.cli.train import train
from medattn_core.version import __version__

app = typer.Typer(
    name="medattn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Classify medical images and show the evidence: a map whose voxels sum to the decision. Research use only.",
    epilog="Exit status: 0 success; 1 an input failed (the others are done), the whole run was rejected or a check "
    "failed, as the error line says; 2 wrong usage; 130 interrupted; 143 terminated; 129 terminal closed.",
)
for command in (predict, train, evaluate, bench, bundles, info):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(bundle, name="bundle")


def _version(wanted: bool) -> None:
    if wanted:
        with reported(verbose=False):
            out(f"medattn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The ``medattn`` command."""
    # Before torch is loaded: its threads wait instead of spinning. Beside other programs that is several times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        # A bare locale, in which no name beyond ASCII opens.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)
    with terminable():
        try:
            app()
        except OSError as error:  # the help, which typer prints
            if error.filename is not None:
                raise
            let_go(sys.stdout)
            show(unwritten(error), verbose=False)
            sys.exit(FAILED)
