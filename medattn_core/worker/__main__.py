"""``python -m medattn_core.worker``: claim the streams before anything else can print, then serve."""

from __future__ import annotations

import os
import sys

from medattn_core.worker.streams import claim

if __name__ == "__main__":
    # Threads that wait do not spin: beside a viewer and other programs a spinning pair took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.name != "nt" and sys.getfilesystemencoding() != "utf-8":  # a bare locale, in which no name beyond ASCII opens
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "medattn_core.worker"])
    requests, answers = claim()

    from medattn_core.worker.server import Server

    Server(requests, answers).run()
