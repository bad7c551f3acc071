"""The engine on this machine: threads of one process that share one model.

Threads, not processes: reading, resampling, network, packing and writing all leave Python's lock, a second model and
a second set of libraries would cost some 300 MB each, and the end of the one process ends everything.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medattn_core.batch.jobs import Job
from medattn_core.batch.memory import budget_of
from medattn_core.batch.scanner import Done, Scanner
from medattn_core.batch.settings import Settings

if TYPE_CHECKING:
    from medattn_core.inference import BasePredictor

_AHEAD = 1
"""Threads beyond the lanes: one reads, or waits for the disk, while every lane computes."""


def cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def lanes_of(settings: Settings, count: int, predictor: BasePredictor) -> tuple[int, int]:
    """Scans computed at a time, and threads of torch for each.

    One core a scan is more than all cores for one after the other, where there are scans enough. Both numbers depend on
    all inputs, not on those that are left, so that a resumed run computes as the first did, to the last digit.

    Args:
        settings: of the batch.
        count: inputs in all.
        predictor: of the model.
    """
    wanted = settings.workers or cores()
    # MONAI's workflow of a foreign bundle hooks into its network for the map: one scan at a time.
    lanes = max(1, min(wanted, count)) if not predictor.foreign else 1
    return lanes, threads_of(predictor, cores() // lanes)


def threads_of(predictor: BasePredictor, share: int) -> int:
    """Threads of torch for one lane that has so many cores.

    A 3D network has two even on one core: with a single thread PyTorch 2.13 leaves oneDNN aside for a single volume,
    and its own 3D convolution takes three times as long (docs/benchmarks.md, "Batch").
    """
    if predictor.device != "cpu":
        return 1
    volumes = not predictor.foreign and predictor.task.spatial_dims == 3
    return max(2 if volumes else 1, share)


def predict_here(
    predictor: BasePredictor,
    jobs: Iterable[Job],
    output: Path,
    settings: Settings,
    *,
    count: int,
    begun: Callable[[Job], None],
    reserve: Callable[[Job], None] = lambda job: None,
    late: Callable[[Done], None] = lambda result: None,
) -> Iterator[Done]:
    """Predict jobs; results as they are finished.

    At most as many results wait as there are threads: who writes the table slowly slows the rest down.

    Args:
        predictor: of the model.
        jobs: what is left to do.
        output: folder of the results.
        settings: of the batch.
        count: inputs in all, finished ones too.
        begun: called in the asking thread when a job's turn comes.
        reserve: called in a thread of the team before the first file of a job is written.
        late: given, however this is ended early, what was finished by then or under way, and not taken.

    Raises:
        MedAttnError: ``bad_argument``: the memory does not hold the model.
    """
    lanes, threads = lanes_of(settings, count, predictor)
    scanner = Scanner(predictor, output, settings, budget=budget_of(settings.memory), lanes=lanes, threads=threads)
    todo = iter(jobs)
    taking, stop = threading.Lock(), threading.Event()
    results: queue.Queue[Job | Done | BaseException | None] = queue.Queue(maxsize=4 * (lanes + _AHEAD))

    def work() -> None:
        try:
            while not stop.is_set():
                with taking:
                    job = next(todo, None)
                if job is None:
                    break
                results.put(job)
                reserve(job)
                results.put(scanner(job))
            results.put(None)
        except BaseException as error:  # of the machinery, not of a scan
            results.put(error)

    team = [threading.Thread(target=work, daemon=True) for _ in range(lanes + (_AHEAD if count > 1 else 0))]
    for thread in team:
        thread.start()
    handed: Done | None = None
    try:
        running = len(team)
        while running:
            item = results.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            elif isinstance(item, Job):
                begun(item)
            else:
                handed = item
                yield item
                handed = None
    finally:
        stop.set()
        if handed is not None:  # Ctrl-C may come before its row is written
            late(handed)
        # What is under way is waited for, so that no file is left half written or without its row.
        while any(thread.is_alive() for thread in team) or not results.empty():
            with suppress(queue.Empty):
                item = results.get(timeout=0.05)
                if isinstance(item, Done):
                    late(item)
