"""What the module asks of whoever predicts, in one interface: the worker process or, in tests, this process.

No Qt, no MRML, no numpy. ``docs/worker.md`` has the requests with their fields and results.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedAttnLib.texts import _

PROTOCOL = 1
"""Version of the messages that this client speaks."""

Done = Callable[[dict[str, Any]], None]
Failed = Callable[[str, str], None]
Progress = Callable[[float, str], None]


@dataclass
class Pending:
    """A request without its final answer.

    Attributes:
        message: as sent.
        deadline: monotonic time at which a cancelled one is ended by force, else None.
        sent: whether the process has it.
        own: not of the user: neither busy nor restarted for it.
    """

    message: dict[str, Any]
    done: Done | None = None
    failed: Failed | None = None
    progress: Progress | None = None
    deadline: float | None = None
    sent: bool = False
    own: bool = False


@dataclass(eq=False)
class Engine:
    """Base of both engines: requests, callbacks, state and temporary files.

    Attributes:
        on_state: called with each new state.
        on_message: called with a line for the user about the engine itself.
        hello: the result of the greeting, None before it.
    """

    on_state: Callable[[str], None] | None = None
    on_message: Callable[[str], None] | None = None
    hello: dict[str, Any] | None = field(default=None, init=False)
    _pending: dict[int, Pending] = field(default_factory=dict, init=False)
    _last_id: int = field(default=0, init=False)
    _told: str = field(default="stopped", init=False)
    _folder: Path | None = field(default=None, init=False)
    _in_poll: bool = field(default=False, init=False)

    # --- state

    @property
    def running(self) -> bool:
        """Whether there is somebody to answer."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether a request of the user waits for its answer."""
        return any(not one.own for one in self._pending.values())

    @property
    def state(self) -> str:
        """``busy``, ``stopped``, ``starting`` or ``idle``."""
        if self.busy:
            return "busy"
        if not self.running:
            return "stopped"
        return "idle" if self.hello is not None else "starting"

    def _tell_state(self) -> None:
        if self.state != self._told:
            self._told = self.state
            if self.on_state is not None:
                self.on_state(self._told)

    # --- what is asked

    def start(self, done: Done | None = None, failed: Failed | None = None) -> None:
        """Begin; ``done`` gets the result of the greeting. Returns at once."""
        raise NotImplementedError

    def request(
        self,
        kind: str,
        *,
        done: Done | None = None,
        failed: Failed | None = None,
        progress: Progress | None = None,
        **fields: Any,
    ) -> int:
        """Ask anything of ``docs/worker.md``; starts the engine where it does not run.

        Args:
            kind: type of the request.
            done: called with the result,
            failed: or with code and message: exactly one of them, once, from within :meth:`poll` or :meth:`stop`.
            progress: called with the fraction done and a line.
            fields: of the request; None is left out, paths become text.

        Returns:
            Id of the request.
        """
        if not self.running:
            self.start()
        number = self._add(kind, fields, Pending({}, done, failed, progress))
        self._tell_state()
        return number

    def load(self, bundle: str, **options: Any) -> int:
        """Load a bundle by name or folder."""
        return self.request("load", bundle=bundle, **options)

    def predict(self, path: str | os.PathLike[str], **options: Any) -> int:
        """Predict the scan in a file."""
        return self.request("predict", path=path, **options)

    def what_if(self, prediction: str, **options: Any) -> int:
        """Ask again without, or with only, some regions and a painted mask."""
        return self.request("what_if", prediction=prediction, **options)

    def evidence(self, prediction: str, path: str | os.PathLike[str], **options: Any) -> int:
        """Write the map of any class."""
        return self.request("evidence", prediction=prediction, path=path, **options)

    def regions(self, prediction: str, **options: Any) -> int:
        """The regions of any class."""
        return self.request("regions", prediction=prediction, **options)

    def mask(self, prediction: str, path: str | os.PathLike[str], regions: list[int], **options: Any) -> int:
        """Write the mask of some regions."""
        return self.request("mask", prediction=prediction, path=path, regions=regions, **options)

    def save(self, prediction: str, folder: str | os.PathLike[str], **options: Any) -> int:
        """Save tables, evidence and, with ``report``, pictures and a page."""
        return self.request("save", prediction=prediction, folder=folder, **options)

    def poll(self) -> None:
        """Do what can be done without waiting: read answers, call callbacks. To be called every 10 to 20 ms."""
        if self._in_poll:  # a callback that runs the event loop
            return
        self._in_poll = True
        try:
            self._poll()
        finally:
            self._in_poll = False
        self._tell_state()

    def cancel(self) -> None:
        """Cancel all that is under way: each ends as ``failed("cancelled", ...)`` within a second."""
        raise NotImplementedError

    def stop(self) -> None:
        """End: no process and no file is left; what is under way ends as cancelled."""
        self._stop()
        self.hello = None
        for number in list(self._pending):
            self._fail(number, "cancelled", _("MedAttn was closed before the answer came."))
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._tell_state()

    # --- files

    @property
    def folder(self) -> Path:
        """Temporary folder of this engine, made when it is first used."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="medattn-"))
        self._folder.mkdir(exist_ok=True)
        return self._folder

    def file(self, name: str) -> str:
        """Path for a file in :attr:`folder`.

        Raises:
            ValueError: a name that leads elsewhere.
        """
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(f"file name {name!r}: a plain name without folders is accepted")
        return str(self.folder / name)

    # --- for the engines

    def _poll(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _add(self, kind: str, fields: dict[str, Any], pending: Pending) -> int:
        self._last_id += 1
        given = {name: _plain(value) for name, value in fields.items() if value is not None}
        pending.message = {"id": self._last_id, "type": kind, **given}
        self._pending[self._last_id] = pending
        return self._last_id

    def _succeed(self, number: int, result: dict[str, Any]) -> None:
        pending = self._pending.get(number)
        if pending is not None and pending.deadline is not None:  # done, but it was not wanted any more
            self._fail(number, "cancelled", _("Cancelled."))
            return
        self._pending.pop(number, None)
        self._tell_state()
        if pending is not None and pending.done is not None:
            pending.done(result)

    def _fail(self, number: int, code: str, message: str) -> None:
        pending = self._pending.pop(number, None)
        self._tell_state()
        if pending is not None and pending.failed is not None:
            pending.failed(code, message)

    def _advance(self, number: int, fraction: float, text: str) -> None:
        pending = self._pending.get(number)
        if pending is not None and pending.progress is not None and pending.deadline is None:
            pending.progress(fraction, text)


def read_message(line: bytes) -> dict[str, Any] | None:
    """A line of the worker; None for anything else, such as what a library prints: it may be JSON, too."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or type(message.get("id", "none")) not in (int, type(None)):
        return None
    fraction, error = message.get("fraction"), message.get("error")
    fits = {
        "progress": type(fraction) in (int, float) and 0 <= fraction <= 1 and isinstance(message.get("text"), str),
        "result": isinstance(message.get("result"), dict),
        "error": isinstance(error, dict) and all(isinstance(error.get(name), str) for name in ("code", "message")),
    }
    kind = message.get("type")
    return message if isinstance(kind, str) and fits.get(kind, False) else None


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple, set)):
        return [_plain(one) for one in value]
    return value
