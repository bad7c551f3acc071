"""Long work in short steps on the main thread: MRML may be touched nowhere else, and nobody may wait for it.

A task is a generator. Each ``yield`` gives the main thread back; ``yield WAIT`` also says that nothing can go on
before an answer of the engine is there. :class:`Runner` goes on with the tasks whenever it is polled, for a few
milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from MedAttnLib.texts import _

WAIT = "wait"
"""Yielded by a task that has to wait for an answer."""
BUDGET_S = 0.012
"""Time a poll may take for tasks: with it the window is redrawn in between."""

Steps = Generator[Any, None, Any]


class TaskError(Exception):
    """What a user is told: a code of the worker's errors and one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Task:
    """One piece of work and who wants to know how it went. Exactly one of ``done`` and ``failed`` is called.

    ``quick`` is a question that is answered before anyone could want to cancel it.
    """

    steps: Steps
    done: Callable[[Any], None] = lambda result: None
    failed: Callable[[str, str], None] = lambda code, message: None
    quick: bool = False
    ended: bool = field(default=False, init=False)


@dataclass
class Answer:
    """What became of a question to the engine."""

    result: Any = None
    error: tuple[str, str] | None = None
    there: bool = False

    def done(self, result: Any) -> None:
        """The engine answered."""
        self.result, self.there = result, True

    def failed(self, code: str, message: str) -> None:
        """The engine could not."""
        self.error, self.there = (code, message), True


def ask(method: Callable[..., Any], *arguments: Any, **fields: Any) -> Steps:
    """Put a question to the engine and wait for the answer: ``result = yield from ask(engine.load, name)``.

    Raises:
        TaskError: what the engine said.
    """
    answer = Answer()
    method(*arguments, done=answer.done, failed=answer.failed, **fields)
    while not answer.there:
        yield WAIT
    if answer.error is not None:
        raise TaskError(*answer.error)
    return answer.result


def on_disk(steps: Iterator[Any]) -> Steps:
    """Steps that write a file for the engine.

    Raises:
        TaskError: ``unwritable``: the disk refuses, as a full one does.
    """
    try:
        yield from steps
    except OSError as error:
        text = _("the scan cannot be handed over: its temporary file cannot be written ({reason}); free space")
        raise TaskError("unwritable", text.format(reason=error.strerror or type(error).__name__)) from error


def apart(steps: Steps) -> Steps:
    """The same steps, and the result in a turn of its own: what is done with it takes its time as well."""
    result = yield from steps
    yield WAIT
    return result


class Runner:
    """Runs tasks one after another, a little at each poll."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._stepping = False

    @property
    def working(self) -> bool:
        """Whether there is something left to do."""
        return bool(self._tasks)

    @property
    def busy(self) -> bool:
        """Whether there is something left that takes its time."""
        return any(not task.quick for task in self._tasks)

    def add(self, task: Task) -> None:
        """Append a task; it begins at the next poll, when those before it have ended."""
        self._tasks.append(task)

    def poll(self) -> None:
        """Go on for at most :data:`BUDGET_S` (and the one step that is under way then).

        A step during which the window lives on (a dialog, a progress bar) may lead here again: that does nothing, for
        a generator cannot be entered twice. ``done`` and ``failed`` may take as long as they like, the rest goes on.
        """
        if self._stepping:
            return
        end = time.perf_counter() + BUDGET_S
        while self._tasks:
            task = self._tasks[0]
            try:
                step = self._step(task)
            except StopIteration as stop:
                self._end(task)
                task.done(stop.value)
            except TaskError as error:
                self._end(task)
                task.failed(error.code, error.message)
            except Exception as error:
                self._end(task)
                # The class alone: the text of a foreign exception may quote a name or a path.
                task.failed("internal", f"unexpected {type(error).__name__}; the trace is in the Python console")
                raise
            else:
                if step is WAIT:
                    return
            if time.perf_counter() >= end:
                return

    def cancel(self, code: str, message: str) -> None:
        """End all tasks now; each cleans up behind itself and is told why."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.steps.close()
            task.ended = True
        for task in tasks:
            task.failed(code, message)

    def _step(self, task: Task) -> Any:
        self._stepping = True
        try:
            return next(task.steps)
        finally:
            self._stepping = False

    def _end(self, task: Task) -> None:
        task.ended = True
        if task in self._tasks:
            self._tasks.remove(task)
