"""Predict many: take over what is finished, do the rest, write the tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medattn_core.arguments import path_of
from medattn_core.batch.finish import CsvStream, finish
from medattn_core.batch.jobs import Job, check_there, jobs_of, pairs_of
from medattn_core.batch.journal import NAME, Journal
from medattn_core.batch.lines import Lines
from medattn_core.batch.local import predict_here
from medattn_core.batch.memory import budget_of, steady_heap
from medattn_core.batch.progress import Progress
from medattn_core.batch.scanner import Done
from medattn_core.batch.settings import Settings
from medattn_core.bundles.bundle import METADATA
from medattn_core.bundles.files import member, read_json
from medattn_core.bundles.load import locate
from medattn_core.device import resolve_device
from medattn_core.errors import MedAttnError
from medattn_core.outputs import render
from medattn_core.outputs.files import make_folder, remove
from medattn_core.outputs.own_files import is_ours

if TYPE_CHECKING:
    from medattn_core.inference import BasePredictor

ENGINES = ("local", "ray")

Input = str | os.PathLike[str]


@dataclass(kw_only=True)
class Summary:
    """What a batch came to.

    Attributes:
        count: inputs.
        taken_over: of these, finished in an earlier run.
        failed: inputs without a complete result.
        seconds: of this run.
    """

    count: int
    taken_over: int = 0
    failed: int = 0
    seconds: float = 0.0


def predict_many(
    inputs: Input | Sequence[Input | tuple[Input, Input | Sequence[Input]]],
    output: Input,
    settings: Settings,
    *,
    engine: str = "local",
    restart: bool = False,
    predictor: BasePredictor | None = None,
    begun: Callable[[Job, Progress], None] = lambda job, progress: None,
    done: Callable[[Done], None] = lambda result: None,
    say: Callable[[str], object] | None = None,
) -> Summary:
    """Predict inputs into a folder: predictions.jsonl as they finish, predictions.json and .csv at the end.

    Scans that an earlier run into this folder finished with the same bundle and options are not done again, and the
    rows of other inputs that the same bundle left there stay in the tables, whatever its options; a result to be
    replaced stays until it is. However this ends, the tables hold what was finished, except after a kill: then the next
    run writes them.

    Args:
        inputs: scans, or one: each a path, or a path with its further channels, as of
            :func:`medattn_core.batch.jobs.inputs_of`. ``[("t1.nii", "t2.nii")]`` is one scan of two channels.
        output: folder of the results.
        settings: bundle and options.
        engine: ``local`` (threads of this process) or ``ray`` (a cluster).
        restart: drop what the folder holds of an earlier run.
        predictor: of the bundle of the settings, where it is open already.
        begun: called when a scan's turn comes.
        done: called when a scan is finished and its row is on the disk.
        say: told when the runtime ``auto`` begins to measure.

    Raises:
        MedAttnError: of the bundle, the options (a mask that is not there, too), ``bad_argument`` of inputs that are no
            paths or a predictor of another bundle, or of a folder that cannot be written or
            holds results that this run would drop (``other_run``); never of one input.
    """
    if engine not in ENGINES:
        raise MedAttnError("bad_argument", f"engine {engine!r}; accepted: {', '.join(ENGINES)}")
    pairs, output = pairs_of(inputs), path_of("output", output)
    check_there("--mask", settings.mask)
    if settings.report:
        render.require_pillow()
    if engine == "ray":
        if settings.device.startswith("cuda:"):
            raise MedAttnError(
                "bad_argument",
                f"device {settings.device!r} is one card, and Ray gives each worker its own; accepted: auto, cpu, cuda",
            )
        from medattn_core.batch.cluster import require_ray

        require_ray()
    if settings.runtime == "auto" and predictor is None and not restart:
        settings = replace(settings, runtime=runtime_of(Path(output), settings) or "auto")
    if predictor is not None:
        _check_predictor(predictor, settings)
    predictor = predictor or settings.open(say)
    settings = replace(settings, runtime=predictor.runtime)  # an actor must not choose for itself
    if engine == "local":
        budget_of(settings.memory)  # too little is said before anything in the folder is touched
    steady_heap()
    folder, jobs = make_folder(output), jobs_of(pairs, mask=settings.mask, series=settings.series)
    model = settings.model(predictor.device)
    fingerprint = settings.fingerprint(predictor.device, predictor.runtime, model=model)
    journal = Journal(folder, jobs, fingerprint, model=model, restart=restart)
    with closing(journal):
        jobs = journal.jobs
        summary = Summary(count=len(jobs), taken_over=sum(job in journal for job in jobs))
        left = [job for job in jobs if job not in journal]
        progress = Progress(len(left))
        with suppress(OSError, MedAttnError):  # of an earlier run: they must not pass as this one's
            (folder / "predictions.json").unlink(missing_ok=True)
            if is_ours(folder / "report.html"):
                remove(folder / "report.html")
        table = CsvStream(folder, partial(journal.rows, replaced=False))

        def late(result: Done) -> None:
            if result.job not in journal:
                with suppress(MedAttnError):  # of a disk that is full now: the name of its files stays reserved
                    journal.append(result)

        try:
            results = _results(
                engine, predictor, left, folder, settings, len(jobs), lambda job: begun(job, progress),
                reserve=journal.reserve, late=late,
            )  # fmt: skip
            with closing(results):
                for result in results:
                    table.append(journal.append(result))
                    progress.finished()
                    summary.failed += result.record["error"] is not None
                    done(result)
        finally:
            table.close()
            finish(journal, report=settings.report)
            summary.seconds = progress.seconds
    return summary


def _check_predictor(predictor: BasePredictor, settings: Settings) -> None:
    """Rows of another bundle would be kept as this one's, and the next run would take them over."""
    from medattn_core.inference import Predictor

    folder = locate(settings.bundle)
    if isinstance(predictor, Predictor):
        told = read_json(member(folder, METADATA))
        # The metadata hold task, network, calibration, and the hashes of weights and all other files.
        same = json.dumps(predictor.bundle.metadata, sort_keys=True) == json.dumps(told, sort_keys=True)
    else:
        same = predictor.root.resolve() == folder.resolve()
    if not same:
        raise MedAttnError(
            "bad_argument",
            f"predictor: it is of the bundle {predictor.root}, the settings name {settings.bundle}, whose files are "
            "others; give the predictor of that bundle, such as settings.open(), or none",
        )


