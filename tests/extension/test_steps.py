"""Tasks of the main thread, where polls come from a timer and so from inside of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def test_a_poll_during_a_step_does_nothing() -> None:
    """A step that lets the window live is polled by the timer meanwhile."""
    from MedAttnLib.steps import Runner, Task

    runner, told = Runner(), []

    def steps() -> Iterator[Any]:
        for number in range(3):
            runner.poll()
            told.append(number)
            yield
        return "result"

    runner.add(Task(steps(), done=told.append, failed=lambda *error: told.append(error)))
    for _ in range(5):
        runner.poll()
    assert told == [0, 1, 2, "result"]
    assert not runner.working


def test_the_result_has_a_turn_of_its_own() -> None:
    """Its tables are filled in another turn than the last step takes, so that the window lives in between."""
    from MedAttnLib.steps import Runner, Task, apart

    runner, told = Runner(), []

    def steps() -> Iterator[Any]:
        yield
        told.append("last step")
        return "result"

    runner.add(Task(apart(steps()), done=told.append))
    runner.poll()
    assert told == ["last step"]
    assert runner.working
    runner.poll()
    assert told == ["last step", "result"]
    assert not runner.working


def test_a_poll_during_a_callback_goes_on() -> None:
    """A message that is shown when a task has failed does not hold up the next."""
    from MedAttnLib.steps import Runner, Task, TaskError

    runner, told = Runner(), []

    def fails() -> Iterator[Any]:
        yield
        raise TaskError("code", "message")

    def works() -> Iterator[Any]:
        yield
        return "result"

    def dialog(code: str, message: str) -> None:
        while runner.working:
            runner.poll()
        told.append(code)

    runner.add(Task(fails(), failed=dialog))
    runner.add(Task(works(), done=told.append))
    while runner.working:
        runner.poll()
    assert told == ["result", "code"]


def test_a_step_that_breaks_leaves_the_runner_usable() -> None:
    from MedAttnLib.steps import Runner, Task

    runner, told = Runner(), []

    def breaks() -> Iterator[Any]:
        yield
        raise ValueError("name of a patient")

    def works() -> Iterator[Any]:
        yield
        return "result"

    runner.add(Task(breaks(), failed=lambda *error: told.append(error)))
    runner.add(Task(works(), done=told.append))
    for _ in range(3):
        try:
            runner.poll()
        except ValueError:
            told.append("trace")
    assert [one if isinstance(one, str) else one[0] for one in told] == ["internal", "trace", "result"]
