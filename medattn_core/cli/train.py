"""`medattn train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import bars, prepare, say
from medattn_core.cli.shared import TRAINING_SECTION, Device, Verbose, output_folder, reported


def train(
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE", show_default=False, help="Data list, JSON or CSV (check it with `medattn data check`)."
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", parser=output_folder, show_default=False, help="Folder for the new bundle.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration, JSON or YAML; missing keys are planned from the data."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Number of cross-validation folds, split by patient; all models are kept as an ensemble."
        ),
    ] = None,
    validation_fold: Annotated[
        int | None, typer.Option(min=0, help="Fold of the list to hold out, for scores and calibration.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; overrides the configuration.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed; overrides the configuration.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE",
            help="Start from a bundle's weights, grid and network, or from `imagenet` (efficientnet-lite0, 1, 2).",
        ),
    ] = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in the output folder.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the bundle or unfinished run in the output folder.")
    ] = False,
    section: Annotated[
        str, typer.Option(help="Name of the list to train on within a JSON data list.")
    ] = TRAINING_SECTION,
    verbose: Verbose = False,
) -> None:
    """Train a bundle on a data list. TensorBoard logs are written to OUTPUT.logs."""
    prepare(verbose)
    interrupted = "interrupted; finished epochs, if any, are saved: continue with the same command and --resume"
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
        say(f"bundle written to {output}")
