"""One process at a time writes into a folder of results, and says what the disk refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medattn_core.errors import VolumeError

_LOCK = ".predictions.lock"


def locked(folder: Path) -> Any:
    """An open file that holds the folder; the system lets go of it however the process ends."""
    path = folder / _LOCK
    try:
        file = open(path, "ab")  # noqa: SIM115 (open as long as the batch runs)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        import fcntl
    except ImportError:  # Windows: no lock, as before
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise VolumeError(
            "unwritable", f"{folder}: another medattn predict writes there; wait for it, or choose another --output"
        ) from error
    except OSError:  # a file system without locks
        pass
    return file


def unwritable(path: Path, error: OSError) -> VolumeError:
    """The error of a file of the batch that the disk or its permissions refuse."""
    return VolumeError(
        "unwritable", f"{path}: cannot be written ({error.strerror or error}); choose another folder or free space"
    )
