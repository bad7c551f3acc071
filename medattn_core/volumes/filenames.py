"""Names of files and titles that are made of an input's path."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_SUFFIXES = (
    *(".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".ima", ".zip"),
)
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
NAME_SIGN = "^"
"""Between the parts of a person's name in DICOM."""

_LONGEST = 120  # bytes; leaves room for suffixes within the 255 of common file systems


def title_of(source: str) -> str:
    """Last part of a path as typed: ``scans/brain1.nrrd`` -> ``brain1.nrrd``; ``.`` -> the name of the folder.

    What holds the sign between the parts of a DICOM name is ``image`` (``DOE^JOHN``, ``image.nii.gz``): titles and file
    names are passed on, and a folder of slices that an archive named after its patient is such a last part.
    """
    name = last_part(source)
    if NAME_SIGN not in name:
        return name
    return "image" + next((name[-len(suffix) :] for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")


def last_part(source: str) -> str:
    """Last part of a path as typed, whatever it holds."""
    parts = [part for part in re.split(r"[/\\]" if os.name == "nt" else "/", source) if part]
    if not parts or parts[-1] in (".", ".."):
        return Path(source).resolve().name if parts or source else "image"
    return parts[-1]


def name_of(source: str) -> str:
    """Base name of the result files of an input.

    The input's own name as typed (a DICOM folder gives the folder's name, never anything from a header), without
    image suffixes, with characters replaced that some file system refuses.
    """
    name = title_of(source)
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    return clean_name(name)


def clean_name(name: str) -> str:
    """A name every common file system takes: letters, digits, ``.``, ``-`` and ``_``; at most 120 bytes."""
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"[^\w.\-]+", "_", name).strip("._-")
    while len(name.encode("utf-8")) > _LONGEST:
        name = name[:-1]
    name = name.strip("._-") or "image"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name


class UniqueNames:
    """Gives each name once; later askers get ``name_2``, ``name_3``. Case does not distinguish (macOS, Windows).

    Args:
        own: names that will be asked for, where they are known: no number makes one of them. Beside ``scan``, ``scan``
            and ``scan_2`` the second is ``scan_3``.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._own = {_folded(name) for name in own}
        self._taken: dict[str, int] = {}  # name -> the last number it was given with

    def __contains__(self, name: str) -> bool:
        """Whether a name was given."""
        return _folded(name) in self._taken

    def take(self, name: str) -> str:
        """``name``, or the first free numbered variant of it."""
        candidate, key = name, _folded(name)
        count = self._taken.get(key, 1)  # numbers up to it are taken: ten thousand scan.nii are not searched each time
        while _folded(candidate) in self._taken or (candidate != name and _folded(candidate) in self._own):
            count += 1
            candidate = f"{name}_{count}"
        self._taken[_folded(candidate)] = 1
        self._taken[key] = count
        return candidate


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
