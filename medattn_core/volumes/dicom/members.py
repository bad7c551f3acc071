"""Which files a path stands for: itself, a folder searched to its leaves, a zip archive, or what a DICOMDIR lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks, naming
from medattn_core.volumes.dicom.archive import Member, is_zip, zip_members
from medattn_core.volumes.dicom.pydicom_door import pydicom, quiet

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR (DICOM PS3.4, annex B; PS3.10)."""

_UID_CHARACTERS = {b"%d" % digit for digit in range(10)} | {b"."}


@dataclass
class Found:
    """Files that may hold slices.

    Attributes:
        members: the files, in order of their names.
        single: whether the user gave one file, so that whatever is wrong with it is an error and not a stray file.
        skipped: what could not be looked at, one text each.
        notices: what to tell about how the files were found.
    """

    members: list[Member]
    single: bool = False
    skipped: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def find(path: Path, keep: ExitStack) -> Found:
    """The files behind a path.

    Args:
        path: as typed.
        keep: closes the zip archives; until then their members can be opened.

    Raises:
        VolumeError: ``not_found``, ``unreadable``, ``empty_file``, ``not_an_image``, ``unsafe_archive``,
            ``corrupt_file``.
    """
    if path.is_dir():
        return _folder(path, keep)
    size = checks.check_file(path)
    if is_zip(path):
        return Found(zip_members(path, str(path), keep))
    if is_dicomdir(path):
        return _dicomdir(path, keep)
    return Found([_file(path, str(path), size)], single=True)


def is_dicomdir(path: Path) -> bool:
    """Whether the file is a DICOMDIR: by its SOP class, whatever its name."""
    try:
        with open(path, "rb") as file:
            # The file meta group comes first and names the class as text; a DICOMDIR's UID is in the first bytes.
            head = file.read(1024)
    except OSError:
        return False
    uid = MEDIA_STORAGE_DIRECTORY.encode()
    at = head.find(uid)
    return head[128:132] == b"DICM" and at > 0 and head[at + len(uid) : at + len(uid) + 1] not in _UID_CHARACTERS


def _file(path: Path, name: str, size: int) -> Member:
    def open_file() -> BinaryIO:
        return open(path, "rb")

    return Member(name=name, folder=str(path.parent), file_name=path.name, size=size, open=open_file)


def _folder(path: Path, keep: ExitStack) -> Found:
    found = Found([])
    files: list[Path] = []

    def refused(error: OSError) -> None:
        if Path(error.filename or "") == path:
            raise checks.unreadable(str(path), error) from error
        found.skipped.append(f"{path}: a folder inside it may not be read")

    for folder, subfolders, names in os.walk(path, onerror=refused):
        subfolders.sort()
        files += [Path(folder, name) for name in sorted(names)]
    for file, name in zip(files, _names(path, files), strict=True):
        try:
            size = file.stat().st_size
            if not file.is_file():
                continue  # pipes and sockets would block
            if file.suffix.lower() == ".zip" and is_zip(file):
                found.members += zip_members(file, name, keep)
            else:
                found.members.append(_file(file, name, size))
        except VolumeError as error:
            found.skipped.append(error.message)
        except OSError as error:
            found.skipped.append(f"{name} ({error.strerror})")
    return found


def _names(folder: Path, files: Sequence[Path]) -> list[str]:
    return naming.inside(str(folder), [file.relative_to(folder) for file in files])


def _dicomdir(path: Path, keep: ExitStack) -> Found:
    """Files a DICOMDIR lists. Where it lists none that is there, the folder it lies in is searched instead."""
    listed = _listed(path)
    files = [file for file in (_resolve(path.parent, parts) for parts in listed) if file is not None]
    if not files:
        found = _folder(path.parent, keep)
        text = f"{path}: none of the {len(listed)} files it lists is there; the folder it lies in was searched instead"
    else:
        there = sorted(set(files))
        names = _names(path.parent, there)
        found = Found([_file(file, name, file.stat().st_size) for file, name in zip(there, names, strict=True)])
        text = f"{path}: the images were found through this DICOMDIR"
        if len(files) < len(listed):
            text += f"; {len(listed) - len(files)} of the {len(listed)} files it lists are not there"
    found.notices.append(Notice("dicomdir", text))
    return found


def _listed(path: Path) -> list[list[str]]:
    module = pydicom()
    with quiet():
        try:
            records = module.dcmread(path, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence", [])
            values = [record.get("ReferencedFileID") for record in records]
        except Exception as error:  # pydicom raises nearly anything on damaged bytes
            raise VolumeError(
                "corrupt_file", f"{path}: the DICOMDIR is damaged; give the folder with the images instead"
            ) from error
    return [[value] if isinstance(value, str) else [str(part) for part in value] for value in values if value]


def _resolve(root: Path, parts: list[str]) -> Path | None:
    """A listed file below ``root``, in whatever case the disk holds its name; None where absent or leading out."""
    at = root
    for part in (piece for text in parts for piece in text.replace("\\", "/").split("/")):
        if part in ("", ".", ".."):
            return None
        direct = at / part
        if not direct.exists():
            # CD-ROM names are upper case; copies of them on disk are often lower case.
            matches = [child for child in at.iterdir() if child.name.lower() == part.lower()] if at.is_dir() else []
            if not matches:
                return None
            direct = matches[0]
        at = direct
    return at if at.is_file() else None
