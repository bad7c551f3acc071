"""Folders and zip archives that hold one image which is not DICOM."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medattn_core.errors import VolumeError
from medattn_core.volumes import checks, memory, naming, sniff

_IMAGES = ("nifti", "nrrd", "metaimage", "png", "jpeg")
_LISTED = 5


def only_image(folder: Path, name: str) -> tuple[Path | None, str]:
    """The one non-DICOM image in a folder and its subfolders, and how messages name it.

    Returns:
        ``(file, name)``, or ``(None, "")`` where DICOM has to be looked for.

    Raises:
        VolumeError: ``several_images``, ``no_images`` (an empty folder), ``unreadable``.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError) and Path(error.filename or "") == folder:
            raise checks.unreadable(name, error) from error

    images: list[Path] = []
    others: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if _visible(f))
        for file in sorted(f for f in files if _visible(f)):
            (images if sniff.expected(file) in _IMAGES else others).append(Path(place, file))
    if not images and not others:
        raise VolumeError("no_images", f"{name}: the folder is empty; give a folder with a scan, or a file")
    if not images or any(_is_dicom(file) for file in others):
        return None, ""
    names = naming.inside(name, [image.relative_to(folder) for image in images])
    if len(images) > 1:
        raise _several(name, names)
    return images[0], names[0]


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_dicom(path: Path) -> bool:
    from medattn_core.volumes import dicom

    try:
        return sniff.content(sniff.head(path)) == "dicom" or dicom.looks_like_dicom(path)
    except (OSError, VolumeError):
        return False


def _several(name: str, found: Sequence[str], advice: str = "name the one to read") -> VolumeError:
    listed = ", ".join(found[:_LISTED]) + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
    return VolumeError("several_images", f"{name}: holds {len(found)} images ({listed}); {advice}")


@contextmanager
def opened_zip(path: Path, name: str) -> Iterator[tuple[Path | None, str]]:
    """The one non-DICOM image of a zip archive, unpacked for the time of the block, and how messages name it.

    Yields:
        ``(file, name)``, or ``(None, "")`` where the archive is for the DICOM reader.

    Raises:
        VolumeError: ``several_images``, ``no_images``, ``corrupt_file``, ``unsafe_archive``.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="medattn-") as folder:
            number, chosen = _chosen(archive, name)
            if chosen is None:
                yield None, ""
            else:
                yield _extract(archive, chosen, Path(folder), name), naming.entry(name, number)
    except zipfile.BadZipFile as error:
        raise checks.corrupt(name, "the zip archive is cut off or broken") from error
    except (zlib.error, EOFError, NotImplementedError) as error:
        raise checks.corrupt(name, f"the zip archive cannot be unpacked ({type(error).__name__})") from error


def _chosen(archive: zipfile.ZipFile, name: str) -> tuple[int, zipfile.ZipInfo | None]:
    """The one image and its place in the archive's list; ``(0, None)`` where DICOM has to be looked for."""
    for member in archive.infolist():
        if ".." in PurePosixPath(member.filename).parts or member.filename.startswith(("/", "\\")):
            raise VolumeError("unsafe_archive", f"{name}: an entry leads out of the archive; ask for a clean copy")
    members = [
        (number, m)
        for number, m in enumerate(archive.infolist(), start=1)
        if not m.is_dir() and all(_visible(part) for part in PurePosixPath(m.filename).parts)
    ]
    if not members:
        raise VolumeError("no_images", f"{name}: the zip archive is empty; give an archive with a scan")
    images = [(number, m) for number, m in members if sniff.expected(m.filename) in _IMAGES]
    others = [m for _, m in members if sniff.expected(m.filename) not in _IMAGES]
    if not images or any(_starts_as_dicom(archive, m) for m in others):
        return 0, None
    if len(images) > 1:
        raise _several(name, [f"entry {number}" for number, _ in images], "unpack it and name the one to read")
    return images[0]


def _starts_as_dicom(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    if member.flag_bits & 1:
        return False
    with archive.open(member) as file:
        return file.read(132)[128:] == b"DICM"


def _extract(archive: zipfile.ZipFile, chosen: zipfile.ZipInfo, folder: Path, name: str) -> Path:
    """Unpack the image, and for a detached header the files beside it, under their bare names."""
    beside = PurePosixPath(chosen.filename).parent
    detached = chosen.filename.lower().endswith((".nhdr", ".mhd"))
    wanted = [
        m for m in archive.infolist() if detached and not m.is_dir() and PurePosixPath(m.filename).parent == beside
    ]
    wanted = wanted or [chosen]
    total = sum(m.file_size for m in wanted)
    available = min(memory.available_bytes() or total, shutil.disk_usage(folder).free)
    if any(m.flag_bits & 1 for m in wanted):
        raise VolumeError("unsafe_archive", f"{name}: the zip archive is encrypted; unpack it with its password first")
    if total > available:
        raise VolumeError(
            "unsafe_archive",
            f"{name}: unpacks to {total / 1e9:.1f} GB, more than there is room for; unpack it yourself first",
        )
    for member in wanted:
        # The bare name only, so that no member can leave the folder; a zip cannot give more than its stated size.
        with archive.open(member) as packed, open(folder / PurePosixPath(member.filename).name, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    return folder / PurePosixPath(chosen.filename).name
