"""Rate and time left, on a clock of our own."""

from __future__ import annotations

import pytest

from medattn_core.batch import progress
from medattn_core.batch.progress import Progress


def test_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    counted = Progress(1000)
    assert counted.words() == ""
    for _ in range(200):
        now += 0.5
        counted.finished()
    assert counted.rate == pytest.approx(2.0)
    assert counted.words() == ", 2 scans/s, about 7 min left"
    for _ in range(60):  # slower scans: the rate is theirs, not the mean
        now += 2.0
        counted.finished()
    assert counted.rate == pytest.approx(0.5)
    assert counted.seconds == pytest.approx(220.0)
    counted = Progress(50_000)
    now += 1.0
    counted.finished()
    assert counted.words().endswith("about 13 h 53 min left")
