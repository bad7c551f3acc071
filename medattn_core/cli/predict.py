"""`medattn predict`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medattn_core.cli.console import prepare, put, say, unwritten
from medattn_core.cli.shared import FAILED, Device, EvidenceDtype, Runtime, Verbose, output_folder, reported
from medattn_core.errors import MedAttnError, PredictionError

if TYPE_CHECKING:
    from medattn_core.batch.jobs import Job
    from medattn_core.batch.progress import Progress
    from medattn_core.batch.scanner import Done


class Engine(str, Enum):
    """Who predicts."""

    local = "local"
    ray = "ray"


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Image files, folders, quoted wildcards, or lists: .txt with one path per line, or a data list (.csv, "
            ".json). A folder of images stands for each image in it. A folder of DICOM files (searched recursively) is "
            "one input, the chosen series; DICOM folders of one study together are one input.",
        ),
    ],
    bundle: Annotated[
        str, typer.Option(metavar="NAME|DIR", show_default=False, help="Shipped bundle name, or folder.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", parser=output_folder, show_default=False, help="Folder for the results.")
    ],
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="SeriesInstanceUID of the DICOM series; single INPUT only.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Restrict attention to this region; single INPUT only.")
    ] = None,
    channel: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Further channel, in the order of the task; repeatable; single INPUT only."),
    ] = None,
    device: Device = "auto",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Allow the bundle to run its own code: needed for MONAI bundles not made by MedAttn."
        ),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write one overlay picture and one HTML page per scan.")
    ] = False,
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="What computes the network; auto benchmarks once per machine and bundle and picks the fastest with "
            "matching results."
        ),
    ] = Runtime.torch,
    evidence_dtype: Annotated[
        EvidenceDtype,
        typer.Option(help="Storage of maps: int16 with a slope (error below 1e-4 of the largest value), or float32."),
    ] = EvidenceDtype.int16,
    workers: Annotated[
        str, typer.Option(metavar="N|auto", help="Scans processed at a time; auto: one per core.")
    ] = "auto",
    batch_size: Annotated[
        str, typer.Option(metavar="N|auto", help="Slices per forward pass of a slicewise model.")
    ] = "auto",
    memory: Annotated[
        str, typer.Option(metavar="SIZE|auto", help="Memory limit, such as 4G; auto: most of what is free.")
    ] = "auto",
    engine: Annotated[
        Engine, typer.Option(help="This machine, or a Ray cluster (at RAY_ADDRESS, else started here).")
    ] = Engine.local,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Predict everything again and drop the rows of earlier runs in the output folder."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Predict images: writes predictions.json and .csv, and each input's evidence map on its own grid.

    A stopped run resumes when the same command is run again.
    """
    prepare(verbose)
    with reported(verbose, interrupted="interrupted; what was finished is saved"):
        for option, given in (("--bundle", bundle), ("--mask", mask), ("--series", series),
                              *(("--channel", one) for one in channel or ())):  # fmt: skip
            if given is not None and str(given) in ("", "."):
                raise MedAttnError("bad_argument", f"{option} is empty; perhaps a shell variable is not set")
        from medattn_core.batch.jobs import check_different, check_single, check_there, inputs_of
        from medattn_core.batch.settings import Settings, bytes_of, count_of

        settings = Settings(
            bundle=bundle,
            device=device,
            trust=trust,
            report=report,
            runtime=runtime.value,
            evidence_dtype=evidence_dtype.value,
            mask=mask,
            series=series,
            workers=count_of(workers, "--workers"),
            batch_size=count_of(batch_size, "--batch-size"),
            memory=bytes_of(memory),
        )
        listed, found = inputs_of(inputs, exclude=output)
        if not listed:
            where = f"of an earlier run, such as {found.results[0]}" if found.results else f"in {output}"
            advice = "or a file by its own name" if found.results else "or another --output"
            raise PredictionError(
                "bad_argument", f"no input is left: the files named are all results {where}; name scans, {advice}"
            )
        check_single(len(listed), mask=mask, series=series, channel=channel)
        for one in channel or ():
            check_there("--channel", one)
        if channel:
            listed = [(path, (*channels, *channel)) for path, channels in listed]
            for path, channels in listed:
                check_different(path, channels)
        for what, left_out in (("not an image", found.skipped), ("a result of an earlier run", found.results)):
            if left_out:
                more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
                say(f"left out, {what}: {left_out[0]}{more}")

        from medattn_core.batch import predict_many

        printed = _Printed(len(listed), max(len(str(path)) for path, _ in listed), verbose)
        summary = predict_many(
            listed,
            output,
            settings,
            engine=engine.value,
            restart=restart,
            begun=printed.begun,
            done=printed.done,
            say=say,
        )
        before = f" ({summary.taken_over} by an earlier run)" if summary.taken_over else ""
        good = summary.count - summary.failed
        say(f"{good} of {summary.count} predicted{before} in {summary.seconds:.1f} s; results in {output}")
    if summary.failed:
        raise typer.Exit(FAILED)


class _Printed:
    """Results on stdout, all else on stderr. Where either cannot be written, the batch goes on without it."""

    def __init__(self, count: int, width: int, verbose: bool) -> None:
        self._count, self._width, self._verbose = count, width, verbose
        self._begun = 0

    def begun(self, job: Job, progress: Progress) -> None:
        self._begun += 1
        place = self._count - progress.count + self._begun
        say(f"[{place}/{self._count}] {job.path}{progress.words()}")

    def done(self, result: Done) -> None:
        if self._verbose and result.trace:
            say(result.trace)
        for notice in result.record["warnings"]:
            say(f"warning [{notice['code']}] {notice['message']}")
        error = result.record["error"]
        if error:
            say(f"error [{error['code']}] {' '.join(error['message'].split())}")
        elif lost := put(f"{result.job.path!s:<{self._width}}  {result.said}  {result.seconds:.2f} s"):
            say(f"{unwritten(lost).message}, the batch goes on without it")
