"""How messages name files that the user did not type: those inside a folder or an archive.

Exports from hospital archives lay a scan into folders such as ``DOE^JOHN/2024-01-01``. What the user typed is shown as
typed; of what lies below it only the file's own name, or a number, so that no such folder name reaches a message, a
table or a report.

A folder of many scans is expanded into its files, and then each input's path holds such folders: the tables and what
the command line says need it, for it is what tells one input from another. So tables are no files to pass on. Pages and
pictures are: they show the last part of a path alone (``outputs.files.without_folders``).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

_WORD = re.compile(r"[^\W\d_]{3,}")
"""Letters in a row. Shorter ones (``MR``, ``IM``, ``CT``) are in the names of nearly all files and folders."""


def entry(archive: str, number: int) -> str:
    """Name of an archive's entry: the archive and the place, from one, in its list (as ``unzip -l`` shows it)."""
    return f"{archive} (entry {number})"


def inside(folder: str, files: Sequence[PurePath]) -> list[str]:
    """Names of the files of a folder, each another.

    Args:
        folder: as the user typed it.
        files: paths below it, in the order in which they are counted.
    """
    repeated = Counter(file.name for file in files)
    return [_name(folder, file, number, repeated[file.name] > 1) for number, file in enumerate(files, start=1)]


def _name(folder: str, file: PurePath, number: int, repeated: bool) -> str:
    if not _harmless(file):
        return f"{folder}: file number {number}"
    if len(file.parts) == 1:
        return os.path.join(folder, file.name)
    return f"{folder}: file {file.name}" + (f" (number {number})" if repeated else "")


def _harmless(file: PurePath) -> bool:
    """Whether a file's own name shows no name of a person, as far as that can be seen.

    It does where it holds the sign between the parts of a DICOM name, or a word of the folders it lies in.
    """
    folders = {word.casefold() for part in file.parts[:-1] for word in _WORD.findall(part)}
    words = {word.casefold() for word in _WORD.findall(file.stem)}
    return "^" not in file.name and not folders & words
