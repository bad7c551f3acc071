"""How fast it goes and how long it still takes."""

from __future__ import annotations

import time
from collections import deque

_WINDOW = 50


class Progress:
    """Counts scans; its rate is that of the last ones, since a folder is rarely alike from end to end.

    Args:
        count: scans to predict now.
    """

    def __init__(self, count: int) -> None:
        self.count, self.done = count, 0
        self._start = time.monotonic()
        self._times: deque[float] = deque([self._start], maxlen=_WINDOW + 1)

    def finished(self) -> None:
        """One more is done."""
        self.done += 1
        self._times.append(time.monotonic())

    @property
    def rate(self) -> float:
        """Scans a second; 0 before the first is done."""
        span = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def words(self) -> str:
        """Such as ``", 2.67 scans/s, about 3 min left"``; empty before the first is done."""
        if not self.rate:
            return ""
        return f", {self.rate:.3g} scans/s, about {_time((self.count - self.done) / self.rate)} left"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
