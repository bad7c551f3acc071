"""`medattn data check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import bars, out, prepare, say, table
from medattn_core.cli.shared import FAILED, TRAINING_SECTION, AsJson, Verbose, reported

data = typer.Typer(no_args_is_help=True, help="Work with data lists.")


@data.callback()
def _data() -> None:
    pass


@data.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="Data list (JSON or CSV).")],
    section: Annotated[str, typer.Option(help="Name of the list within a JSON data list.")] = TRAINING_SECTION,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check a data list before training: files, labels, patients and folds, counts, geometry."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core.datalists import check as run

        with bars() as (reading, _):
            found = run(file, section=section, progress=reading)
        if as_json:
            out(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        else:
            for name, text in found.lines():
                out(f"{name:<17} {text}")
            if found.classes:
                folds = sorted(
                    {fold for counts in found.classes.values() for fold in counts}, key=lambda f: (f is None, f)
                )
                head = ("label", "cases", *(f"fold {f}" for f in folds if f is not None))
                rows = [
                    (label, sum(counts.values()), *(counts.get(f, 0) for f in folds if f is not None))
                    for label, counts in found.classes.items()
                ]
                table(head, rows)
        for notice in found.warnings:
            say(f"warning {notice}")
        for fault in found.errors:
            say(f"error {fault}")
        if found.errors:
            raise typer.Exit(FAILED)
        if found.values is not None or found.classes:
            say(
                f"{file}: ready for training"
                if section == TRAINING_SECTION
                else f"{file}: the list {section!r} can be used"
            )
