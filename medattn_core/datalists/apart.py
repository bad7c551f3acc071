"""The list that is held out of a training, beside the one that trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medattn_core.datalists.case import Case, label_names
from medattn_core.errors import DataListError

HELD_OUT_SECTION = "validation"
"""List of a JSON object that is held out where no fold is named."""


def check_apart(path: Path, cases: Sequence[Case], held: Sequence[Case]) -> None:
    """Nothing that is held out may be trained on, and its cases are of the same kind.

    Raises:
        DataListError: ``bad_datalist``: a shared image or patient, other channels, no truth, a label spelt otherwise.
    """
    if {case.image.resolve() for case in cases} & {case.image.resolve() for case in held}:
        raise DataListError("bad_datalist", f"{path}: an image is in 'training' and in {HELD_OUT_SECTION!r}; drop one")
    if {case.patient for case in cases} & {case.patient for case in held} - {None}:
        raise DataListError(
            "bad_datalist", f"{path}: a patient is in 'training' and in {HELD_OUT_SECTION!r}; put all images in one"
        )
    if len(cases[0].images) != len(held[0].images):
        raise DataListError("bad_datalist", f"{path}: {HELD_OUT_SECTION!r} has other channels than 'training'")
    labelled, valued = (any(getattr(case, what) is not None for case in cases) for what in ("labels", "value"))
    for case in held:
        if (labelled and case.labels is None) or (valued and case.value is None):
            what = "label" if labelled else "value"
            raise DataListError(
                "bad_datalist", f"{path}: {case.image} in {HELD_OUT_SECTION!r} has no {what}; name it, or leave it out"
            )
    # Labels of both are those of one task: `Yes` and `yes` would be two of them.
    spellings = {name.casefold(): name for name in label_names(cases)}
    for name in label_names(held):
        spelling = spellings.get(name.casefold(), name)
        if spelling != name:
            raise DataListError(
                "bad_datalist",
                f"{path}: label {name!r} in {HELD_OUT_SECTION!r}, but {spelling!r} in 'training'; write one of them",
            )
