"""Commands that are told to end."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALLED = 128
"""Exit status of what a signal ended, less the number of the signal: a shell's convention."""

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""``kill``, ``timeout`` and cluster schedulers; a terminal that was closed."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """End on :data:`ENDING` by an exception, as on Ctrl-C: what is half written or unpacked is taken away.

    A signal is left alone where it already means something (a program that embeds this one), is not to end it
    (``nohup``) or cannot be caught.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in ENDING if main and signal.getsignal(number) is signal.SIG_DFL]
    last = -math.inf

    def end(number: int, _: object) -> None:
        nonlocal last
        now = time.monotonic()
        if last == -math.inf:
            last = now
            raise SystemExit(SIGNALLED + number)
        if now - last > 1:  # `timeout` sends it twice at once, which must not break off the taking away
            os._exit(SIGNALLED + number)  # to end by an exception once more would leave threads behind in C

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
