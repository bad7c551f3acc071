"""How a new bundle takes its place: it is made beside it, and what a killed process left there is cleared away."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from medattn_core.bundles.load import load
from medattn_core.bundles.weights import load_networks
from medattn_core.errors import BundleError
from medattn_core.files import held, sync_folder, sync_names, take_over

LOCK, NEW, OLD, GONE = "lock", "new", "old", "gone"
"""What the hidden folder beside a bundle holds: the lock of its process, the bundle that is being written, the one that
was moved aside for it, and what is only to be deleted."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Numbers of Linux (``fcntl.h``, ``stdio.h``)."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill with a bundle, which lies at ``target`` afterwards, if it is whole and loads; else it is gone.

    What dead processes left that wrote to the same name is cleared away first, and a bundle that one of them had moved
    aside is put back: where there are locks by which to tell that they are dead (not on Windows).

    Raises:
        BundleError: what was written is no bundle, or ``unwritable``.
    """
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            place = _place(target, stack)
            work = place / NEW
            work.mkdir()
        except OSError as error:
            raise unwritable(target, error) from error
        try:
            yield work
            load_networks(load(work))
            work.chmod(0o755)  # whatever the umask: others may read it
            sync_folder(work)  # what it was made of, a checkpoint perhaps, is deleted afterwards
            replace_folder(work, target, aside=place / OLD)
            sync_names(target.parent)
        except BundleError as error:
            raise BundleError(error.code, error.message.replace(str(work), str(target))) from error
        except OSError as error:
            raise unwritable(target, error) from error


def unwritable(path: Path, error: OSError) -> BundleError:
    """The error of a folder that the disk or its permissions refuse."""
    return BundleError("unwritable", f"{path}: cannot be written ({error.strerror}); choose another folder")


def replace_folder(work: Path, target: Path, *, aside: Path) -> None:
    """Put ``work`` at ``target``; of what was there nothing is lost before.

    Args:
        work: a folder.
        target: nothing, or a folder: it lies at ``work`` or at ``aside`` afterwards.
        aside: where it lies for a moment, with nothing at ``target``, on systems that cannot exchange folders.

    Raises:
        OSError: the disk refused.
    """
    if not target.exists():
        try:
            os.replace(work, target)
        except OSError:
            if not target.exists():
                raise
        else:
            return  # else another process was first
    if exchange(work, target):
        return
    os.replace(target, aside)
    os.replace(work, target)  # if this fails, or the process is ended before, `_clear` puts back what was there
    os.replace(aside, aside.with_name(GONE))


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step, as Linux can; False where nothing was done."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    rename.restype = ctypes.c_int
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _place(target: Path, stack: ExitStack) -> Path:
    """A new hidden folder beside ``target`` that this process holds, and that is cleared away with ``stack``."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{target.name}.saving.", dir=target.parent))
        stack.callback(_remove, place)  # once the lock is closed, which Windows removes not before
        try:
            stack.enter_context(held(place / LOCK))
        except BlockingIOError:  # another process began to sweep it before it was held
            continue
        stack.callback(_clear, place, target)
        return place


def _sweep(target: Path) -> None:
    """Clear away what processes left that are no more; a folder of another kind of that name stays."""
    name = re.compile(re.escape(f".{target.name}.saving.") + r"\w{8}")
    for place in sorted(path for path in target.parent.iterdir() if name.fullmatch(path.name)):
        _remove(place)  # of one that was killed before it held anything
        with suppress(OSError):  # somebody else's, or swept by another process just now
            if place.is_symlink() or {path.name for path in place.iterdir()} - {LOCK, NEW, OLD, GONE}:
                continue
            if (lock := take_over(place / LOCK)) is not None:
                with lock:
                    _clear(place, target)


def _clear(place: Path, target: Path) -> None:
    """Delete a hidden folder that is held; the bundle that was moved aside returns if there is none in its place."""
    aside = place / OLD
    if aside.is_dir():
        if not os.path.lexists(target):
            with suppress(OSError):  # where another process is putting its own there
                os.replace(aside, target)
        if not os.path.lexists(target):
            return  # it is the one copy
        with suppress(OSError):  # in one step: what is half deleted must not return
            os.replace(aside, place / GONE)
    for name in (NEW, OLD, GONE):
        shutil.rmtree(place / name, ignore_errors=True)
    with suppress(OSError):
        if {path.name for path in place.iterdir()} == {LOCK}:  # last: without it the folder would not be known again
            (place / LOCK).unlink()
    _remove(place)


def _remove(place: Path) -> None:
    """Remove a folder that is empty."""
    with suppress(OSError):
        place.rmdir()
