"""Zip archives as a list of members that open like files, nothing written to disk.

No entry is ever extracted, so none can be written outside a folder; an archive that would try is refused all the same,
because it was made to harm. Limits against archives that unpack to an unreasonable size are the constants below.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medattn_core.errors import VolumeError
from medattn_core.volumes import checks

MAX_ENTRIES = 200_000
"""Most entries of an archive."""
MAX_UNPACKED_BYTES = 16 * 2**30
"""Most bytes all entries together may unpack to (16 GiB)."""
MAX_RATIO = 200
"""Largest ratio of unpacked to packed size, looked at above :data:`RATIO_FROM_BYTES`. Real series stay below 20."""
RATIO_FROM_BYTES = 64 * 2**20
"""Unpacked size (64 MiB) below which the ratio does not matter."""

_ENCRYPTED = 0x1
_UNIX_LINK = 0o120000


@dataclass(frozen=True)
class Member:
    """One file, on disk or in an archive.

    Attributes:
        name: how a message names it.
        folder: the folder it lies in, as text; groups files that state no series.
        size: bytes.
        open: opens it for reading; the reader can seek.
    """

    name: str
    folder: str
    size: int
    open: Callable[[], BinaryIO]


def is_zip(path: Path) -> bool:
    """Whether the file begins like a zip archive (also an empty one). False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def zip_members(path: Path) -> list[Member]:
    """The files of a zip archive, in order of their names.

    Raises:
        VolumeError: ``unsafe_archive`` (encrypted, an entry that leads out of the archive, too many entries, or an
            unreasonable unpacked size), ``corrupt_file`` (no readable directory), ``unreadable``.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise checks.corrupt(str(path), f"no readable zip archive ({error})") from error
    except OSError as error:
        raise checks.unreadable(str(path), error) from error
    entries = [info for info in archive.infolist() if not info.is_dir()]
    _check(path, entries)
    return [_member(path, archive, info) for info in sorted(entries, key=lambda info: info.filename)]


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise VolumeError("unsafe_archive", f"{path}: {len(entries)} entries; at most {MAX_ENTRIES} are read")
    for info in entries:
        if info.flag_bits & _ENCRYPTED:
            raise VolumeError(
                "unsafe_archive", f"{path}: the archive is encrypted; unpack it with its password and give the folder"
            )
        name = info.filename.replace("\\", "/")
        leads_out = name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":"
        if leads_out or (info.external_attr >> 16) & 0o170000 == _UNIX_LINK:
            raise VolumeError(
                "unsafe_archive", f"{path}: entry {info.filename!r} leads out of the archive; ask for a clean copy"
            )
    unpacked = sum(info.file_size for info in entries)
    packed = max(1, sum(info.compress_size for info in entries))
    # The directory's sizes bound what is read: zipfile never yields more of an entry than its directory states.
    if unpacked > MAX_UNPACKED_BYTES or (unpacked > RATIO_FROM_BYTES and unpacked / packed > MAX_RATIO):
        raise VolumeError(
            "unsafe_archive",
            f"{path}: would unpack to {unpacked / 2**20:.0f} MiB, {unpacked / packed:.0f} times its size; accepted are "
            f"{MAX_UNPACKED_BYTES / 2**30:.0f} GiB and {MAX_RATIO} times; unpack it yourself if you trust it",
        )


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    def open_entry() -> BinaryIO:
        return cast(BinaryIO, archive.open(info))

    name = f"{path}/{info.filename}"
    return Member(name=name, folder=name.rpartition("/")[0], size=info.file_size, open=open_entry)
