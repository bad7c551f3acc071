"""Names of result files and atomic writing: a file is there completely or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from medattn_core import files
from medattn_core.errors import VolumeError
from medattn_core.volumes.filenames import NAME_SIGN, last_part, title_of


def without_folders(text: str, sources: Iterable[str | None]) -> str:
    """A message for a page that is passed on: the inputs' paths in it, and those beside them, without their folders.

    Archives lay scans into folders that are named after patients (:mod:`medattn_core.volumes.naming`).

    Args:
        text: the message.
        sources: paths as typed, or as found in a folder that was typed.
    """
    paths = [source for source in sources if source]
    folders: set[str] = set()
    for source in paths:
        typed, plain = os.path.dirname(source), PurePath(source)
        folders |= {typed, *(str(parent) for parent in plain.parents if parent.name)}
    longest_first = sorted((folder for folder in folders if folder.strip("./\\")), key=len, reverse=True)
    if longest_first:
        any_of = "|".join(re.escape(folder) for folder in longest_first)
        text = re.sub(rf"(?<![\w./\\-])(?:{any_of})[/{re.escape(os.sep)}]", "", text)
    for source in paths:
        if NAME_SIGN in (name := last_part(source)):
            text = text.replace(name, title_of(source))
    return text


@contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """:func:`medattn_core.files.replacing` for results: by default what can be made again, and is not waited for.

    Raises:
        VolumeError: ``unwritable``, the disk refused.
    """
    try:
        with files.replacing(path, sync=sync) as temporary:
            yield temporary
    except OSError as error:
        raise VolumeError(
            "unwritable", f"{path}: cannot be written ({error.strerror or error}); choose another folder or free space"
        ) from error


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file atomically.

    Raises:
        VolumeError: ``unwritable``.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """Write UTF-8 text atomically, with line ends as they are.

    Raises:
        VolumeError: ``unwritable``.
    """
    return write_bytes(path, content.encode("utf-8", errors="backslashreplace"))


def is_same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths are of one file; False where one of both is not there or never was a path."""
    with suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    return False


def spare(path: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Refuse to write over what was read.

    Raises:
        VolumeError: ``bad_argument``.
    """
    if any(is_same(path, one) for one in inputs):
        raise VolumeError(
            "bad_argument", f"{path}: it is the scan itself, or its mask, and is not written over; choose another name"
        )


def remove(path: Path) -> None:
    """Remove a file if it is there; what is none, such as a folder of that name, stays.

    Raises:
        VolumeError: ``unwritable``.
    """
    try:
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
    except OSError as error:
        raise VolumeError(
            "unwritable", f"{path}: of an earlier result, and cannot be removed ({error.strerror or error}); remove it"
        ) from error


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Create an output folder, parents too.

    Raises:
        VolumeError: ``unwritable``: it is a file, or may not be created or written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VolumeError(
            "unwritable", f"{path}: the output folder cannot be made ({error.strerror or error}); choose another"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise VolumeError("unwritable", f"{path}: the output folder may not be written; choose another")
    return path
