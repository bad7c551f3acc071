"""`medattn train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import bars, prepare, say
from medattn_core.cli.shared import TRAINING_SECTION, Device, Verbose, output_folder, reported


def train(
    data: Annotated[
        Path, typer.Option(metavar="FILE", show_default=False, help="Data list, JSON or CSV; `medattn data check` it.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", parser=output_folder, show_default=False, help="Folder of the new bundle.")
    ],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings, JSON or YAML; what it leaves out is chosen.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validate over patients and keep all models as an ensemble."),
    ] = None,
    validation_fold: Annotated[
        int | None, typer.Option(min=0, help="Hold this fold of the list out: measured and calibrated on it.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the number in the settings.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the number in the settings.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE",
            help="Start from the weights, grid and network of a bundle; or `imagenet` (efficientnet-lite0, 1, 2).",
        ),
    ] = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in the output folder.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in the output folder: a bundle, or an unfinished run.")
    ] = False,
    section: Annotated[str, typer.Option(help="List within a JSON object to train on.")] = TRAINING_SECTION,
    verbose: Verbose = False,
) -> None:
    """Train a bundle on a data list. Curves for TensorBoard lie in OUTPUT.logs."""
    prepare(verbose)
    interrupted = "interrupted; finished epochs, if any, are saved, and the same command with --resume continues it"
    with reported(verbose, interrupted=interrupted):
        from medattn_core.training import train as run

        with bars() as (reading, progress):
            run(
                data,
                output,
                config=config,
                epochs=epochs,
                seed=seed,
                start_from=start_from,
                device=device,
                resume=resume,
                validation_fold=validation_fold,
                folds=folds,
                section=section,
                overwrite=overwrite,
                reading=reading,
                progress=progress,
                say=say,
            )
        say(f"the bundle lies in {output}")
