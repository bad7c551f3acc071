"""The engine on a Ray cluster: one actor a worker holds the model, this process alone writes the table.

Every node must see the inputs and the output folder under the same paths (a shared file system), and have medattn
installed. The address comes from RAY_ADDRESS; without it a cluster of this machine is started.

A scan counts as finished when its row is in the journal here, so what a lost node was doing is done again elsewhere:
its files are replaced whole. An input whose worker was lost ATTEMPTS times becomes a row with the error
``worker_lost``: a file that crashes a reader must not keep the rest from ending. Where every node is lost the run waits
WITHOUT_NODES seconds and ends with that code.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medattn_core.batch.jobs import Job
from medattn_core.batch.scanner import Done
from medattn_core.batch.settings import Settings
from medattn_core.errors import MedAttnError, missing_package
from medattn_core.outputs import tables

ATTEMPTS = 3
_AHEAD = 2
"""Scans sent to an actor at a time: while one computes it reads the next."""
WITHOUT_NODES = 60.0
"""Seconds that a run without a worker waits for a node that could take one: an autoscaler may start it, or a lost one
come back. A worker that loads or a scan that computes has a node, however long it takes."""


class Worker:
    """The actor: a model in a process of its own, with one core or one GPU.

    Args:
        output: folder of the results, as every node sees it.
        settings: of the batch.
        folder: where relative paths begin: the working directory of the process that was typed.
    """

    def __init__(self, output: str, settings: Settings, folder: str) -> None:
        self._output, self._settings, self._folder = output, settings, folder

    def ready(self) -> None:
        """Load the model. Not in ``__init__``: of an error there Ray tells the text alone, and its code is lost.

        Raises:
            MedAttnError: ``not_found``: this node does not see that folder; or of the bundle or the memory.
        """
        from medattn_core.batch.local import threads_of
        from medattn_core.batch.memory import budget_of, steady_heap
        from medattn_core.batch.scanner import Scanner

        folder, settings = self._folder, self._settings
        try:
            os.chdir(folder)
        except OSError as error:
            raise MedAttnError(
                "not_found", f"{folder}: a node of the cluster does not see this folder; all need the same file system"
            ) from error
        steady_heap()
        predictor = settings.open()
        budget, threads = budget_of(settings.memory), threads_of(predictor, 1)
        self._scan = Scanner(predictor, Path(self._output), settings, budget=budget, lanes=1, threads=threads)

    def predict(self, job: Job) -> Done:
        """Predict and write one scan."""
        return self._scan(job)


def require_ray() -> Any:
    """The package.

    Raises:
        MedAttnError: ``missing_dependency``.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_package("engine ray", ["ray"], extra="ray") from error
    return ray


def predict_on_cluster(
    jobs: Sequence[Job],
    output: Path,
    settings: Settings,
    *,
    begun: Callable[[Job], None],
    reserve: Callable[[Job], None] = lambda job: None,
) -> Iterator[Done]:
    """Predict jobs on the cluster; results as they are finished.

    Args:
        jobs: what is left to do.
        output: folder of the results.
        settings: of the batch; ``workers`` 0 takes one actor a core, or one a GPU where the cluster has any.
        begun: called as a job is sent to an actor for the first time.
        reserve: called just before, here: a file of the job may be written from then on.

    Raises:
        MedAttnError: ``missing_dependency``; ``worker_lost``: no actor can be started, or every node is lost.
    """
    ray = require_ray()
    mine = not ray.is_initialized()
    if mine:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, logging_level="ERROR", include_dashboard=False
        )
    team = _Team(ray, output, settings, len(jobs))

    def first(job: Job) -> None:
        reserve(job)
        begun(job)

    try:
        yield from team.run(deque(jobs), first)
    finally:
        team.end()
        if mine:
            ray.shutdown()


