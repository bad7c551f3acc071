"""Inputs become jobs: each with its place in the table and the name of its files, whatever order they finish in."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medattn_core.arguments import path_of, several, shown
from medattn_core.batch.stamps import stamp
from medattn_core.datalists import COLUMNS, HELD_OUT_SECTION, TRAINING_SECTION, Case, load, sections
from medattn_core.datalists.load import bare_cases
from medattn_core.errors import DataListError, MedAttnError
from medattn_core.inference.inputs import Expansion, expand
from medattn_core.volumes import filenames

_TABLES = (".csv", ".tsv", ".json")
_TEXT = ".txt"
_SPLITS = (TRAINING_SECTION, HELD_OUT_SECTION, "test", "testing")
"""Lists of paths in the JSON files of the Decathlon and of MONAI."""

_UNREAD = {name: f"\0{number}" for number, name in enumerate(COLUMNS) if name != "image"}
"""Columns of the truth under names that no list has, so that they are left alone."""


@dataclass(frozen=True, slots=True)
class Job:
    """One scan to predict.

    Attributes:
        index: its row in the final table, from 0.
        path: as typed or found; the first channel.
        name: base name of its result files, unlike that of every other job.
        channels: further channels.
        mask: its region of interest.
        series: SeriesInstanceUID to take of it.
    """

    index: int
    path: Path
    name: str
    channels: tuple[Path, ...] = ()
    mask: Path | None = None
    series: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is read from."""
        return (self.path, *self.channels, *(() if self.mask is None else (self.mask,)))

    def stamp(self, output: Path | None = None) -> list[list[int]]:
        """Size and time of every file it is read from: whether it is still the input of the last run.

        Args:
            output: folder of the results, which may lie among the files of a DICOM folder.
        """
        return [list(stamp(path, output=output)) for path in self.files]


def pairs_of(inputs: Any) -> list[tuple[Path, tuple[Path, ...]]]:
    """Inputs as they may be given, as paths with their further channels.

    Args:
        inputs: a list of scans, or one. A scan is a path, or a pair of a path and its further channels, or one channel.

    Raises:
        MedAttnError: ``bad_argument``: none of these.
    """
    if isinstance(inputs, (str, os.PathLike)):
        inputs = (inputs,)
    if not isinstance(inputs, Iterable) or isinstance(inputs, (bytes, Mapping)):
        raise MedAttnError("bad_argument", f"inputs={shown(inputs)}; a list of scans is needed")
    pairs = []
    for one in inputs:
        path, channels = one if isinstance(one, (tuple, list)) and len(one) == 2 else (one, ())
        if not isinstance(path, (str, os.PathLike)):
            raise MedAttnError(
                "bad_argument",
                f"inputs: {shown(one)} is no path; each is a path, or a path and its further channels; what lies in "
                "memory alone is for Predictor",
            )
        further = tuple(path_of("channels", channel) for channel in several("channels", channels))
        pairs.append((path_of("inputs", path), further))
    return pairs


def jobs_of(
    inputs: Sequence[tuple[Path, tuple[Path, ...]]], *, mask: Path | None = None, series: str | None = None
) -> list[Job]:
    """Jobs in the order of the inputs (path, further channels), with mask and series of the one input.

    Names depend on the list alone; where a folder holds results already, its journal changes those that are taken.
    """
    names = filenames.UniqueNames()
    return [
        Job(index, path, names.take(filenames.name_of(str(path))), channels, mask, series)
        for index, (path, channels) in enumerate(inputs)
    ]


