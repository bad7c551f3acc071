"""A request that is cancelled while it runs, at the worst moments: in this process, where they can be chosen."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from medattn_core.errors import MedAttnError
from medattn_core.worker.messages import Request
from medattn_core.worker.server import Server, _Job
from medattn_core.worker.stopping import Course


class Worker:
    """The server without its threads: one request is worked on, with a cancel in the middle."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self.server = Server(io.BytesIO(), self.stream)
        self.cancelled: list[int | str] = []

    def cancel(self) -> None:
        self.cancelled = self.server._cancel(None)

    def work(self, kind: str, answer: Callable[[Request, Course], dict[str, Any]], **fields: Any) -> dict[str, Any]:
        """The final answer to a request that the service answers so."""
        job = _Job(Request(7, kind, fields), Course())
        service = self.server._service
        service._greeted = True
        setattr(service, f"_{kind}", answer)
        self.server._waiting.append(job)
        self.server._work(job)
        assert self.server._waiting == []
        (line,) = self.stream.getvalue().splitlines()
        return dict(json.loads(line))


@pytest.mark.parametrize("kind", ["load", "predict", "evidence", "regions", "mask", "what_if"])
def test_a_cancelled_request_has_no_result(kind: str) -> None:
    worker = Worker()

    def answer(request: Request, course: Course) -> dict[str, Any]:
        worker.cancel()  # after its last look whether it should stop
        return {"done": True}

    answered = worker.work(kind, answer)
    assert worker.cancelled == [7]
    assert (answered["type"], answered["error"]["code"]) == ("error", "cancelled")


@pytest.mark.parametrize("early", [True, False])
def test_files_that_are_being_written_are_finished(monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    from medattn_core import outputs

    worker = Worker()
    save, told = worker.server._service._save, []

    def write(*_arguments: Any, **_options: Any) -> dict[str, str]:
        told.append("written")
        worker.cancel()
        return {"json": "predictions.json"}

    def answer(request: Request, course: Course) -> dict[str, Any]:
        if early:
            worker.cancel()
        return save(request, course)

    monkeypatch.setattr(outputs, "save", write)
    monkeypatch.setattr(worker.server._service, "_last", lambda request: None)
    answered = worker.work("save", answer, prediction="x", folder="out")
    assert worker.cancelled == ([7] if early else [])
    assert (answered["type"], told) == (("error", []) if early else ("result", ["written"]))
    assert not early or answered["error"]["code"] == "cancelled"


def test_the_greeting_is_not_cancelled_once_it_counts() -> None:
    worker = Worker()
    hello = worker.server._service._hello

    def answer(request: Request, course: Course) -> dict[str, Any]:
        result = hello(request, course)
        worker.cancel()
        return result

    assert worker.work("hello", answer, protocol=1, warm=False)["type"] == "result"
    assert worker.cancelled == []


def test_a_course_is_stopped_or_settled() -> None:
    course = Course()
    course.settle()
    assert not course.stop()
    course.check()
    course = Course()
    assert course.stop()
    assert course.stop(), "twice asked is asked"
    with pytest.raises(MedAttnError, match="cancelled"):
        course.settle()