class _Team:
    """Actors and what each is doing."""

    def __init__(self, ray: Any, output: Path, settings: Settings, count: int) -> None:
        self._ray, self._settings = ray, settings
        self._output = str(output.resolve())
        total = ray.cluster_resources()
        gpus = 0 if settings.device == "cpu" else int(total.get("GPU", 0))
        self._options = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 1}
        size = settings.workers or gpus or int(total.get("CPU", 1))
        self._actor = ray.remote(Worker)
        self._loading: dict[Any, Any] = {}  # reference of ready() -> actor
        self._busy: dict[Any, tuple[Any, Job, int]] = {}  # reference of a result -> actor, job, its share
        self._actors: dict[Any, int] = {}  # loaded actors -> shares of _AHEAD that are taken
        self._suspects: deque[Job] = deque()
        """Inputs whose worker was lost: each goes to a worker of its own, so that it takes no other down with it."""
        self._tried: dict[int, int] = {}
        self._lost_loading = 0
        self._without_since: float | None = None  # when there was first neither a loaded actor nor a node for one
        for _ in range(max(1, min(size, count))):
            self._start()

    def run(self, todo: deque[Job], begun: Callable[[Job], None]) -> Iterator[Done]:
        """Results until there is nothing left.

        Raises:
            MedAttnError: ``worker_lost``.
        """
        while todo or self._suspects or self._busy:
            for actor in sorted(self._actors, key=lambda one: self._actors[one]):
                if self._suspects and not self._actors[actor]:
                    self._send(actor, self._suspects.popleft(), begun, alone=True)
                while todo and self._actors[actor] < _AHEAD:
                    self._send(actor, todo.popleft(), begun)
            finished, _ = self._ray.wait(
                [*self._busy, *self._loading], num_returns=1, timeout=min(10.0, WITHOUT_NODES / 6)
            )
            for reference in finished:
                if reference in self._loading:
                    self._loaded(reference)
                elif reference in self._busy:
                    result = self._result(reference)
                    if result is not None:
                        yield result
            self._check_nodes()

    def end(self) -> None:
        """Give the machines back."""
        gone = self._ray.exceptions.RayError  # of a cluster that is lost: why the run ends is told elsewhere
        for actor in (*self._actors, *self._loading.values()):
            with suppress(gone):
                self._ray.kill(actor)

    def _check_nodes(self) -> None:
        """Raise ``worker_lost`` where nothing is left to wait for: Ray itself would wait for ever."""
        if self._actors or self._has_node():
            self._without_since = None
            return
        now = time.monotonic()
        if self._without_since is None:
            self._without_since = now
        if now - self._without_since >= WITHOUT_NODES:
            raise MedAttnError(
                "worker_lost",
                f"no worker is left, and for {WITHOUT_NODES:.0f} s the cluster has had no node for one; what is "
                "finished is kept: once the cluster is up again the same command goes on with the rest",
            )

    def _has_node(self) -> bool:
        """Whether a living node has what an actor asks for, free or not: where it is not the actor's turn comes."""
        wanted = {"CPU": self._options["num_cpus"], "GPU": self._options.get("num_gpus", 0)}
        try:
            nodes = self._ray.nodes()
        except (self._ray.exceptions.RayError, RuntimeError, OSError):  # nobody there who knows
            return False
        return any(
            node["Alive"] and all(node["Resources"].get(kind, 0) >= count for kind, count in wanted.items())
            for node in nodes
        )

    def _start(self) -> None:
        actor = self._actor.options(max_concurrency=_AHEAD, **self._options).remote(
            self._output, self._settings, os.getcwd()
        )
        self._loading[actor.ready.remote()] = actor

    def _send(self, actor: Any, job: Job, begun: Callable[[Job], None], *, alone: bool = False) -> None:
        if job.index not in self._tried:
            begun(job)
        self._tried[job.index] = self._tried.get(job.index, 0) + 1
        share = _AHEAD if alone else 1
        self._busy[actor.predict.remote(job)] = (actor, job, share)
        self._actors[actor] += share

    def _loaded(self, reference: Any) -> None:
        actor = self._loading.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # the model or the folder: the same everywhere
            cause = error.cause
            raise cause if isinstance(cause, MedAttnError) else error from None
        except self._ray.exceptions.RayError as error:
            self._lost_loading += 1
            if self._lost_loading >= 10 and not self._actors and not self._loading:
                raise MedAttnError(
                    "worker_lost", "no worker could be started on the cluster; look at the logs of Ray"
                ) from error
            self._start()
            return
        self._actors[actor] = 0

    def _result(self, reference: Any) -> Done | None:
        actor, job, share = self._busy.pop(reference)
        try:
            result: Done = self._ray.get(reference)
        except self._ray.exceptions.RayError:  # the process or its node is gone
            if self._actors.pop(actor, None) is not None:
                self._ray.kill(actor)  # where it only failed: it would keep the core that the next one waits for
                self._start()  # waits until the cluster has room for it; the others go on
            if self._tried[job.index] < ATTEMPTS:
                self._suspects.append(job)
                return None
            words = f"{job.path}: the worker that predicted it was lost {ATTEMPTS} times; look at the logs of Ray"
            record = tables.error_record(str(job.path), MedAttnError("worker_lost", words))
            return Done(job=job, record=record, stamp=job.stamp(Path(self._output)), files={})
        if actor in self._actors:
            self._actors[actor] -= share
        return result
