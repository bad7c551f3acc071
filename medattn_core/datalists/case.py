"""Case: one entry of a data list, and the words that both formats share."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medattn_core.errors import DataListError

BOX_COLUMNS = ("box_x_px", "box_y_px", "box_width_px", "box_height_px")
COLUMNS = ("image", "label", "value", "mask", *BOX_COLUMNS, "fold", "patient")
SEPARATOR = "|"
NO_LABEL = "-"
NO_LABEL_WORDS = "none_of_the_labels"
"""What :data:`NO_LABEL` is called in the names of scores."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image and what is known of it.

    Attributes:
        image: file, or folder of a DICOM series; the first channel.
        channels: further channels, resampled to the grid of ``image``.
        label: the one label that is true, else None.
        labels: all labels that are true; ``()`` none of them is; None the truth is not stated.
        value: regression target.
        mask: file with the region that decides, on the grid of the image or resampled to it.
        box: 2D, ``(x, y, width, height)`` in pixels of the file, x along the columns, from its upper left corner.
        fold: number of the cross-validation part.
        patient: identifier that keeps the images of one person together. Never shown in a message.
    """

    image: Path
    channels: tuple[Path, ...] = ()
    label: str | None = None
    labels: tuple[str, ...] | None = None
    value: float | None = None
    mask: Path | None = None
    box: tuple[float, ...] | None = None
    fold: int | None = None
    patient: str | None = None

    def __post_init__(self) -> None:
        # One name or file is a list of one; as a sequence it would be its letters.
        if self.labels is not None:
            labels = (self.labels,) if isinstance(self.labels, str) else tuple(self.labels)
            object.__setattr__(self, "labels", labels)
        if isinstance(self.channels, (str, os.PathLike)):
            object.__setattr__(self, "channels", (Path(self.channels),))
        if self.label is not None and self.labels not in (None, (self.label,)):
            raise DataListError(
                "bad_argument",
                f"label {self.label!r} and labels {self.labels!r} differ; give one of them (to dataclasses.replace the "
                "other as None)",
            )
        # `label` and `labels` say one thing: whichever was given fills the other.
        if self.labels is None and self.label is not None:
            object.__setattr__(self, "labels", (self.label,))
        elif self.labels is not None and len(self.labels) == 1:
            object.__setattr__(self, "label", self.labels[0])

    @property
    def images(self) -> tuple[Path, ...]:
        """All channels."""
        return (self.image, *self.channels)


def label_names(cases: Iterable[Case]) -> tuple[str, ...]:
    """All labels that are true of some case, in alphabetical order."""
    return tuple(sorted({name for case in cases for name in case.labels or ()}))


def composed(text: str) -> str:
    """Text with each accented letter as one character: file systems of macOS write letter and accent as two."""
    return unicodedata.normalize("NFC", text)


def spelling_of(name: str) -> str:
    """What two spellings of one label, or of one patient, share.

    Letters in either case, accents as parts of them or by themselves, spaces of any kind and number, or the whole
    number (1, 1.0; not 1.1, 1.10). Zeros in front are no spelling: 007 is not 7.
    """
    whole = re.fullmatch(r"([+-]?\d+)\.0*", name)
    return whole[1] if whole else composed(" ".join(name.split()).casefold())


SPELLINGS = "small and capital letters, spaces, accents, or 1 and 1.0"
"""In what spellings may differ, for a person."""


def one_of_several(cases: Iterable[Case]) -> bool:
    """Whether each case shows exactly one of at least two labels: only then is one label to be told from the others.

    Else (a finding or none, several findings a case) each label is a question by itself: is it there or not?
    """
    cases = list(cases)
    return len(label_names(cases)) > 1 and all(len(case.labels or ()) == 1 for case in cases)


def bad(path: Path, message: str) -> DataListError:
    return DataListError("bad_datalist", f"{path}: {message}")