def inputs_of(
    arguments: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, exclude: Path | None = None
) -> tuple[list[tuple[Path, tuple[Path, ...]]], Expansion]:
    """What a person types, lists included, as inputs with their further channels.

    A file that ends in .txt is a list of paths, one a line; .csv, .tsv and .json are data lists, of which all sections
    are taken. Paths in them are relative to the list. Everything else is as in
    :func:`medattn_core.inference.inputs.expand`.

    Args:
        arguments: files, folders, wildcards, lists; or one of them.
        exclude: the folder of results.

    Returns:
        The inputs, each once, and what was found of files that are no images or results of earlier runs.

    Raises:
        MedAttnError: ``bad_datalist``, ``bad_argument``.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    skipped: list[Path] = []
    results: list[Path] = []
    for argument in map(os.fspath, several("arguments", arguments)):
        path, suffix = Path(argument), Path(argument).suffix.lower()
        if suffix in _TABLES and path.is_file():
            for case_path, channels in _cases(path):
                found.setdefault(case_path, channels)
            continue
        typed = _lines(path) if suffix == _TEXT and path.is_file() else [argument]
        expansion = expand(typed, exclude=exclude)
        skipped += expansion.skipped
        results += expansion.results
        for one in expansion.inputs:
            found.setdefault(one, ())
    inputs = expand_once(found)
    return inputs, Expansion(
        inputs=tuple(path for path, _ in inputs),
        skipped=tuple(dict.fromkeys(skipped)),
        results=tuple(dict.fromkeys(results)),
    )


def expand_once(found: dict[Path, tuple[Path, ...]]) -> list[tuple[Path, tuple[Path, ...]]]:
    """Each input once, also when it was typed in two ways."""
    first: dict[str, tuple[Path, tuple[Path, ...]]] = {}
    for path, channels in found.items():
        first.setdefault(os.path.abspath(path), (path, channels))
    return list(first.values())


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataListError(
            "bad_datalist", f"{path}: it is not UTF-8 text; save it as UTF-8, one path a line"
        ) from error
    except OSError as error:
        raise DataListError("bad_datalist", f"{path}: it cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise DataListError("bad_datalist", f"{path}: it holds zero bytes, no text; save it as UTF-8, one path a line")
    lines = [line.strip() for line in text.splitlines()]
    typed = [_beside(path, _unquoted(path, line)) for line in lines if line and not line.startswith("#")]
    if not typed:
        raise DataListError("bad_datalist", f"{path}: it lists no path; write one path a line")
    return typed


def _unquoted(path: Path, line: str) -> str:
    """A path in quotes, as file managers copy it, without them; unless its name has them."""
    quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if quoted and not os.path.lexists(path.parent / line) else line


def _beside(path: Path, line: str) -> str:
    """A line relative to its list. Only the line may be a wildcard: brackets in the names of the list's folders are
    letters."""
    place = str(path.parent / line)
    if not glob.has_magic(line) or os.path.lexists(place):
        return place
    wildcard = os.path.join(glob.escape(str(path.parent)), line)
    return wildcard if glob.glob(wildcard, recursive=True) else place  # a row of what is not there says what was typed


def _cases(path: Path) -> list[tuple[Path, tuple[Path, ...]]]:
    """Images and channels alone: a list of paths, or one whose truth is not ours to learn, can be predicted."""
    cases: list[Case] = []
    for section in sections(path):
        bare = bare_cases(path, section)
        if bare is None:
            cases += _bare_of_truth(path, section)
        elif section in _SPLITS or any(case.image.exists() for case in bare):  # else words, such as names of authors
            cases += bare
    # Without a section: CSV, a bare list, and an object that lists no case, of which this says so.
    return [(case.image, case.channels) for case in cases or _bare_of_truth(path, TRAINING_SECTION)]


def _bare_of_truth(path: Path, section: str) -> list[Case]:
    # A file that is not there is a row of the results, as everywhere else.
    return load(path, section=section, check_files=False, columns=_UNREAD)


def check_different(path: Path, channels: Sequence[Path]) -> None:
    """Channels of one case that are one image.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    counts = Counter(os.path.abspath(one) for one in (path, *channels))
    twice = [one for one in (path, *channels) if counts[os.path.abspath(one)] > 1]
    if twice:
        raise MedAttnError(
            "bad_argument", f"{twice[0]}: given as two channels of one case; give an image for each of them"
        )


def check_there(option: str, path: Path | None) -> None:
    """A mask or channel that is not there: the error of its scan would take the place of a finished result.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    if path is not None and not os.path.exists(path):
        raise MedAttnError("bad_argument", f"{option} {path}: there is no such file; see how its name is written")


def check_single(count: int, **given: object) -> None:
    """Options that belong to one image, when there are several.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    option = next((name for name, value in given.items() if value), None)
    if count > 1 and option is not None:
        raise MedAttnError("bad_argument", f"--{option} belongs to one image, but there are {count} inputs")
