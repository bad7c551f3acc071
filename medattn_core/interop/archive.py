"""Bundle archives from anywhere: zip and tar, unpacked without leaving the folder, links or surprises in size.

Limits: 2,000 entries, 4 GiB a file, 8 GiB together, and for compressed entries over 1 MiB a ratio of 200. Sizes are
counted while they are written, whatever the archive says of itself.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from medattn_core.bundles.bundle import METADATA
from medattn_core.bundles.load import locate
from medattn_core.errors import BundleError

MAX_ENTRIES = 2_000
MAX_FILE = 4 * 1024**3
MAX_TOTAL = 8 * 1024**3
MAX_RATIO = 200
RATIO_FROM = 1024**2
"""Bytes from which the ratio counts: a short text may well shrink a thousandfold."""


_Open = Callable[[int], IO[bytes]]


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    packed: int | None
    kind: str
    """``file``, ``folder``, or in words what is refused."""


@contextlib.contextmanager
def opened(source: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a bundle: a shipped name, a folder, or an archive that is unpacked for the time of the block.

    Raises:
        BundleError: ``unknown_bundle``, ``unsafe_archive``, ``bad_bundle``.
    """
    path = Path(source).expanduser()
    if not os.path.isfile(path):  # nor is a name that is too long, for which Path raises
        yield locate(source)
        return
    with tempfile.TemporaryDirectory(prefix="medattn-bundle-") as folder:
        yield unpack(path, Path(folder) / "bundle")


def unpack(archive: str | os.PathLike[str], into: str | os.PathLike[str]) -> Path:
    """Unpack a bundle.

    Args:
        archive: .zip, .tar, .tar.gz.
        into: folder to make; nothing is left of it if the archive is refused.

    Returns:
        The folder of the bundle: ``into``, or the one folder in it.

    Raises:
        BundleError: ``unsafe_archive``: the archive would write outside, holds links or devices, is encrypted or too
            large; ``bad_bundle``: it is damaged, no archive, or holds no bundle.
    """
    path, target = Path(archive), Path(into)
    if target.exists():
        raise BundleError("bad_argument", f"{target}: exists; give a folder that does not, to unpack {path.name} into")
    try:
        with _reader(path) as (entries, read):
            _check(entries, path)
            target.mkdir(parents=True)
            try:
                _write(entries, read, target, path)
                return _root(target, path)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise BundleError(
            "bad_bundle", f"{path}: the archive is damaged ({type(error).__name__}); copy or download it again"
        ) from error
    except OSError as error:
        raise BundleError("unreadable", f"{path}: cannot be unpacked ({error.strerror or error})") from error


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[tuple[list[_Entry], _Open]]:
    """Entries of an archive, and what opens each of them by its number."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            yield [_of_zip(info) for info in infos], lambda i: archive.open(infos[i])
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive_:
            members = []
            for member in archive_:
                members.append(member)
                if len(members) > MAX_ENTRIES or member.size > MAX_FILE:
                    break  # the list is refused as it is; a bomb must not be read to its end
            yield [_of_tar(member) for member in members], lambda i: _tar_file(archive_, members[i])
    else:
        raise BundleError("bad_bundle", f"{path}: is a file, but no zip or tar archive; give a folder or an archive")


def _tar_file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ExtractError(member.name)
    return file


def _of_zip(info: zipfile.ZipInfo) -> _Entry:
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if info.flag_bits & 1:
        kind = "an encrypted entry"
    elif mode and stat.S_ISLNK(mode):
        kind = "a symbolic link"
    elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a device or pipe"
    return _Entry(info.filename, info.file_size, info.compress_size, kind)


def _of_tar(member: tarfile.TarInfo) -> _Entry:
    kinds = ((member.isdir(), "folder"), (member.issym(), "a symbolic link"), (member.islnk(), "a hard link"),
             (member.isreg(), "file"))  # fmt: skip
    return _Entry(member.name, member.size, None, next((kind for fits, kind in kinds if fits), "a device or pipe"))


def _check(entries: list[_Entry], path: Path) -> None:
    if len(entries) > MAX_ENTRIES:
        _refuse(path, f"holds more than {MAX_ENTRIES} entries", "no bundle needs so many")
    seen: set[str] = set()
    for entry in entries:
        parts = PurePosixPath(entry.name).parts
        plain = re.fullmatch(r"[^\\:\0\x01-\x1f]+", entry.name) and ".." not in parts
        if not plain or entry.name.startswith("/"):
            _refuse(path, f"the entry {entry.name[:80]!r} leads out of the archive", "do not use it")
        if entry.kind not in ("file", "folder"):
            _refuse(path, f"{entry.name[:80]!r} is {entry.kind}", "plain files and folders are accepted")
        name = "/".join(parts).casefold()
        if entry.kind == "file" and name in seen:
            _refuse(path, f"{entry.name[:80]!r} is there twice", "which one is meant cannot be told")
        seen.add(name)
        if entry.size > MAX_FILE:
            _refuse(path, f"{entry.name[:80]!r} unpacks to {entry.size / 1e9:.1f} GB", f"{MAX_FILE >> 30} GiB a file")
        if entry.packed is not None and entry.size > RATIO_FROM and entry.size > MAX_RATIO * max(entry.packed, 1):
            _refuse(path, f"{entry.name[:80]!r} unpacks to {entry.size / max(entry.packed, 1):.0f} times its size",
                    f"{MAX_RATIO} times is the limit")  # fmt: skip
    total = sum(entry.size for entry in entries)
    if total > MAX_TOTAL:
        _refuse(path, f"unpacks to {total / 1e9:.1f} GB", f"{MAX_TOTAL >> 30} GiB is the limit")


def _write(entries: list[_Entry], read: _Open, target: Path, path: Path) -> None:
    total, packed = 0, path.stat().st_size
    for index, entry in enumerate(entries):
        place = target.joinpath(*PurePosixPath(entry.name).parts)
        if entry.kind == "folder":
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with read(index) as source, place.open("xb") as file:
            while chunk := source.read(1 << 20):
                total += len(chunk)
                if total > MAX_TOTAL or (total > RATIO_FROM and total > MAX_RATIO * packed):
                    _refuse(path, "unpacks to much more than its size", f"{MAX_RATIO} times is the limit")
                file.write(chunk)


def _root(folder: Path, path: Path) -> Path:
    # macOS packs a folder __MACOSX beside what a person chose, and hidden entries.
    seen = (entry for entry in folder.iterdir() if entry.name != "__MACOSX" and not entry.name.startswith("."))
    inside = [entry for entry in seen if entry.is_dir()]
    for candidate in (folder, *(inside if len(inside) == 1 else ())):
        if (candidate / METADATA).is_file():
            return candidate
    raise BundleError("bad_bundle", f"{path}: holds no {METADATA}, so it is no bundle")


def _refuse(path: Path, what: str, advice: str) -> NoReturn:
    raise BundleError("unsafe_archive", f"{path}: {what}; {advice}; nothing was unpacked")
