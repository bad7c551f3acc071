"""`medattn evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medattn_core.cli.console import bars, prepare, say, table
from medattn_core.cli.shared import FAILED, Device, Verbose, output_folder, reported

PEERS = "gradcam, gradcam_encoder, gradcampp, occlusion, integrated_gradients"
"""Shown as the default: those of :mod:`medattn_core.evaluation.saliency`, which help would have to load torch for."""


def evaluate(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", show_default=False, help="Shipped bundle name, or folder.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="FILE", show_default=False, help="Data list of cases unseen in training.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", parser=output_folder, show_default=False, help="Folder for the results.")
    ],
    section: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the list, for a JSON data list with several.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Data list of other patients, to choose thresholds on.")
    ] = None,
    validation_section: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the list, for a JSON validation list with several.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Only the cases of this fold.")] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", show_default=PEERS, help="Saliency methods to compare with, comma-separated; or 'none'."
        ),
    ] = None,
    compared_cases: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of randomly drawn cases with a label or value on which to compare maps (slow per case).",
        ),
    ] = 30,
    bootstrap: Annotated[int, typer.Option(min=0, help="Bootstrap samples for confidence intervals; 0: none.")] = 1000,
    repeat: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Same model, other seed: compare its maps; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results of another model or data list in the output folder.")
    ] = False,
    device: Device = "auto",
    verbose: Verbose = False,
) -> None:
    """Evaluate a model: writes metrics.json, cases.csv, curves and the page summary.html."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core.evaluation import Settings
        from medattn_core.evaluation import evaluate as run

        names = None if compare is None else _names(compare)
        settings = Settings(compare=names, compared_cases=compared_cases, bootstrap=bootstrap, seed=seed)
        with bars() as (reading, _):
            metrics = run(
                bundle, data, output, section=section, validation=validation, validation_section=validation_section,
                fold=fold, repeat=tuple(repeat or ()), settings=settings, device=device,
                overwrite=overwrite, progress=reading,
            )  # fmt: skip
        for error in metrics["errors"]:
            say(f"error [{error['code']}] {error['message']}")
        for kind, what in (("place_errors", "mask not used"), ("map_errors", "maps not compared")):
            for error in metrics[kind]:
                say(f"warning [{error['code']}] {what}: {error['message']}")
        count = f"{metrics['cases']} case{'' if metrics['cases'] == 1 else 's'}"
        for code, some in metrics["warnings"].items():
            say(f"warning [{code}] {some} of {count}: {metrics['warning_messages'][code]}")
        _say_validation(metrics["validation"])
        _say_rules(metrics)
        say(f"{count}; results in {output}")
        _print(metrics)  # last: stdout may be full, which ends the command
        if metrics["errors"]:
            raise typer.Exit(FAILED)


def _names(compare: str) -> tuple[str, ...]:
    return () if compare.strip().lower() in ("", "none") else tuple(name.strip() for name in compare.split(","))


def _say_validation(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    whats = (("errors", "not predicted"), ("place_errors", "mask not used"), ("map_errors", "maps not measured"))
    for kind, what in whats:
        for error in found[kind]:
            say(f"warning [{error['code']}] validation, {what}: {error['message']}")
    count = f"{found['cases']} case{'' if found['cases'] == 1 else 's'} of {found['data']}"
    failed = f", {len(found['errors'])} more could not be predicted" if found["errors"] else ""
    if found["chosen"]:
        say(f"thresholds: chosen on {count}{failed}")
    else:
        say(f"thresholds: none chosen on {count}{failed}; {found['fewest_cases']} are needed")


def _say_rules(metrics: dict[str, Any]) -> None:
    """The names of the scores do not say that some labels are not in them."""
    from medattn_core.evaluation.page_scores import without_rule

    text = without_rule(metrics["task"]["labels"], metrics.get("labels_with_a_rule"))
    if text:
        say(f"note: {text}")


def _print(metrics: dict[str, Any]) -> None:
    kind = "regression" if "regression" in metrics else "classification"
    rows = []
    for name, score in metrics[kind].items():
        value, low, high = (score.get(key) for key in ("value", "low", "high"))
        if value is not None:
            rows.append((name, f"{value:.4g}", "" if low is None else f"{low:.4g} to {high:.4g}"))
    table(("score", "value", "95 % interval"), rows)
    place = {
        method: found
        for method, found in metrics["localisation"].items()
        if isinstance(found, dict) and "auprc" in found
    }
    if place:
        keys = ("pointing", "energy", "iou", "auprc", "cases")
        table(("map", *keys), [(m, *(f"{found[k]:.3g}" for k in keys)) for m, found in place.items()])
