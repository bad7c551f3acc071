"""Files that are there whole or not at all, whatever ends the process or the power between; and held by one process."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that cannot be told to write now: there it is written when they like."""


@contextmanager
def replacing(path: Path, *, temporary: str | None = None, sync: bool = True) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, moved onto it if the block succeeds and removed if it fails.

    Its content is on the disk before it has the final name: after a power cut the old file is there or the new one.

    Args:
        path: where the file is to lie; the folder exists.
        temporary: name until then, where others know it by one; default is one of those that a batch clears away.
        sync: without it a power cut may leave a part under the final name: for what can be made again, and is many
            files or waited for.

    Raises:
        OSError: the disk refused; what it means is for the caller to say.
    """
    # Not tempfile.mkstemp: its mode 0600 would override the user's umask for shared result folders.
    place = path.parent / (temporary or f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield place
        if sync:
            _sync(place)
        os.replace(place, path)
    finally:
        with suppress(OSError):
            place.unlink(missing_ok=True)


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


def sync_folder(folder: Path) -> None:
    """Wait until the files of a folder and their names are on the disk, before it takes the place of another.

    Raises:
        OSError: the disk refused.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place, name))
        sync_names(Path(place))


def sync_names(folder: Path) -> None:
    """Wait until it is on the disk which files a folder has; Windows does so by itself."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        _flush(number)
    finally:
        os.close(number)


def _sync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with open(path, "rb+" if os.name == "nt" else "rb") as file:  # Windows refuses one that is open for reading
        _flush(file.fileno())


def _flush(number: int) -> None:
    """``fsync``, where the file system knows it."""
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
