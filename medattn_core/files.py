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
        _lock(file)
    except BlockingIOError:
        file.close()
        raise
    return file


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file as :func:`lock_file` does, for as long as the block runs; afterwards it is gone.

    A killed process leaves the file, which refuses nobody.

    Args:
        path: of the lock file; its folder is made.

    Raises:
        BlockingIOError: another process, or another part of this one, holds it.
        OSError: it cannot be written.
    """
    for _ in range(10):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = lock_file(path)
        except FileNotFoundError:  # the one before has just removed the folder, too
            continue
        if _lies_at(file, path):
            break
        file.close()  # the one before has just ended, and removed what was locked
    else:
        raise OSError(errno.EBUSY, "others make and remove it all the time")
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held: another one must not wait for what is gone
            path.unlink()
        file.close()
        if os.name == "nt":  # removes no open file
            with suppress(OSError):
                path.unlink()


def take_over(path: Path) -> BinaryIO | None:
    """A lock file that is there, opened and held as by :func:`lock_file`, if whoever made it has surely ended.

    Returns:
        None where somebody holds it, where there are no such locks to tell, or where it is not there.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return None
        file = open(path, "ab")  # noqa: SIM115 (whoever called closes it)
    except OSError:
        return None
    with suppress(BlockingIOError):
        if _lock(file) and _lies_at(file, path):
            return file
    file.close()
    return None


def _lock(file: BinaryIO) -> bool:
    """Hold an open file alone; False where there are no such locks.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _lies_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


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
