"""Look at everything a data list names before hours are spent on it."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from medattn_core.datalists.case import Case, label_names, one_of_several
from medattn_core.datalists.consistency import shared_channels
from medattn_core.datalists.file_checks import Masks, Notices, failed
from medattn_core.datalists.findings import NONE, Checked, Fault
from medattn_core.datalists.learnable import nothing_to_learn, untaught
from medattn_core.datalists.load import bare_cases, check_section, load, other_names, sections
from medattn_core.datalists.location import is_flat
from medattn_core.datalists.patients import people_of, unnamed
from medattn_core.datalists.place_checks import Places, unread_box
from medattn_core.datalists.plausibility import slips
from medattn_core.datalists.splits import HELD_OUT_SECTION, TRAINING_SECTION, check_apart, shared
from medattn_core.errors import DataListError, MedAttnError, Notice
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import misplaced

FEW = 10
"""A label with fewer cases cannot be learnt, let alone measured."""

ALMOST_HELD_OUT = ("val", "valid", "validate", "dev", "holdout", "held_out")
"""Names in small letters of lists that somebody may think are held out."""


def check(
    path: str | Path, *, section: str = TRAINING_SECTION, progress: Callable[[int, int], None] | None = None
) -> Checked:
    """Read a data list and every image and mask it names.

    What makes the list itself unusable (missing files, unknown labels, a patient in two folds) is raised at once;
    images that cannot be read, and a truth of which training could learn nothing, are collected. Of another list than
    ``training``, which may be a test set, nothing has to be learnt. All lists of a JSON object are held side by side:
    images and patients that are in two of them are warned of.

    Args:
        path: data list.
        section: list within a JSON object.
        progress: called with (done, all).

    Raises:
        DataListError: see :func:`medattn_core.datalists.load`.
    """
    check_section(path, section)
    cases = load(path, section=section)
    found = Checked(
        cases=len(cases),
        patients=len(set(people_of(cases))),
        channels=len(cases[0].images),
        masks=sum(case.mask is not None for case in cases),
        boxes=sum(case.box is not None for case in cases),
    )
    train, held = cases, []
    lists = _lists(found, Path(path), section, cases)
    if HELD_OUT_SECTION in lists and section == TRAINING_SECTION:
        held = lists[HELD_OUT_SECTION]
        check_apart(Path(path), cases, held)
        found.held_out = len(held)
        cases = [*train, *held]
    unused = [name for name in sections(path) if name.casefold() in ALMOST_HELD_OUT]
    if section == TRAINING_SECTION and unused and HELD_OUT_SECTION not in lists:
        text = f"the list {unused[0]!r} is not used in training; one that is held out is named {HELD_OUT_SECTION!r}"
        found.warnings.append(Notice("unused_list", text))
    found.warnings += shared(lists)
    if HELD_OUT_SECTION in lists and section not in (TRAINING_SECTION, HELD_OUT_SECTION):
        _compare(found, Path(path), lists, section)
    channel = shared_channels(train)
    found.warnings += [channel] if channel is not None else []
    _count(found, train, cases)
    _count_patients(found, train, cases)
    both = sum(case.box is not None and case.mask is not None for case in cases)
    if both:
        what = "1 case has both a mask and a box" if both == 1 else f"{both} cases have both a mask and a box"
        found.warnings.append(Notice("mask_and_box", f"{what}: the mask is used"))
    placed = False
    masks, notices, places = Masks(), Notices(), Places()
    modalities: Counter[str] = Counter()
    dimensions: Counter[str] = Counter()
    quantities: dict[str, list[float]] = {}
    for index, case in enumerate(cases):
        if progress is not None:
            progress(index, len(cases))
        channels = [notices.read(found, file) for file in case.images]
        mask = notices.read(found, case.mask, mask=True) if case.mask is not None else None
        if mask is not None and channels[0] is not None and mask.shape != channels[0].shape:
            dimensions["with a mask on another grid"] += 1
        masks.add(case, mask, channels[0])
        placed |= places.add(found, case, channels[0], mask)
        _check_channels(found, case, channels)
        for volume in (v for v in channels if v is not None):
            flat = is_flat(volume)
            dimensions["2D" if flat else "3D"] += 1
            modalities[volume.modality or "not stated"] += 1
            for name, value in _measures(volume, flat).items():
                quantities.setdefault(name, []).append(value)
    if progress is not None:
        progress(len(cases), len(cases))
    found.warnings += notices.warnings() + masks.warnings() + places.warnings()
    _check_truth(found, Path(path), section, train, held, placed=placed)
    found.geometry = {
        name: (round(min(v), 4), round(statistics.median(v), 4), round(max(v), 4)) for name, v in quantities.items()
    }
    found.modalities, found.dimensions = dict(modalities), dict(dimensions)
    if dimensions["2D"] and dimensions["3D"]:
        text = "pictures and volumes in one list; the model will be one of the two"
        found.warnings.append(Notice("mixed_dimensions", text))
    return found


def _lists(found: Checked, path: Path, section: str, cases: list[Case]) -> dict[str, list[Case]]:
    """All lists of a JSON object, the one that is checked first; one that is not needed for that may be unusable."""
    lists = {section: cases}
    for name in sections(path):
        if name == HELD_OUT_SECTION and section == TRAINING_SECTION:
            lists[name] = load(path, section=name)
        elif name not in lists:
            try:
                bare = bare_cases(path, name)
                others = load(path, section=name, check_files=False) if bare is None else bare
                lists |= {name: others} if others else {}
            except DataListError as error:
                text = f"what {name!r} shares with other lists is not known: {error.message}"
                found.warnings.append(Notice("unread_list", text))
    return lists


def _compare(found: Checked, path: Path, lists: dict[str, list[Case]], section: str) -> None:
    """What would keep ``validation`` from being held out of another list, if that is one to train on."""
    pair = {name: lists[name] for name in (section, HELD_OUT_SECTION)}
    if any(notice.code == "shared_cases" for notice in shared(pair)):
        return  # warned of already
    try:
        check_apart(path, *pair.values(), section=section)
    except DataListError as error:
        found.warnings.append(Notice("lists_differ", error.message))


def _count(found: Checked, cases: list[Case], together: list[Case]) -> None:
    for case in cases:
        for label in case.labels if case.labels else (NONE,) if case.labels is not None else ():
            counts = found.classes.setdefault(label, {})
            counts[case.fold] = counts.get(case.fold, 0) + 1
    found.classes = {
        label: dict(sorted(counts.items(), key=lambda pair: -1 if pair[0] is None else pair[0]))
        for label, counts in sorted(found.classes.items())
    }
    if found.classes:
        found.kind = "multiclass" if one_of_several(together) else "multilabel"
    values = [case.value for case in cases if case.value is not None]
    if values:
        found.kind = "regression"
        found.values = (min(values), statistics.fmean(values), max(values))
    names = set(found.classes)
    for label in sorted(names):
        parts = [part.strip() for part in re.split("[;,/+]", label)]
        if len(parts) > 1 and names & set(parts):
            text = (
                f"{label!r} is a label of its own; several labels of a case are joined by '|' in CSV, and are a list "
                "in JSON"
            )
            found.warnings.append(Notice("joined_labels", text))
    few = [f"{label} ({sum(counts.values())})" for label, counts in found.classes.items() if sum(counts.values()) < FEW]
    if few:
        found.warnings.append(Notice("few_cases", f"fewer than {FEW} cases: {', '.join(few)}"))


def _count_patients(found: Checked, cases: list[Case], together: list[Case]) -> None:
    """Whose the images are, and what else the list alone tells."""
    without = unnamed(cases)
    found.warnings += [Notice("no_patient", without)] if without is not None else []
    found.warnings += slips(together)


def _check_truth(
    found: Checked, path: Path, section: str, train: list[Case], held: list[Case], *, placed: bool
) -> None:
    """Whether training would refuse the truth."""
    same = found.values is not None and found.values[0] == found.values[2]
    if section != TRAINING_SECTION and (same or len(found.classes) == 1):
        what = "value" if same else "label, or its absence"
        text = f"every case of {section!r} has the same {what}: little can be measured on it"
        found.warnings.append(Notice("one_answer", text))
    if section != TRAINING_SECTION:
        if not found.kind:
            text = "no label and no value: the list can be predicted, not measured on"
            found.warnings.append(Notice("no_truth", text))
        return
    others = other_names(path, section)
    box = unread_box([*train, *held], others)
    found.warnings += [box] if box is not None else []
    why = nothing_to_learn([*train, *held], others) or untaught(train, held, placed=placed, section=section)
    if why is not None and not found.kind:
        why += "; `medattn predict` takes the list as it is"
    if why is not None:
        found.errors.append(Fault("bad_datalist", f"{path}: {why}", str(path)))
    elif same:
        text = f"every case of {section!r} has the same value: little can be learnt"
        found.warnings.append(Notice("constant_value", text))
    elif len(found.classes) == 1:
        text = (
            f"every case has the label {label_names(train)[0]!r}: what it is not is learnt from outside the masks and "
            "boxes alone"
        )
        found.warnings.append(Notice("one_label", text))


def _check_channels(found: Checked, case: Case, channels: Sequence[Volume | None]) -> None:
    """Whether the further channels lie on the first."""
    first = channels[0]
    for number, (file, channel) in enumerate(zip(case.images, channels, strict=True), start=1):
        if first is None or channel is None or channel is first:
            continue
        try:
            notice = misplaced(channel, first, f"channel {number}")
        except MedAttnError as error:
            failed(found, file, error)
            continue
        if notice is not None:
            found.warnings.append(Notice(notice.code, f"{file}: {notice.message}"))


def _measures(volume: Volume, flat: bool) -> dict[str, float]:
    """Lengths along the axes of a volume, sorted, as axis order differs; names end in the unit."""
    shape = sorted(n for n in volume.shape if not (flat and n == 1))
    found = {"shortest side_voxels": float(shape[0]), "longest side_voxels": float(shape[-1])}
    if volume.spacing_known:
        spacing = [float(s) for n, s in zip(volume.shape, volume.spacing, strict=True) if not (flat and n == 1)]
        found |= {"finest spacing_mm": min(spacing), "coarsest spacing_mm": max(spacing)}
    return found
