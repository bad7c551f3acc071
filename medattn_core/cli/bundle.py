"""`medattn bundle export` and `medattn bundle verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import out, prepare, say
from medattn_core.cli.shared import FAILED, AsJson, Verbose, output_folder, reported

bundle = typer.Typer(no_args_is_help=True, help="Work with MONAI bundles.")

Source = Annotated[
    str, typer.Argument(metavar="NAME|DIR|ARCHIVE", show_default=False, help="Shipped bundle name, folder, zip or tar.")
]


@bundle.callback()
def _bundle() -> None:
    pass


@bundle.command()
def export(
    source: Source,
    output: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=output_folder,
            show_default=False,
            help="Folder to write; MONAI Label requires 'classification' in its name.",
        ),
    ],
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Include the code, so that it runs without medattn.")
    ] = False,
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Also write TorchScript, models/model.ts.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write ONNX, models/model.onnx.")] = False,
    openvino: Annotated[bool, typer.Option("--openvino", help="Also write OpenVINO, models/model.xml.")] = False,
    metrics: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="metrics.json of `medattn evaluate`: scores with intervals for the model card."
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write a complete MONAI bundle for MONAI's command line, Label, Deploy, the model zoo and federated learning."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core import interop

        with interop.opened(source) as root:
            made = interop.export(
                root, output, self_contained=self_contained, torchscript=torchscript, onnx=onnx, openvino=openvino,
                metrics=metrics,
            )  # fmt: skip
        for line in interop.describe(made):
            say(line)


@bundle.command()
def verify(
    source: Source,
    trust: Annotated[bool, typer.Option("--trust", help="Allow the bundle to run its own code.")] = False,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="MONAI's meta_schema_<date>.json, or a folder of them.")
    ] = None,
    scan: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="FILE", help="Scan on which to compare the forms of the model; repeatable."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check a bundle: files, metadata, hashes, weights, and that every form of the model gives the same results."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core import interop

        report = interop.verify(source, trust=trust, schemas=schema, inputs=scan or ())
        if as_json:
            out(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
        else:
            for line in report.lines():
                out(line)
        if not report.good:
            raise typer.Exit(FAILED)
