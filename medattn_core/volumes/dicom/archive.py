"""Zip archives as a list of members that open like files, nothing written to disk.

No entry is ever extracted, so none can be written outside a folder; an archive that would try is refused all the same,
because it was made to harm. Limits against archives that unpack to an unreasonable size are the constants below.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medattn_core.errors import VolumeError
from medattn_core.volumes import checks, naming

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
        name: how a message names it: without folders that the user did not type.
        folder: the folder it lies in, as text; groups files that state no series. Never shown: it may name a patient.
        file_name: its own name; never shown either.
        size: bytes.
        open: opens it for reading; the reader can seek.
    """

    name: str
    folder: str = field(repr=False)
    file_name: str = field(repr=False)
    size: int
    open: Callable[[], BinaryIO] = field(repr=False)


def is_zip(path: Path) -> bool:
    """Whether the file begins like a zip archive (also an empty one). False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def zip_members(path: Path, name: str, keep: ExitStack) -> list[Member]:
    """The files of a zip archive, in order of their names.

    Args:
        path: the archive.
        name: how messages name it.
        keep: closes the archive; until then the members can be opened.

    Raises:
        VolumeError: ``unsafe_archive`` (encrypted, an entry that leads out of the archive, too many entries, or an
            unreasonable unpacked size), ``corrupt_file`` (no readable directory), ``unreadable``.
    """
    try:
        archive = keep.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise checks.corrupt(name, f"no readable zip archive ({type(error).__name__})") from error
    except OSError as error:
        raise checks.unreadable(name, error) from error
    entries = [(number, info) for number, info in enumerate(archive.infolist(), start=1) if not info.is_dir()]
    _check(name, entries)
    return [_member(path, name, archive, *one) for one in sorted(entries, key=lambda one: one[1].filename)]


def _check(name: str, entries: list[tuple[int, zipfile.ZipInfo]]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise VolumeError("unsafe_archive", f"{name}: {len(entries)} entries; at most {MAX_ENTRIES} are read")
    for number, info in entries:
        if info.flag_bits & _ENCRYPTED:
            raise VolumeError(
                "unsafe_archive", f"{name}: the archive is encrypted; unpack it with its password and give the folder"
            )
        inner = info.filename.replace("\\", "/")
        leads_out = inner.startswith("/") or ".." in PurePosixPath(inner).parts or inner[1:2] == ":"
        if leads_out or (info.external_attr >> 16) & 0o170000 == _UNIX_LINK:
            raise VolumeError(
                "unsafe_archive", f"{naming.entry(name, number)}: leads out of the archive; ask for a clean copy"
            )
    unpacked = sum(info.file_size for _, info in entries)
    packed = max(1, sum(info.compress_size for _, info in entries))
    # The directory's sizes bound what is read: zipfile never yields more of an entry than its directory states.
    if unpacked > MAX_UNPACKED_BYTES or (unpacked > RATIO_FROM_BYTES and unpacked / packed > MAX_RATIO):
        raise VolumeError(
            "unsafe_archive",
            f"{name}: would unpack to {unpacked / 2**20:.0f} MiB, {unpacked / packed:.0f} times its size; accepted are "
            f"{MAX_UNPACKED_BYTES / 2**30:.0f} GiB and {MAX_RATIO} times; unpack it yourself if you trust it",
        )


def _member(path: Path, name: str, archive: zipfile.ZipFile, number: int, info: zipfile.ZipInfo) -> Member:
    def open_entry() -> BinaryIO:
        return cast(BinaryIO, archive.open(info))

    folder, _, file_name = f"{path}/{info.filename}".rpartition("/")
    return Member(
        name=naming.entry(name, number), folder=folder, file_name=file_name, size=info.file_size, open=open_entry
    )
