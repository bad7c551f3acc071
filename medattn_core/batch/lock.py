"""One process at a time writes into a folder of results, and says what the disk refuses."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from medattn_core.errors import VolumeError
from medattn_core.files import lock_file

_LOCK = ".predictions.lock"


def locked(folder: Path) -> BinaryIO:
    """An open file that holds the folder; the system lets go of it however the process ends."""
    path = folder / _LOCK
    try:
        return lock_file(path)
    except BlockingIOError as error:
        raise VolumeError(
            "unwritable", f"{folder}: another medattn predict writes there; wait for it, or choose another --output"
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> VolumeError:
    """The error of a file of the batch that the disk or its permissions refuse."""
    return VolumeError(
        "unwritable", f"{path}: cannot be written ({error.strerror or error}); choose another folder or free space"
    )