def runtime_of(folder: Path, settings: Settings) -> str | None:
    """The runtime that results of these settings in a folder were computed by, where it is one that runs here.

    The choice of ``auto`` may be another next time, by a hair or an update: the rest of a batch would be of another
    runtime than its begin, and could not lie in one table with it.

    Raises:
        MedAttnError: of the bundle or the device.
    """
    from medattn_core.inference.runtimes import available

    if not (folder / NAME).is_file():
        return None
    device = resolve_device(settings.device)
    model = settings.model(device)
    known = {settings.fingerprint(device, name, model=model): name for name in available(device)}
    return next(
        (known[row["batch"]["run"]] for row in Lines(folder / NAME).rows() if row["batch"]["run"] in known), None
    )


def _results(
    engine: str,
    predictor: BasePredictor,
    left: list[Job],
    folder: Path,
    settings: Settings,
    count: int,
    begun: Callable[[Job], None],
    *,
    reserve: Callable[[Job], None],
    late: Callable[[Done], None],
) -> Generator[Done, None, None]:
    if not left:
        return
    if engine == "ray":
        from medattn_core.batch.cluster import predict_on_cluster

        yield from predict_on_cluster(left, folder, settings, begun=begun, reserve=reserve)
    else:
        yield from predict_here(predictor, left, folder, settings, count=count, begun=begun, reserve=reserve, late=late)
