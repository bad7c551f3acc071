"""How long things take, and how long the main thread is kept."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import QElapsedTimer, Qt, QTimer
from stand_ins.shell import Shell


class Beat:
    """A heart that beats in the event loop: the longest pause is how long somebody kept the main thread."""

    def __init__(self) -> None:
        self.longest, self._clock, self._timer = 0, QElapsedTimer(), QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        self.longest = max(self.longest, self._clock.restart())

    def __enter__(self) -> Beat:
        self._clock.start()
        self._timer.start()
        return self

    def __exit__(self, *_arguments: Any) -> None:
        self._tick()
        self._timer.stop()


def test_times(shell: Shell, brain: Any) -> None:
    """First result under 5 s with a warm worker, what-if under 0.2 s from click to text, nobody blocked over 50 ms.

    The best of some attempts each, since other programs take their share of the machine.
    """
    shell.widget.enter()
    shell.apply()  # warm
    applied, blocked, answered, kept = [], [], [], []
    for _attempt in range(4):
        # A scan that the worker has never seen: the sample moved by a voxel.
        voxels = np.roll(slicer.util.arrayFromVolume(brain), 1, axis=2).copy()
        slicer.util.updateVolumeFromArray(brain, voxels)
        with Beat() as beat:
            start = time.perf_counter()
            shell.apply()
            applied.append(time.perf_counter() - start)
        blocked.append(beat.longest)
        if applied[-1] < 5.0 and blocked[-1] <= 50:
            break
    for turn in range(12):
        before, state = shell.panel.question.answer, Qt.Checked if turn % 2 else Qt.Unchecked
        with Beat() as beat:
            start = time.perf_counter()
            shell.ui.regionsTable.item(0, 0).setCheckState(state)
            shell.until(lambda before=before: shell.panel.question.answer is not before)
            answered.append(time.perf_counter() - start)
        kept.append(beat.longest)
    answer = sorted(answered[::2])  # ticking on again is answered without asking
    print(
        f"Apply {min(applied):.2f} s, main thread kept {min(blocked)} ms at most; "
        f"what-if {answer[0]:.3f} to {answer[-1]:.3f} s, kept {min(kept)} to {max(kept)} ms"
    )
    assert min(applied) < 5.0
    assert min(blocked) <= 50
    assert answer[len(answer) // 2] < 0.2
    assert sorted(kept)[len(kept) // 2] <= 50
