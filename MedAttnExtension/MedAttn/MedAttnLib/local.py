"""The same interface without a process: predicts in this one. For tests and scripts; it keeps its caller waiting."""

from __future__ import annotations

import json
from typing import Any

from MedAttnLib.engine import PROTOCOL, Done, Engine, Failed, Pending
from MedAttnLib.texts import _


class LocalEngine(Engine):
    """Answers one request in each :meth:`poll`, with ``medattn_core`` imported here.

    A request is cancelled while it waits for its turn, or from within its own ``progress`` callback.
    """

    _service: Any = None
    _course: Any = None

    @property
    def running(self) -> bool:
        """Whether it has been started."""
        return self._service is not None

    def start(self, done: Done | None = None, failed: Failed | None = None) -> None:
        """See :meth:`MedAttnLib.engine.Engine.start`."""
        if self._service is None:
            from medattn_core.worker.service import Service

            self._service = Service()
        elif self.hello is not None and done is None:
            return

        def greeted(result: dict[str, Any]) -> None:
            self.hello = result
            if done is not None:
                done(result)

        self._add("hello", {"protocol": PROTOCOL}, Pending({}, greeted, failed, own=True))
        self._tell_state()

    def cancel(self) -> None:
        """See :meth:`MedAttnLib.engine.Engine.cancel`."""
        for pending in self._pending.values():
            if not pending.own:
                pending.deadline = 0.0
        if self._course is not None:
            self._course.stop()

    def _poll(self) -> None:
        from medattn_core.errors import MedAttnError
        from medattn_core.worker.messages import check
        from medattn_core.worker.stopping import Course

        if not self._pending or self._service is None:
            return
        number, pending = next(iter(self._pending.items()))
        if pending.deadline is not None:
            self._fail(number, "cancelled", _("Cancelled."))
            return
        self._course = Course(lambda stage, fraction, text: self._advance(number, fraction, text))
        try:
            # By way of JSON, so that what comes back is exactly what a process would send.
            request = check(json.loads(json.dumps(pending.message, allow_nan=False)))
            result = json.loads(json.dumps(self._service.handle(request, self._course), allow_nan=False))
            self._course.settle()
        except MedAttnError as error:
            self._fail(number, error.code, " ".join(error.message.split()))
        except Exception as error:
            self._fail(number, "internal", f"unexpected {type(error).__name__}")
        else:
            self._succeed(number, result)
        finally:
            self._course = None

    def _stop(self) -> None:
        self._service = None
