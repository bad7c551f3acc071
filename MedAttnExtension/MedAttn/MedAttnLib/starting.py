"""A process on its way, for which the main thread does not wait.

``subprocess.Popen`` waits until the new program has taken the place of the copy: a few ms, on a busy computer or where
every program is scanned first many more. So it is called in a thread of its own, which ends with it. Python lets the
others go on while it waits (of its versions that wait in ``vfork``, from 3.11.4); for the little before and after, a
thread gets its turn only where the main thread leaves it one: see :meth:`Starting.finished`.
"""

from __future__ import annotations

import _thread
import subprocess
import threading
from collections.abc import Callable

from MedAttnLib import launch

TURN = 0.001
"""Seconds for which the main thread leaves the interpreter to the other one, in a poll."""


class Starting:
    """A process that is being started.

    Args:
        start: starts it; called in another thread.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._error: Exception | None = None
        self._wanted = True
        self._lock = threading.Lock()
        self._finished = threading.Event()
        # Not threading.Thread: its start() waits until the thread has had its first turn.
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._process = self._start()
        except Exception as error:
            self._error = error
        with self._lock:
            self._finished.set()
            wanted = self._wanted
        if not wanted and self._process is not None:
            launch.kill(self._process)
            self._process.wait()

    def finished(self) -> bool:
        """Whether it has ended, well or not; to be asked again and again.

        The main thread of 3D Slicer keeps the interpreter to itself between two polls, so each question leaves it to
        the other thread for a moment.
        """
        return self._finished.wait(TURN)

    def process(self) -> subprocess.Popen[bytes] | None:
        """The process, when it has finished.

        Raises:
            OSError: it could not be started.
        """
        if self._error is not None:
            raise self._error
        return self._process

    def give_up(self, patience: float) -> subprocess.Popen[bytes] | None:
        """Wait for the process so that it can be ended; one that comes later is ended as it comes.

        Args:
            patience: seconds.

        Returns:
            The process, None where there is none to be ended.
        """
        self._finished.wait(patience)
        with self._lock:
            self._wanted = self._finished.is_set()
        return self._process if self._wanted else None
