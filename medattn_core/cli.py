"""``medattn``: the command line. It reads arguments, calls the library and prints; what it knows is how to print."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medattn_core.errors import MedAttnError
from medattn_core.version import __version__

if TYPE_CHECKING:
    from medattn_core.bundles import Bundle
    from medattn_core.inference import Prediction
    from medattn_core.volumes import Series, Volume

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_USAGE_CODES = ("bad_argument", "bad_config", "unknown_bundle")

app = typer.Typer(
    name="medattn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Classify medical images, with the evidence: a map whose voxels sum to the decision. Research use only.",
    epilog="Exit status: 0 all good, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
)


class Device(str, Enum):
    """Where the network runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the trace of errors and what libraries warn of.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medattn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
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
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    report: Annotated[
        bool, typer.Option("--report", help="Also write an overlay picture and an HTML page a scan.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Predict images: predictions.json and .csv, and the evidence of each on its own grid."""
    _prepare(verbose)
    with _reported(verbose):
        for option, given in (("--bundle", bundle), ("--mask", mask), ("--series", series)):
            if given is not None and str(given) in ("", "."):
                raise MedAttnError("bad_argument", f"{option} is empty; perhaps a variable is not set")
        from medattn_core.inference.inputs import expand

        found = expand(inputs, exclude=output)
        if len(found.inputs) > 1 and (mask is not None or series is not None):
            option = "--mask" if mask is not None else "--series"
            raise MedAttnError(
                "bad_argument", f"{option} belongs to one image, but there are {len(found.inputs)} inputs"
            )
        if found.skipped:
            more = f" and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
            _say(f"left out, not an image: {found.skipped[0]}{more}")

        from medattn_core.inference import Predictor
        from medattn_core.outputs import ResultWriter

        predictor = Predictor.from_bundle(bundle, device=device.value)
        start, count = time.perf_counter(), len(found.inputs)
        width = max(len(str(path)) for path in found.inputs)
        with ResultWriter(output, report=report) as writer:
            for index, path in enumerate(found.inputs):
                _say(_progress(index, count, time.perf_counter() - start, path))
                began = time.perf_counter()
                try:
                    prediction = predictor(path, mask=mask, series=series)
                    writer.add(prediction)
                except Exception as error:  # one bad input never stops the others
                    known = _known(error, path)
                    _show(known, verbose)
                    writer.add_error(str(path), known)
                    continue
                record = writer.records[-1]
                for notice in record["warnings"]:
                    _say(f"warning [{notice['code']}] {notice['message']}")
                if record["error"]:  # predicted, but its evidence could not be written
                    _say(f"error [{record['error']['code']}] {record['error']['message']}")
                else:
                    typer.echo(f"{path!s:<{width}}  {_result(prediction)}  {time.perf_counter() - began:.2f} s")
        good, seconds = count - writer.failed, time.perf_counter() - start
        _say(f"{good} of {count} predicted in {seconds:.1f} s; results in {output}")
    if writer.failed:
        raise typer.Exit(FAILED)


@app.command()
def train(
    data: Annotated[Path, typer.Option(metavar="FILE", show_default=False, help="Data list, JSON or CSV.")],
    output: Annotated[Path, typer.Option(metavar="DIR", show_default=False, help="Folder of the new bundle.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings, JSON.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the number in the settings.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the number in the settings.")] = None,
    validation_fold: Annotated[
        int | None, typer.Option(min=0, help="Hold this fold out: measured and calibrated on it.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network is trained.")] = Device.auto,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in the output folder.")] = False,
    verbose: Verbose = False,
) -> None:
    """Train a bundle on a data list."""
    _prepare(verbose)
    with _reported(verbose):
        from medattn_core.training import train as run

        with _bars() as (reading, progress):
            run(
                data,
                output,
                config=config,
                epochs=epochs,
                seed=seed,
                device=device.value,
                resume=resume,
                validation_fold=validation_fold,
                reading=reading,
                progress=progress,
            )
        _say(f"the bundle lies in {output}")


@app.command()
def bundles(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """List the shipped bundles: what each takes and gives."""
    _prepare(verbose)
    with _reported(verbose):
        from medattn_core.bundles import list_bundles

        listed = list_bundles()
        if as_json:
            typer.echo(json.dumps([_bundle(bundle) for bundle in listed], indent=2, ensure_ascii=False))
            return
        rows = [(bundle.name, bundle.version, _takes(bundle), _gives(bundle), bundle.description) for bundle in listed]
        _table(("bundle", "version", "takes", "gives", "description"), rows)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="Image file or DICOM folder.")],
    series: Annotated[str | None, typer.Option(metavar="UID", help="SeriesInstanceUID to take.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show what the reader saw in an image: grid, geometry, intensities, series, warnings."""
    _prepare(verbose)
    with _reported(verbose):
        from medattn_core.volumes import list_series, read

        volume = read(file, series=series)
        seen = _seen(volume, list_series(file) if volume.series is not None else [])
        if as_json:
            typer.echo(json.dumps(seen, indent=2, ensure_ascii=False))
            return
        for name in (
            "source",
            "format",
            "modality",
            "shape",
            "spacing_mm",
            "axis_codes",
            "affine_ras_mm",
            "dtype",
            "range",
        ):
            typer.echo(f"{name.replace('_', ' '):<14} {_plain(seen[name])}")
        if seen["series"]:
            chosen = seen["series_instance_uid"]
            rows = [
                ("*" if one["uid"] == chosen else "", one["uid"], one["modality"], one["number"], one["slices"])
                for one in seen["series"]
            ]
            _table(("read", "series", "modality", "number", "slices"), rows)
        for notice in volume.warnings:
            typer.echo(f"warning [{notice.code}] {notice.message}")


def _seen(volume: Volume, series: list[Series]) -> dict[str, Any]:
    return {
        "source": volume.source,
        "format": volume.format,
        "modality": volume.modality or None,
        "spatial_dims": volume.spatial_dims,
        "shape": list(volume.shape),
        "spacing_mm": [round(float(s), 6) for s in volume.spacing] if volume.spacing_known else None,
        "axis_codes": volume.axis_codes,
        "affine_ras_mm": [[round(float(x), 6) for x in row] for row in volume.affine],
        "dtype": str(volume.data.dtype),
        "range": [float(volume.data.min()), float(volume.data.max())],
        "series_instance_uid": volume.series.series_instance_uid if volume.series else None,
        "series": [
            {"uid": one.series_instance_uid, "modality": one.modality, "number": one.number, "slices": one.slices}
            for one in series
        ],
        "warnings": [notice.to_dict() for notice in volume.warnings],
    }


def _bundle(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "description": bundle.description,
        "path": str(bundle.path),
        "weights_sha256": bundle.weights_sha256,
        "task": bundle.task.to_dict(),
    }


def _takes(bundle: Bundle) -> str:
    task = bundle.task
    shape = "slices and volumes" if task.slicewise else f"{task.spatial_dims}D"
    spacing = " x ".join(f"{s:g}" for s in task.spacing)
    return f"{' or '.join(task.modality) or 'any modality'}, {shape}, at {spacing} mm"


def _gives(bundle: Bundle) -> str:
    task = bundle.task
    unit = f" in {task.unit}" if task.unit else ""
    return f"{', '.join(task.labels)}{unit} ({task.kind})"


def _result(prediction: Prediction) -> str:
    if prediction.value is not None:
        return f"{prediction.label}  {prediction.value:.4g} {prediction.unit}".rstrip()
    probabilities = prediction.probabilities
    return f"{prediction.label}  {probabilities.get(prediction.label, max(probabilities.values())):.3f}"


def _progress(index: int, count: int, elapsed: float, path: Path) -> str:
    left = f", {elapsed:.0f} s so far, about {elapsed / index * (count - index):.0f} s left" if index else ""
    return f"[{index + 1}/{count}] {path}{left}"


def _plain(value: Any) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, list):
        separator = "; " if isinstance(value[0], list) else "  " if isinstance(value[0], float) else " x "
        return separator.join(_plain(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
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
def _bars() -> Iterator[tuple[Callable[[int, int], None], Callable[[int, int, dict[str, float]], None]]]:
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


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _prepare(verbose: bool) -> None:
    """One encoding everywhere (Windows pipes have others), and quiet libraries: what matters is in our warnings."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    if not verbose:
        import logging
        import warnings

        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)


def _known(error: Exception, where: object = None) -> MedAttnError:
    """Any error as one with a code. Foreign messages are not repeated: they may quote a header, and so a patient."""
    if isinstance(error, MedAttnError):
        return error
    place = f"{where}: " if where is not None else ""
    if isinstance(error, MemoryError):
        return MedAttnError("too_large", f"{place}not enough memory; close other programs or use a larger machine")
    return MedAttnError("internal", f"{place}unexpected {type(error).__name__}; run again with --verbose for the trace")


def _show(error: MedAttnError, verbose: bool) -> None:
    if verbose and sys.exc_info()[0] is not None:
        _say(traceback.format_exc().rstrip())
    _say(f"error [{error.code}] {' '.join(error.message.split())}")


@contextlib.contextmanager
def _reported(verbose: bool) -> Iterator[None]:
    """Errors that end the command: one line, and the exit status."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        _say("interrupted; what was finished is saved")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        known = _known(error)
        _show(known, verbose)
        raise typer.Exit(WRONG_USAGE if known.code in _USAGE_CODES else FAILED) from None


def main() -> None:
    """The ``medattn`` command."""
    app()


if __name__ == "__main__":
    main()
