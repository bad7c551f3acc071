"""One process at a time writes: to the place of a bundle, or into a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


def lock_file(path: Path) -> BinaryIO:
    """Open a file that this process holds alone; the system lets go of it however the process ends.

    Where the system (Windows) or the file system has no such locks, it is only opened.

    Raises:
        BlockingIOError: another process, or another part of this one, holds it.
        OSError: it cannot be written.
    """
    file = open(path, "ab")  # noqa: SIM115 (whoever called closes it)
    try:
        import fcntl
    except ImportError:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError:
        pass
    return file
