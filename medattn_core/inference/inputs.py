"""What a person types becomes a list of inputs: files, wildcards, folders of images, folders of DICOM.

- A file is one input, whatever it holds: the reader says what is wrong with it.
- A folder with DICOM files (or a DICOMDIR) is one input, read recursively, of which the reader takes one series.
- Another folder is each image in it, and each of its folders by the same rules. Folders side by side whose DICOM
  belongs to one study are one input together: the series of one examination are not so many patients.
- In a folder with both, the DICOM files are one input if they outnumber the other images, else one each.
- Results of earlier runs are no inputs, unless a file is typed by its own name.

No file is read here beyond its header, and that only where it matters.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medattn_core.arguments import several
from medattn_core.errors import MedAttnError
from medattn_core.volumes import list_series, sniff
from medattn_core.volumes.dicom import looks_like_dicom
from medattn_core.volumes.headers import parse_metaimage, parse_nrrd

_SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")
_RESULTS = ("_evidence.nii.gz", "_overlay.png")
"""Ends of the names of result files that are images."""
RESULT_TABLES = ("predictions.jsonl", "predictions.json", "predictions.csv")
"""What lies beside results, of a batch or of a bundle's own workflow; one of them may have been taken away."""
_MOST_HEADER = 1 << 20
"""A file with more bytes is no header of NRRD or MetaImage alone: its voxels are in it."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Inputs in order, each once, and what of folders was left out.

    Attributes:
        inputs: scans.
        skipped: files that are no images, nor the voxels of one.
        results: what an earlier run wrote: its tables, and beside them images and pages.
    """

    inputs: tuple[Path, ...]
    skipped: tuple[Path, ...]
    results: tuple[Path, ...] = ()


@dataclass
class _Found:
    """``left`` is whether results were left out, those of the folder of results too, which are not named."""

    inputs: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)
    dicom_only: bool = True
    left: bool = False


def expand(arguments: str | Path | Sequence[str | Path], *, exclude: str | Path | None = None) -> Expansion:
    """Turn arguments into inputs by the rules above.

    What does not exist, or is an empty folder, stays an input, so that it ends as an error of its own; a folder that
    holds nothing but results does not.

    Args:
        arguments: files, folders, wildcards, or one of them.
        exclude: the folder of results: the evidence of the last run is no scan. Inside a folder of ``arguments`` it is
            left out; where it is that folder, or holds it, only its result files are. A file that is typed is taken.
    """
    found = _Found()
    for argument in several("arguments", arguments):
        if not str(argument):
            raise MedAttnError("bad_argument", "an INPUT is empty (an unset variable?); give a file or a folder")
        ours = _results_of(exclude, str(argument))
        for path in _wildcards(str(argument)):
            if path != Path(argument) and ours(path):
                continue
            if path != Path(argument) and _is_result(path):
                found.results.append(path)
            elif os.path.isdir(path):
                inside = _folder(path, ours)
                # One examination below the typed folder goes by the folder's name: the inner one may name a patient.
                alone = len(inside.inputs) == 1 and inside.dicom_only
                found.inputs += [path] if alone or not (inside.inputs or inside.left) else inside.inputs
                found.skipped += inside.skipped
                found.results += inside.results
            else:
                found.inputs.append(path)
    skipped = _without_voxels(found.skipped, found.inputs)
    return Expansion(inputs=_once(found.inputs), skipped=_once(skipped), results=_once(found.results))


def detached_data(path: Path) -> Path | None:
    """The file that holds the voxels of a NRRD or MetaImage header (.nhdr, .mhd); None where they are in ``path``.

    None, too, for another format and for a header that cannot be read or whose file is gone: the reader says so.
    """
    if sniff.expected(path.name) not in ("nrrd", "metaimage", ""):
        return None
    try:
        if not path.is_file() or path.stat().st_size > _MOST_HEADER:
            return None
        kind = sniff.content(sniff.head(path))
        parse = {"nrrd": parse_nrrd, "metaimage": parse_metaimage}.get(kind)
        data = path if parse is None else parse(path, path.name).file
    except (MedAttnError, OSError, ValueError):
        return None
    return None if data == path else data


def _without_voxels(skipped: Sequence[Path], inputs: Iterable[Path]) -> Sequence[Path]:
    """Files that are no part of an input."""
    if not skipped:
        return skipped
    voxels = {os.path.realpath(data) for data in map(detached_data, inputs) if data is not None}
    return [path for path in skipped if os.path.realpath(path) not in voxels]


def is_result_name(name: str) -> bool:
    """Whether files with results are named so: maps, pictures, pages and tables."""
    return name.endswith((*_RESULTS, "_report.html")) or name in (*RESULT_TABLES, "report.html")


def _is_result(path: Path) -> bool:
    """Whether an earlier run wrote this file: by its name and the tables beside it."""
    return is_result_name(path.name) and any(path.with_name(table).is_file() for table in RESULT_TABLES)


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
        result = path.name.endswith(_RESULTS) or _is_result(path)
        return (inside and real.is_relative_to(folder)) or (result and real.parent == folder)

    return ours


def _folder(folder: Path, ours: Callable[[Path], bool]) -> _Found:
    """Inputs of one folder, recursively, without results; none if it holds no image."""
    try:
        there = sorted(entry for entry in folder.iterdir() if not _hidden(entry))
    except OSError:
        return _Found(inputs=[folder])  # the reader says why
    entries: list[Path] = []
    results: list[Path] = []
    for entry in there:
        if not ours(entry):
            (results if _is_result(entry) else entries).append(entry)
    if any(entry.name.upper() == "DICOMDIR" for entry in entries):
        return _Found(inputs=[folder])
    kinds = {entry: _kind(entry) for entry in entries if not os.path.isdir(entry)}
    dicom = [entry for entry, kind in kinds.items() if kind == "dicom"]
    images = [entry for entry, kind in kinds.items() if kind == "image"]
    skipped = [entry for entry, kind in kinds.items() if kind == "other"]
    if dicom and (not images or len(dicom) > len(images)):  # read as one, with the DICOM of its folders
        for entry in entries:
            if os.path.isdir(entry) and not _loops(entry):
                more, older = _images(entry, ours)
                images, results = images + more, results + older
        skipped = skipped if images else []
        return _Found(inputs=[folder, *images], skipped=skipped, results=results, dicom_only=not images)

    left = len(entries) < len(there)
    found = _Found(sorted(dicom + images), skipped, results, dicom_only=not images, left=left)
    for inside in (_folder(entry, ours) for entry in entries if os.path.isdir(entry) and not _loops(entry)):
        found.inputs += inside.inputs
        found.skipped += inside.skipped
        found.results += inside.results
        found.dicom_only &= inside.dicom_only
        found.left |= inside.left
    if found.dicom_only and len(found.inputs) > 1 and _one_study(found.inputs):
        found.inputs = [folder]
    return found


def _images(folder: Path, ours: Callable[[Path], bool]) -> tuple[list[Path], list[Path]]:
    """What of a folder, at any depth, is an image but no DICOM; and the results of earlier runs among it."""
    found: list[Path] = []
    results: list[Path] = []
    for parent, folders, names in os.walk(folder):
        inside = [Path(parent, name) for name in folders]
        folders[:] = sorted(path.name for path in inside if not _hidden(path) and not ours(path))
        files = [
            path for path in (Path(parent, name) for name in sorted(names)) if not _hidden(path) and not ours(path)
        ]
        for path in files:
            if _is_result(path):
                results.append(path)
            elif _kind(path) == "image":
                found.append(path)
    return found, results


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
