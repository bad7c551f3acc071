"""The loop of the worker: a thread reads requests, the main thread works on them one after the other."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any, BinaryIO

from medattn_core.errors import MedAttnError, known_error
from medattn_core.worker import parent
from medattn_core.worker.messages import BadRequestError, Request, parse
from medattn_core.worker.service import Service
from medattn_core.worker.stopping import Course
from medattn_core.worker.streams import Answers, lines


@dataclass(eq=False)
class _Job:
    request: Request
    course: Course


class Server:
    """Answers requests until the other side ends.

    Args:
        requests: buffered stream of lines.
        answers: unbuffered stream of lines.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = Answers(answers)
        self._service = Service()
        self._scratch = parent.Scratch()
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Work in this thread; the process ends from another one."""
        parent.watch(self._scratch)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda number, frame: parent.end(self._scratch, 128 + number))
        threading.Thread(target=self._read, daemon=True, name="requests").start()
        while True:
            job = self._queue.get()
            self._work(job)

    def _work(self, job: _Job) -> None:
        request = job.request
        with self._lock:
            if job not in self._waiting:  # cancelled before its turn, and answered
                return
            self._running = job
        self._scratch.ready()
        try:
            result = self._service.handle(request, job.course)
            job.course.settle()  # one that was told to stop must not answer with a result after all
            if request.type == "hello":
                self._accept(request)
        except Exception as error:
            self._finish(job)
            self._answers.error(request.id, _known(error, request, self._scratch))
            return
        self._finish(job)
        self._answers.result(request.id, result)
        if request.type == "hello" and request.get("warm", True):
            with contextlib.suppress(
                Exception
            ):  # a package that is missing or broken: the request that needs it says so
                self._service.warm()

    def _finish(self, job: _Job) -> None:
        with self._lock:
            self._waiting.remove(job)
            self._running = None

    def _accept(self, hello: Request) -> None:
        if hello.get("folder") is not None:
            self._scratch.adopt(hello.get("folder"))
        else:
            self._scratch.begin()
        if hello.get("parent") is not None:
            parent.watch(self._scratch, hello.get("parent"))

    def _read(self) -> None:
        try:
            for line in lines(self._requests):
                if line is None or line.strip():
                    self._take(line)
        except OSError:
            pass  # the other end is gone, as at the end of the stream
        finally:
            parent.end(self._scratch)

    def _take(self, line: bytes | None) -> None:
        try:
            request = parse(line)
        except BadRequestError as error:
            self._answers.error(error.id, error)
            return
        if request.type == "quit":
            self._answers.result(request.id, {})
            parent.end(self._scratch)
        elif request.type == "cancel":
            self._answers.result(request.id, {"cancelled": self._cancel(request.get("target"))})
        else:
            job = _Job(
                request,
                Course(lambda stage, fraction, text: self._answers.progress(request.id, stage, fraction, text)),
            )
            with self._lock:
                self._waiting.append(job)
            self._queue.put(job)

    def _cancel(self, target: Any) -> list[int | str]:
        with self._lock:
            jobs = [job for job in self._waiting if target is None or job.request.id == target]
            jobs = [job for job in jobs if job.course.stop()]
            early = [job for job in jobs if job is not self._running]
            self._waiting = [job for job in self._waiting if job not in early]
        for job in early:
            self._answers.error(job.request.id, MedAttnError("cancelled", "cancelled before its turn"))
        return [job.request.id for job in jobs]


def _known(error: Exception, request: Request, scratch: parent.Scratch) -> MedAttnError:
    """Any error as one with a code, in words that name no temporary file.

    Foreign messages are not repeated, not even to standard error: they may quote a header, and so a patient.
    """
    if not isinstance(error, MedAttnError):
        print(f"{type(error).__name__} in {request.type}", file=sys.stderr)
        traceback.print_tb(error.__traceback__, file=sys.stderr)
        return known_error(error, request.type, trace="the log of the worker has the trace")
    message = error.message
    if request.get("name") is not None and request.get("path") is not None:
        message = message.replace(request.get("path"), request.get("name"))
    for folder in scratch.folders:
        for separator in ("/", "\\"):
            message = message.replace(f"{folder}{separator}", "")
    return MedAttnError(error.code, message)
