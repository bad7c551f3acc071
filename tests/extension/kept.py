"""How long something keeps the thread that does it, without the time in which the system did not let the thread run."""

from __future__ import annotations

import time
from pathlib import Path

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux
    getrusage = None  # type: ignore[assignment]

QUEUE = Path("/proc/thread-self/schedstat")
"""Of Linux; its second number: ns that the thread has stood ready to run while others had the processors."""


class Kept:
    """Measures what is done in a ``with``.

    A thread waits for something (a pipe, a process, a lock, the end of a sleep) only by leaving its processor of its
    own accord, which the system counts. Where it never did so, all that it did is the processor time that it had.
    Where it did, it is the time by the clock less that in which it could have gone on and was not let. The rest by the
    clock is what other programs had, or other virtual machines. Where the system does not tell, it is the time by the
    clock.

    Attributes:
        seconds: that the thread was kept by what it did itself.
        wall: seconds by the clock.
    """

    seconds = wall = 0.0

    def __enter__(self) -> Kept:
        self._start = time.perf_counter()
        self._before = _counted()
        return self

    def __exit__(self, *_error: object) -> None:
        now = _counted()  # before the clock, so that nothing is taken off that is not in it
        self.wall = self.seconds = time.perf_counter() - self._start
        if now is not None and self._before is not None:
            left, queued, worked = (after - before for after, before in zip(now, self._before, strict=True))
            self.seconds = max(worked, self.wall - queued) if left else worked


def _counted() -> tuple[float, float, float] | None:
    """Of this thread by now: how often it left its processor, seconds ready but not let, seconds of work."""
    if getrusage is None:
        return None
    try:
        queued = int(QUEUE.read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None
    return getrusage(RUSAGE_THREAD).ru_nvcsw, queued, time.thread_time()
