"""`medattn predict`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medattn_core.cli.shared import (
    FAILED,
    Device,
    EvidenceDtype,
    Runtime,
    Verbose,
    known_error,
    prepare,
    reported,
    say,
    show,
)
from medattn_core.errors import MedAttnError

if TYPE_CHECKING:
    from medattn_core.inference import Prediction


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Image files, folders or quoted wildcards. A folder with images is each image in it; a folder with "
            "DICOM files is one input (recursively), the chosen series; DICOM folders of one study are one input.",
        ),
    ],
    bundle: Annotated[
        str, typer.Option(metavar="NAME|DIR", show_default=False, help="A shipped bundle or the folder of one.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", show_default=False, help="Folder for the results.")],
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="SeriesInstanceUID to take from the one INPUT.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Region of interest of the one INPUT: only it may speak.")
    ] = None,
    channel: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Further channel of the one INPUT, in the order of the task; repeatable."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    trust: Annotated[
        bool, typer.Option("--trust", help="The bundle may run code: needed for MONAI bundles that are not MedAttn's.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write an overlay picture and an HTML page a scan.")
    ] = False,
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="What computes the network; auto measures once a machine and bundle, and takes the fastest "
            "that says the same."
        ),
    ] = Runtime.torch,
    evidence_dtype: Annotated[
        EvidenceDtype,
        typer.Option(help="How maps are stored: int16 with a slope, off by less than 1e-4 of the largest; or float32."),
    ] = EvidenceDtype.int16,
    verbose: Verbose = False,
) -> None:
    """Predict images: predictions.json and .csv, and the evidence of each on its own grid."""
    prepare(verbose)
    with reported(verbose):
        for option, given in (("--bundle", bundle), ("--mask", mask), ("--series", series)):
            if given is not None and str(given) in ("", "."):
                raise MedAttnError("bad_argument", f"{option} is empty; perhaps a variable is not set")
        from medattn_core.inference.inputs import expand

        found = expand(inputs, exclude=output)
        if len(found.inputs) > 1 and (mask is not None or series is not None or channel):
            option = "--mask" if mask is not None else "--series" if series is not None else "--channel"
            raise MedAttnError(
                "bad_argument", f"{option} belongs to one image, but there are {len(found.inputs)} inputs"
            )
        if found.skipped:
            more = f" and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
            say(f"left out, not an image: {found.skipped[0]}{more}")

        from medattn_core.interop import open_predictor
        from medattn_core.outputs import ResultWriter

        predictor = open_predictor(bundle, trust=trust, device=device.value, runtime=runtime.value, say=say)
        start, count = time.perf_counter(), len(found.inputs)
        width = max(len(str(path)) for path in found.inputs)
        with ResultWriter(output, report=report, evidence_dtype=evidence_dtype.value) as writer:
            for index, path in enumerate(found.inputs):
                say(_progress(index, count, time.perf_counter() - start, path))
                began = time.perf_counter()
                try:
                    prediction = predictor((path, *(channel or ())), mask=mask, series=series)
                    writer.add(prediction)
                except Exception as error:  # one bad input never stops the others
                    known = known_error(error, path)
                    show(known, verbose)
                    writer.add_error(str(path), known)
                    continue
                record = writer.records[-1]
                for notice in record["warnings"]:
                    say(f"warning [{notice['code']}] {notice['message']}")
                if record["error"]:  # predicted, but its evidence could not be written
                    say(f"error [{record['error']['code']}] {record['error']['message']}")
                else:
                    typer.echo(f"{path!s:<{width}}  {_result(prediction)}  {time.perf_counter() - began:.2f} s")
        good, seconds = count - writer.failed, time.perf_counter() - start
        say(f"{good} of {count} predicted in {seconds:.1f} s; results in {output}")
    if writer.failed:
        raise typer.Exit(FAILED)


def _result(prediction: Prediction) -> str:
    if prediction.value is not None:
        said = f"{prediction.label}  {prediction.value:.4g} {prediction.unit}".rstrip()
        between = prediction.interval
        return said if between is None else f"{said} ({between[0]:.4g} to {between[1]:.4g})"
    if prediction.task.kind == "multilabel":
        named = "  ".join(f"{label} {prediction.probabilities[label]:.3f}" for label in prediction.present)
        return named or f"none  (most probable: {prediction.label} {prediction.probabilities[prediction.label]:.3f})"
    said = f"{prediction.label}  {prediction.probabilities[prediction.label]:.3f}"
    return f"undecided: {said}" if prediction.abstained else said


def _progress(index: int, count: int, elapsed: float, path: Path) -> str:
    left = f", {elapsed:.0f} s so far, about {elapsed / index * (count - index):.0f} s left" if index else ""
    return f"[{index + 1}/{count}] {path}{left}"
