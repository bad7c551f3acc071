"""``python -m medattn_core.worker``: claim the streams before anything else can print, then serve."""

from __future__ import annotations

import os

from medattn_core.worker.streams import claim

if __name__ == "__main__":
    # Threads that wait do not spin: beside a viewer and other programs a spinning pair took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    requests, answers = claim()

    from medattn_core.worker.server import Server

    Server(requests, answers).run()
