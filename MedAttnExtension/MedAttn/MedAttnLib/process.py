"""The worker process as the module sees it: everything at once, nothing waited for.

Runs in the main thread of 3D Slicer: the pipes do not block, and :meth:`Worker.poll` reads what has come. Only the
start of the process, for which the system makes its caller wait, has a thread of its own (:mod:`MedAttnLib.starting`);
what is asked meanwhile goes out as soon as the process stands.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from MedAttnLib import launch
from MedAttnLib.engine import PROTOCOL, Done, Engine, Failed, Pending, read_message
from MedAttnLib.local import LocalEngine
from MedAttnLib.starting import Starting
from MedAttnLib.texts import _

__all__ = ["LocalEngine", "Worker"]

GRACE = 0.5
"""Seconds that a cancelled request has to end by itself, before the process is killed."""

MOST_DEATHS, WITHIN = 3, 60.0
"""After so many deaths within so many seconds it is started again by the next request only."""

LAST_BREATH = 0.2
"""Seconds that a process has to leave its exit status, once its stream has ended."""

MOST_TO_STOP = 1.0
"""Seconds that a stop waits at most until the process is gone."""

MOST_AT_ONCE = 1 << 20
"""Bytes read in one poll."""

MOST_OF_THE_LOG = 8192
"""Bytes of the end of the log that are read."""

MOST_OF_A_LINE = 300
"""Characters of the log that a message repeats."""


class Worker(Engine):
    """Client of ``python -m medattn_core.worker``.

    Args:
        python: executable; see :func:`MedAttnLib.launch.python_executable`.
        paths: where else packages are looked for.
        variables: further environment variables.
        warm: import torch as soon as it stands idle.
        on_state, on_message: see :class:`MedAttnLib.engine.Engine`.
    """

    def __init__(
        self,
        python: str | os.PathLike[str] | None = None,
        *,
        paths: Sequence[str | os.PathLike[str]] = (),
        variables: Mapping[str, str] | None = None,
        warm: bool = True,
        on_state: Callable[[str], None] | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(on_state, on_message)
        self.python = launch.python_executable(python)
        self._paths, self._variables, self._warm = tuple(paths), dict(variables or {}), warm
        self._starting: Starting | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._silent_since: float | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._lines: deque[bytes] = deque()
        self._unread = b""
        self._unsent = b""
        self._deaths: list[float] = []
        self._bundle: dict[str, Any] | None = None
        self._later: list[Callable[[], None]] = []
        _stop_at_exit(self)

    @property
    def running(self) -> bool:
        """Whether the process has been started, or is being started, and has not been found dead."""
        return self._process is not None or self._starting is not None

    @property
    def pid(self) -> int | None:
        """Process id, None without a process and until it stands."""
        return self._process.pid if self._process is not None else None

    @property
    def log(self) -> str:
        """The last lines that the process wrote to standard error, for a person who looks for a fault."""
        if self._folder is None:
            return ""
        try:
            with open(self._folder / "worker.log", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_OF_THE_LOG))
                return file.read(MOST_OF_THE_LOG).decode("utf-8", "replace")
        except OSError:
            return ""

    def start(self, done: Done | None = None, failed: Failed | None = None) -> None:
        """See :meth:`MedAttnLib.engine.Engine.start`. Fails with ``worker_unavailable`` where it cannot be started."""
        if self.running:
            self._later.append(lambda: self._greeted(done))
            return
        self.hello = self._silent_since = None
        self._unread = self._unsent = b""
        self._lines.clear()
        greeting = {"protocol": PROTOCOL, "folder": self.folder, "parent": os.getpid(), "warm": self._warm}
        number = self._add("hello", greeting, Pending({}, lambda result: self._hello(result, done), failed, own=True))
        self._starting = Starting(
            partial(
                launch.start,
                self.python,
                folder=self.folder,
                log=self.folder / "worker.log",
                env=launch.environment(self.python, self._paths, self._variables),
            )
        )
        self._transmit(number)
        self._tell_state()

    def cancel(self) -> None:
        """See :meth:`MedAttnLib.engine.Engine.cancel`."""
        deadline = time.monotonic() + GRACE
        sent = False
        for number, pending in list(self._pending.items()):
            if pending.own or pending.deadline is not None:
                continue
            pending.deadline = deadline
            if pending.sent:
                sent = True
            else:
                self._later.append(lambda number=number: self._fail(number, "cancelled", _("Cancelled.")))  # type: ignore[misc]
        if sent:
            self._transmit(self._add("cancel", {}, Pending({}, own=True)))

    def _poll(self) -> None:
        later, self._later = self._later, []
        for call in later:
            call()
        self._ended = [process for process in self._ended if process.poll() is None]
        if self._starting is not None and self._starting.finished():
            self._arrive(self._starting)
        if self._process is None:
            return
        if self.hello is not None:
            for number, pending in list(self._pending.items()):
                if not pending.sent and pending.deadline is None:
                    self._transmit(number)
        self._flush()
        if not self._receive():
            self._died()
        elif any(p.deadline is not None and time.monotonic() > p.deadline for p in self._pending.values()):
            self._end_by_force()

    def _arrive(self, started: Starting) -> None:
        """Take the process that was being started."""
        self._starting = None
        try:
            self._process = started.process()
        except OSError as error:
            told = _("{python} cannot be started ({reason}).")
            self._fail_all(told.format(python=self.python, reason=error.strerror))

    # --- messages

    def _transmit(self, number: int) -> None:
        pending = self._pending[number]
        pending.sent = True
        self._unsent += json.dumps(pending.message, allow_nan=False).encode("ascii") + b"\n"
        self._flush()

    def _flush(self) -> None:
        if self._unsent and self._process is not None:
            went = launch.write(self._process, self._unsent)
            self._unsent = b"" if went is None else self._unsent[went:]

    def _receive(self) -> bool:
        """Take what has come; False at the end of the stream."""
        process, taken = self._process, 0
        assert process is not None
        while self._take_lines(process) and taken < MOST_AT_ONCE:
            part = launch.read(process)
            if part is None:
                return False
            if not part:
                break
            taken += len(part)
            *lines, self._unread = (self._unread + part).split(b"\n")
            self._lines.extend(lines)
        return True

    def _take_lines(self, process: subprocess.Popen[bytes]) -> bool:
        """Take the lines that have come, one by one, so that a callback that raises costs no other its call.

        Returns:
            False where a callback stopped or restarted the process.
        """
        while self._lines:
            self._take(self._lines.popleft())
            if self._process is not process:
                return False
        return True

    def _take(self, line: bytes) -> None:
        message = read_message(line)
        if message is None:
            return  # not of our worker; a request that is never answered can still be cancelled
        number, kind = message["id"], message["type"]
        if kind == "progress":
            self._advance(number, message["fraction"], message["text"])
        elif kind == "result":
            pending = self._pending.get(number)
            if pending is not None:
                self._remember(pending.message)
            self._succeed(number, message["result"])
        elif kind == "error":
            pending = self._pending.get(number)
            greeting = pending is not None and pending.message["type"] == "hello"
            self._fail(number, message["error"]["code"], message["error"]["message"])
            if greeting:  # it speaks another protocol: no use to go on with it
                self._let_go()
                self._fail_all(message["error"]["message"], code=message["error"]["code"])

    def _remember(self, message: dict[str, Any]) -> None:
        """The model that a new process loads before it is asked for."""
        if message["type"] in ("load", "predict") and "bundle" in message:
            self._bundle = {name: message[name] for name in ("bundle", "device") if name in message}

    def _hello(self, result: dict[str, Any], done: Done | None) -> None:
        self.hello = result
        if self._bundle is not None and self._warm:
            self._transmit(self._add("load", self._bundle, Pending({}, own=True)))
        if done is not None:
            done(result)

    def _greeted(self, done: Done | None) -> None:
        """``done`` of a second start: now, or with the greeting that is under way."""
        if done is None:
            return
        if self.hello is not None:
            done(self.hello)
        elif self.running:
            self._later.append(lambda: self._greeted(done))

    # --- ends

    def _let_go(self) -> None:
        if self._process is not None:
            launch.kill(self._process)
            self._ended.append(self._process)
            self._process = None
        self.hello = None
        for number in [number for number, one in self._pending.items() if one.own and one.failed is None]:
            del self._pending[number]

    def _died(self) -> None:
        """The stream has ended: say so and start again, but not before the exit status is there to be said."""
        process, greeted = self._process, self.hello is not None
        assert process is not None
        now, code = time.monotonic(), process.poll()
        if self._silent_since is None:
            self._silent_since = now
        if code is None and now - self._silent_since < LAST_BREATH:
            return
        self._let_go()
        if not greeted:
            self._fail_all(self._why_not_started(code))
            return
        self._deaths = [one for one in self._deaths if now - one < WITHIN] + [now]
        again = len(self._deaths) < MOST_DEATHS
        told = _("The MedAttn worker ended unexpectedly ({how}).").format(how=_how(code)) + " "
        told += _("It is being started again; press Apply to repeat.") if again else _("Press Apply to start it again.")
        told += " " + _("If this keeps happening, the scan may be too large for this computer's memory.")
        for number, pending in list(self._pending.items()):
            if pending.deadline is not None:
                self._fail(number, "cancelled", _("Cancelled."))
            else:
                self._fail(number, "worker_died", told)
        if self.on_message is not None:
            self.on_message(told)
        if again:
            self._later.append(self._start_again)

    def _end_by_force(self) -> None:
        """Kill a process that does not let go of a cancelled request, and start another."""
        self._let_go()
        for number, pending in list(self._pending.items()):
            if pending.deadline is not None:
                self._fail(number, "cancelled", _("Cancelled."))
            else:
                pending.sent = False  # asked after the cancel: the next process answers it
        self._later.append(self._start_again)

    def _start_again(self) -> None:
        """In a poll of its own: ending one process and starting the next takes longer than either."""
        if not self.running:
            self.start()

    def _fail_all(self, reason: str, code: str = "worker_unavailable") -> None:
        for number in list(self._pending):
            self._fail(number, code, reason)
        if self.on_message is not None:
            self.on_message(reason)

    def _why_not_started(self, code: int | None) -> str:
        missing = [line for line in self.log.splitlines() if "No module named" in line]
        if missing:
            name = missing[-1].partition("No module named")[2].strip().strip("'\"")
            return _("{name} is not installed in {python}; press Apply to be asked about installing it.").format(
                name=name, python=self.python
            )
        last = next((line.strip() for line in reversed(self.log.splitlines()) if line.strip()), "")
        return _("The MedAttn worker, run by {python}, did not start ({how}): {said}").format(
            python=self.python, how=_how(code), said=last[-MOST_OF_A_LINE:] or _("it said nothing.")
        )

    def _stop(self) -> None:
        end = time.monotonic() + MOST_TO_STOP
        if self._starting is not None:
            self._process, self._starting = self._starting.give_up(MOST_TO_STOP), None
        self._let_go()
        self._later.clear()
        self._unread = self._unsent = b""
        self._lines.clear()
        while self._ended and time.monotonic() < end:
            self._ended = [process for process in self._ended if not launch.is_gone(process)]
            time.sleep(0.001)


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return _("no exit status")
    if code < 0:
        try:
            return _("signal {name}").format(name=signal.Signals(-code).name)
        except ValueError:
            return _("signal {name}").format(name=-code)
    return _("exit status {code}").format(code=code)


def _stop_at_exit(worker: Worker) -> None:
    """Leave no process and no file when Python ends without :meth:`Worker.stop`."""
    reference = weakref.ref(worker)

    def stop() -> None:
        alive = reference()
        if alive is not None:
            alive.on_state = alive.on_message = None
            for pending in alive._pending.values():
                pending.done = pending.failed = pending.progress = None
            alive.stop()

    atexit.register(stop)
    weakref.finalize(worker, atexit.unregister, stop).atexit = False
