"""By what a batch knows its model and its inputs again: a hash of the bundle, and stamps of the files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from medattn_core.inference.inputs import RESULT_TABLES, detached_data, is_result_name


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files of a bundle: a foreign one may read any of them.

    Left out is what makes no other bundle: results of a batch, hidden files as file managers leave them, and what
    Python compiles of its code.
    """
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        results = not set(RESULT_TABLES).isdisjoint(names)
        if results and Path(parent) != folder:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            result = results and (name in RESULT_TABLES or is_result_name(name))
            if name.startswith(".") or result or not path.is_file():  # a link that leads nowhere is no file
                continue
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def stamp(path: Path, *, output: Path | None = None) -> tuple[int, int]:
    """Bytes and latest change (nanoseconds since 1970) of a file; (-1, -1) if it is gone.

    An input of several files (a folder, a DICOMDIR with what lies around it, a header with its voxels in another file)
    has in place of the change a number made from the names, sizes and changes of all: the latest change alone does not
    tell that one file was swapped for an older one.

    With the path this tells whether an input is the one of the last run. Hashing ten thousand scans instead would cost
    as much as reading them.

    Args:
        path: the input.
        output: folder of the results: what a batch writes there is no part of an input that it lies in.
    """
    try:
        if path.is_dir() or path.name.upper() == "DICOMDIR":
            folder = str(path if path.is_dir() else path.parent)
            found = _walk(folder, "" if output is None else os.path.realpath(output))
            return _stamp_of((file[len(folder) :], file) for file in found)
        header, data = path.stat(), detached_data(path)
        if data is None:
            return header.st_size, header.st_mtime_ns
        return _stamp_of([(path.name, str(path)), (data.name, str(data))])
    except (OSError, ValueError):
        return -1, -1


def _walk(folder: str, output: str) -> Iterator[str]:
    """Files of a folder and of those in it, without what a batch writes into ``output``, journal and lock included."""
    for parent, _, names in os.walk(folder):
        ours = os.path.realpath(parent) == output
        yield from (os.path.join(parent, name) for name in names if not (ours and _written(name)))


def _written(name: str) -> bool:
    return name.startswith(".") or is_result_name(name)  # a lock, files that are being written


def _stamp_of(files: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Of several files, each with its name within the input: that of a folder typed in another way is the same."""
    total, digest = 0, hashlib.sha256()
    for name, path in sorted(files):
        try:
            found = os.stat(path)
            size, change = found.st_size, found.st_mtime_ns
        except OSError:  # a link that leads nowhere must not hide what becomes of the others
            size, change = 0, -1
        total += size
        digest.update(os.fsencode(name) + f"\0{size}\0{change}\0".encode())
    return total, int.from_bytes(digest.digest()[:8], "big")
