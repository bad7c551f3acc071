"""What the files of a list tell as they are read: their errors, their warnings, and masks that mark nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medattn_core.datalists.case import Case, label_names
from medattn_core.datalists.findings import Checked, Fault
from medattn_core.datalists.mask_doubts import mask_doubts
from medattn_core.errors import MedAttnError, Notice
from medattn_core.volumes import Volume, read
from medattn_core.volumes.masks import marked, read_mask

DOUBTS = (
    "other_studies",
    "other_series",
    "inconsistent_slices",
    "missing_slices",
    "irregular_gaps",
    "duplicate_positions",
    "non_finite_replaced",
    "no_geometry",
    "sform_qform_differ",
)
"""Warnings of the reader after which the scan may be another than the one that the label is about, or lie elsewhere."""

ONE_FOLDER = "a label is of one: in a list, name a folder that holds it alone"
"""What to do about several series: a list has no place for the UID that the message of the reader speaks of."""


def doubts(volume: Volume) -> list[Notice]:
    """Those of the reader's warnings that are of :data:`DOUBTS`."""
    # A picture has no place in space to be missing.
    picture = volume.spatial_dims == 2
    return [one for one in volume.warnings if one.code in DOUBTS and not (one.code == "no_geometry" and picture)]


def doubt_notice(code: str, count: str, file: Path, message: str) -> Notice:
    """What is said once of all files with a warning: how many, the first of them and what is said of it."""
    for name in (str(file), file.name):  # a message begins with the file, by its path or its name
        message = message.removeprefix(f"{name}: ")
    what_to_do = f"; {ONE_FOLDER}" if code == "other_series" else ""
    return Notice(code, f"{count}, the first {file}: {message}{what_to_do}")


@dataclass
class Notices:
    """Warnings of the reader over a whole list: of each code the files, one line."""

    images: dict[str, dict[Path, str]] = field(default_factory=dict)
    masks: dict[str, dict[Path, str]] = field(default_factory=dict)

    def read(self, found: Checked, file: Path, *, mask: bool = False) -> Volume | None:
        """The image or mask; None, and an error of the list, where it cannot be read."""
        try:
            volume = read_mask(file) if mask else read(file)
        except MedAttnError as error:
            failed(found, file, error)
            return None
        for notice in doubts(volume):
            told = (self.masks if mask else self.images).setdefault(notice.code, {})
            told.setdefault(file, notice.message)
        return volume

    def warnings(self) -> list[Notice]:
        """One line a code, in the order of :data:`DOUBTS`."""
        found = []
        for code in DOUBTS:
            images, masks = self.images.get(code, {}), self.masks.get(code, {})
            counts = [
                f"{len(files)} {word}{'' if len(files) == 1 else 's'}"
                for files, word in ((images, "image"), (masks, "mask"))
                if files
            ]
            if counts:
                found.append(doubt_notice(code, " and ".join(counts), *next(iter((images or masks).items()))))
        return found


def failed(found: Checked, file: Path, error: MedAttnError) -> None:
    """Add the error of a file to what was found."""
    found.errors.append(Fault(error.code, error.message, str(file)))


def holds(mask: Volume) -> bool:
    """Whether a mask marks anything."""
    return bool(marked(mask.data, mask.format).any())


@dataclass
class Masks:
    """What only all masks together tell: an empty one of a label that none draws (`normal`) is no slip."""

    drawn: set[str] = field(default_factory=set)
    empty: list[Case] = field(default_factory=list)
    doubts: dict[tuple[str, str], list[tuple[Path, str]]] = field(default_factory=dict)

    def add(self, case: Case, mask: Volume | None, image: Volume | None = None) -> None:
        """Take the mask of a case into account."""
        if mask is None or case.mask is None:
            return
        if holds(mask):
            self.drawn.update(case.labels or ())
            for doubt in mask_doubts(case, image, mask):
                self.doubts.setdefault((doubt.notice.code, doubt.kind), []).append((case.mask, doubt.notice.message))
        elif case.labels != ():  # where no label is true there is nothing to draw
            self.empty.append(case)

    def warnings(self) -> list[Notice]:
        """One line a kind of doubt; one for each empty mask whose finding others draw, and one for all others."""
        found = []
        for (code, _), told in self.doubts.items():
            files = len({file for file, _ in told})
            count = f"{files} mask{'' if files == 1 else 's'}{f' of {len(told)} cases' if files < len(told) else ''}"
            found.append(doubt_notice(code, count, *told[0]))
        found += [
            Notice(
                "empty_mask",
                f"{case.mask}: the mask is empty, so training will not use it; draw the finding, or leave the mask out",
            )
            for case in self.empty
            if self.drawn.intersection(case.labels or ())
        ]
        others = [case for case in self.empty if not self.drawn.intersection(case.labels or ())]
        if others:
            names = ", ".join(label_names(others))
            whose = f" of cases whose label no mask of the list draws ({names})" if names else ""
            what = "1 mask is" if len(others) == 1 else f"{len(others)} masks are"
            text = f"{what} empty,{whose} such as {others[0].mask}: training will not use them"
            found.append(Notice("empty_mask", text))
        return found
