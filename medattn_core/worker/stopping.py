"""How a running request is told to stop, and how it tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medattn_core.errors import MedAttnError

if TYPE_CHECKING:
    from medattn_core.inference import Predictor

Report = Callable[[str, float, str], None]
"""Called with the stage, the fraction of the whole request from 0 to 1, and a line for a person."""


class Course:
    """One request on its way: its progress goes out, a wish to stop comes in.

    Args:
        report: called from the thread that works.
    """

    def __init__(self, report: Report | None = None) -> None:
        self._report = report
        self._stop = threading.Event()
        self._settled = False
        self._lock = threading.Lock()
        self._fraction = 0.0

    def stop(self) -> bool:
        """Ask for the end; from any thread. Whether the request will end as cancelled: not if it is settled."""
        with self._lock:
            if not self._settled:
                self._stop.set()
            return not self._settled

    def settle(self) -> None:
        """From here on it is too late to stop it: what is done next is kept, or the answer is on its way.

        Raises:
            MedAttnError: ``cancelled``, the end was asked for before.
        """
        with self._lock:
            self.check()
            self._settled = True

    def check(self) -> None:
        """Raise where the end has been asked for.

        Raises:
            MedAttnError: ``cancelled``.
        """
        if self._stop.is_set():
            raise MedAttnError("cancelled", "cancelled on request; nothing was changed")

    def at(self, stage: str, fraction: float, text: str) -> None:
        """Tell how far it is, never falling, after a :meth:`check`."""
        self.check()
        self._fraction = max(self._fraction, min(1.0, fraction))
        if self._report is not None:
            self._report(stage, self._fraction, text)


class LayerWatch:
    """Lets a course stop between the layers of a network and counts the passes through its encoder.

    Hooks, not threads: a torch operation cannot be interrupted, but the longest of them takes some ten milliseconds.
    The hooks stay on the network as long as the model is loaded and cost nothing that can be measured.

    Args:
        predictor: whose networks are watched.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.course: Course | None = None
        self.passes = 0
        self.expected = 1
        for network in predictor.networks:
            for module in network.modules():
                if not any(True for _ in module.children()):
                    module.register_forward_pre_hook(self._layer)
            network.encoder.register_forward_pre_hook(self._encoder)

    def begin(self, course: Course | None, expected: int = 1) -> None:
        """Watch for another course, of so many passes."""
        self.course, self.passes, self.expected = course, 0, max(1, expected)

    def _layer(self, module: Any, inputs: Any) -> None:
        if self.course is not None:
            self.course.check()

    def _encoder(self, module: Any, inputs: Any) -> None:
        if self.course is not None:
            share = min(1.0, self.passes / self.expected)
            self.course.at("network", 0.25 + 0.55 * share, "the network looks at the scan")
        self.passes += 1
