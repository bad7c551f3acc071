"""`medattn bench`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from medattn_core.cli.console import out, prepare, say, table
from medattn_core.cli.shared import Runtime, Verbose, reported


def bench(
    bundle: Annotated[str, typer.Option(metavar="NAME|DIR", help="The bundle to time.")] = "brain_tumor_t1ce",
    input: Annotated[  # noqa: A002  (the option is called so)
        Path | None, typer.Option(metavar="FILE", help="The scan; default: a synthetic one of 256^3 voxels.")
    ] = None,
    runtime: Annotated[Runtime, typer.Option(help="Runtime to time alongside torch.")] = Runtime.auto,
    runs: Annotated[int, typer.Option(min=1, help="Timed passes per contender; medians are printed.")] = 7,
    verbose: Verbose = False,
) -> None:
    """Time one scan on this machine, stage by stage, against stock MONAI with the same encoder in the same run.

    Timed from input file to probability and map on disk: models loaded, CPU only, nothing kept.
    For an ensemble, MedAttn runs every network and MONAI one.
    """
    prepare(verbose)
    with reported(verbose):
        import numpy as np

        from medattn_core import volumes
        from medattn_core.evaluation import speed
        from medattn_core.inference import Predictor

        plain = Predictor.from_bundle(bundle, device="cpu")
        other = Predictor.from_bundle(bundle, device="cpu", runtime=runtime.value, say=say)
        with tempfile.TemporaryDirectory(prefix="medattn-bench-") as name:
            folder = Path(name)
            path = input
            if path is None:
                path = folder / "scan.nii.gz"
                volumes.write(volumes.Volume(data=speed.made_up_scan(), affine=np.diag([-1.0, -1, 1, 1])), path)
            plain(path)  # what is wrong with the scan is said in our words
            sides = {
                "MONAI": speed.stock_monai(plain, path, folder),
                "MedAttn, torch": speed.medattn(plain, path, folder),
            }
            if other.runtime != "torch":
                sides[f"MedAttn, {other.runtime}"] = speed.medattn(other, path, folder)
            timed = speed.interleaved(
                sides, runs=runs, heard=lambda done, count: say(f"round {done} of {count}" if done else "warmed up")
            )
        where = input or "a synthetic scan of 256 x 256 x 256 voxels"
        count = len(plain.networks)
        many = f" ({count} networks; MONAI runs one)" if count > 1 else ""  # or the ratio would pass as that of equals
        out(f"{plain.bundle.name} {plain.bundle.version}{many} on {where}: medians of {runs}, milliseconds")
        table(tuple(speed.HEADER), [tuple(row) for row in speed.rows(timed, "MONAI")])
        if runtime is Runtime.auto and other.runtime == "torch":
            out("auto picks torch: no other runtime here is both faster and accurate enough")
