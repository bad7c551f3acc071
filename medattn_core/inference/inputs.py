"""What a person types becomes a list of inputs: files, wildcards, folders of images, folders of DICOM.

- A file is one input, whatever it holds: the reader says what is wrong with it.
- A folder with DICOM files (or a DICOMDIR) is one input, read recursively, of which the reader takes one series.
- Another folder is each image in it, and each of its folders by the same rules. Folders side by side whose DICOM
  belongs to one study are one input together: the series of one examination are not so many patients.
- In a folder with both, the DICOM files are one input if they outnumber the other images, else one each.

No file is read here beyond its first bytes, except the identity of one DICOM file a folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medattn_core.errors import MedAttnError
from medattn_core.volumes import list_series, sniff
from medattn_core.volumes.dicom import looks_like_dicom

_SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")
_RESULTS = ("_evidence.nii.gz", "_overlay.png")
"""Ends of the names of result files that are images."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Inputs in order, each once, and the files of folders that were left out because they are no images."""

    inputs: tuple[Path, ...]
    skipped: tuple[Path, ...]


@dataclass
class _Found:
    inputs: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    dicom_only: bool = True


def expand(arguments: Sequence[str | Path], *, exclude: str | Path | None = None) -> Expansion:
    """Turn arguments into inputs by the rules above.

    What does not exist, or is an empty folder, stays an input, so that it ends as an error of its own.

    Args:
        arguments: files, folders, wildcards.
        exclude: the folder of results: the evidence of the last run is no scan. Inside a folder of ``arguments`` it is
            left out; where it is that folder, or holds it, only its result files are. A file that is typed is taken.
    """
    found = _Found()
    for argument in arguments:
        if not str(argument):
            raise MedAttnError("bad_argument", "an INPUT is empty (an unset variable?); give a file or a folder")
        ours = _results_of(exclude, str(argument))
        for path in _wildcards(str(argument)):
            if path != Path(argument) and ours(path):
                continue
            if os.path.isdir(path):
                inside = _folder(path, ours)
                # One examination below the typed folder goes by the folder's name: the inner one may name a patient.
                alone = len(inside.inputs) == 1 and inside.dicom_only
                found.inputs += [path] if alone else inside.inputs or [path]
                found.skipped += inside.skipped
            else:
                found.inputs.append(path)
    return Expansion(inputs=_once(found.inputs), skipped=_once(found.skipped))


def _once(paths: Iterable[Path]) -> tuple[Path, ...]:
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(os.path.abspath(path), path)
    return tuple(first.values())


def _wildcards(argument: str) -> list[Path]:
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [Path(argument)]
    return [Path(match) for match in sorted(glob.glob(argument, recursive=True))] or [Path(argument)]


def _results_of(output: str | Path | None, argument: str) -> Callable[[Path], bool]:
    """Whether a path that an argument leads to is a result of ours, or the folder of results."""
    if output is None:
        return lambda path: False
    folder = Path(os.path.realpath(output))  # unlike Path.resolve it does not raise on a circle of links
    parts = Path(argument).parts
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    start = Path(os.path.realpath(argument if os.path.lexists(argument) else Path(*parts[:fixed])))
    inside = folder != start and folder.is_relative_to(start)

    def ours(path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return (inside and real.is_relative_to(folder)) or (path.name.endswith(_RESULTS) and real.parent == folder)

    return ours


def _folder(folder: Path, ours: Callable[[Path], bool]) -> _Found:
    """Inputs of one folder, recursively, without results; none if it holds no image."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not _hidden(entry) and not ours(entry))
    except OSError:
        return _Found(inputs=[folder])  # the reader says why
    if any(entry.name.upper() == "DICOMDIR" for entry in entries):
        return _Found(inputs=[folder])
    kinds = {entry: _kind(entry) for entry in entries if not os.path.isdir(entry)}
    dicom = [entry for entry, kind in kinds.items() if kind == "dicom"]
    images = [entry for entry, kind in kinds.items() if kind == "image"]
    skipped = [entry for entry, kind in kinds.items() if kind == "other"]
    if dicom and (not images or len(dicom) > len(images)):  # read as one, with the DICOM of its folders
        for entry in entries:
            if os.path.isdir(entry) and not _loops(entry):
                images += _images(entry, ours)
        return _Found(inputs=[folder, *images], skipped=skipped if images else [], dicom_only=not images)

    found = _Found(inputs=sorted(dicom + images), skipped=skipped, dicom_only=not images)
    for inside in (_folder(entry, ours) for entry in entries if os.path.isdir(entry) and not _loops(entry)):
        found.inputs += inside.inputs
        found.skipped += inside.skipped
        found.dicom_only &= inside.dicom_only
    if found.dicom_only and len(found.inputs) > 1 and _one_study(found.inputs):
        found.inputs = [folder]
    return found


def _images(folder: Path, ours: Callable[[Path], bool]) -> list[Path]:
    """What of a folder, at any depth, is an image but no DICOM."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        inside = [Path(parent, name) for name in folders]
        folders[:] = sorted(path.name for path in inside if not _hidden(path) and not ours(path))
        files = [
            path for path in (Path(parent, name) for name in sorted(names)) if not _hidden(path) and not ours(path)
        ]
        found += [path for path in files if _kind(path) == "image"]
    return found


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def _loops(folder: Path) -> bool:
    """Whether this is a link to a folder that it lies in."""
    return folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder))


def _kind(path: Path) -> str:
    """``image``, ``dicom`` or ``other``, by name, else by the first bytes."""
    kind = sniff.expected(path.name)
    if not kind:
        if not os.path.isfile(path):  # a pipe would keep us waiting
            return "other"
        try:
            kind = sniff.content(sniff.head(path))
        except OSError:
            return "image"  # it may be one: the reader says why it cannot be read
    if kind == "dicom" or (not kind and looks_like_dicom(path)):
        return "dicom"
    return "image" if kind else "other"


def _one_study(folders: Sequence[Path]) -> bool:
    """Whether the DICOM of all folders names one and the same study; False where that cannot be told."""
    studies = set()
    for folder in folders:
        file = next(_dicom_files(folder), None)
        if file is None:
            return False
        try:
            series = list_series(file)
        except MedAttnError:
            return False
        studies |= {one.study_instance_uid for one in series} or {""}
        if "" in studies or len(studies) > 1:
            return False
    return True


def _dicom_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for parent, folders, names in os.walk(path):
        folders.sort()
        for file in (Path(parent, name) for name in sorted(names)):
            if not _hidden(file) and file.name.upper() != "DICOMDIR" and _kind(file) == "dicom":
                yield file
