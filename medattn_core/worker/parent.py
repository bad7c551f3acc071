"""The end of the process when its client is gone, by whatever way."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from medattn_core.errors import MedAttnError

INTERVAL = 0.5
"""Seconds between two looks at the parent. The end of standard input is noticed at once; this is for the case that a
sister process holds the other end of it open."""

PREFIX = "medattn-"
"""What the name of a folder begins with that may be removed."""


class Scratch:
    """Folders of temporary files, which hold scans: the client's, who cannot remove it once killed, or an own one.

    Libraries of this process make their temporary files there, too: :func:`end` waits for none of their blocks.
    The own one is made only for a client that names none: a client may end this process by force, which then removes
    nothing, and it knows nothing of a folder that is not its own.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def begin(self) -> None:
        """Make the own folder, and the temporary files of this process in it, where there is no folder yet."""
        if not self.folders:
            self._use(Path(tempfile.mkdtemp(prefix=PREFIX)))

    def adopt(self, folder: str) -> None:
        """Take over the client's, for temporary files as well.

        Raises:
            MedAttnError: ``bad_argument``, a folder that was not made for this: a mistake would cost the user's files.
        """
        path = Path(folder)
        if not path.name.startswith(PREFIX) or path.is_symlink() or not path.is_dir():
            raise MedAttnError(
                "bad_argument",
                f"folder {folder!r}: an existing folder whose name begins with {PREFIX!r} is accepted, made for this "
                "worker alone: it is removed at the end",
            )
        self._use(path)

    def _use(self, folder: Path) -> None:
        self.folders.append(folder)
        tempfile.tempdir = str(folder)

    def ready(self) -> None:
        """Make the folder anew where somebody cleaned up."""
        if self.folders:
            with contextlib.suppress(OSError):  # who needs it says why not
                self.folders[-1].mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Remove them with all that is in them; twice, since another thread may just have added a file."""
        for folder in self.folders * 2:
            shutil.rmtree(folder, ignore_errors=True)


def end(scratch: Scratch, status: int = 0) -> None:
    """End the process at once, from any thread: nothing is waited for, the temporary folder is gone."""
    scratch.remove()
    os._exit(status)


def watch(scratch: Scratch, parent: int | None = None) -> None:
    """End the process within a second of the death of its parent.

    Args:
        scratch: removed then.
        parent: process id of the client where a launcher stands between (Slicer's), else the parent itself.
    """
    first = os.getppid()
    if parent is None and sys.platform == "win32":  # where the id of the parent stays when it is gone
        parent = first
    threading.Thread(target=_watch, args=(scratch, first, parent), daemon=True, name="parent watch").start()


def _watch(scratch: Scratch, first: int, parent: int | None) -> None:
    while os.getppid() == first and (parent is None or is_alive(parent)):
        time.sleep(INTERVAL)
    end(scratch)


def is_alive(process: int) -> bool:
    """Whether a process of this id exists."""
    if process <= 0:
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_alive_on_windows(process: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x00100000, False, process)  # SYNCHRONIZE
    if not handle:
        return bool(kernel.GetLastError() == 5)  # access denied: it is there
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == 0x102)  # WAIT_TIMEOUT: not ended
    finally:
        kernel.CloseHandle(handle)
