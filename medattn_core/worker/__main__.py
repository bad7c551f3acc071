"""``python -m medattn_core.worker``: claim the streams before anything else can print, then serve."""

from __future__ import annotations

from medattn_core.worker.streams import claim

if __name__ == "__main__":
    requests, answers = claim()

    from medattn_core.worker.server import Server

    Server(requests, answers).run()
