"""Which series to read: the one asked for, else the one with most slices of the task's modality."""

from __future__ import annotations

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes.dicom.scan import FoundSeries, Scan
from medattn_core.volumes.dicom.wording import LISTED
from medattn_core.volumes.volume import Series


def describe(series: Series) -> str:
    """UID, modality and slices of a series: nothing that was typed in by a person."""
    uid = series.series_instance_uid or "(no UID)"
    return f"{uid} ({series.modality or 'no modality'}, {series.slices} {'slice' if series.slices == 1 else 'slices'})"


def choose(scan: Scan, *, uid: str | None, modality: tuple[str, ...]) -> tuple[FoundSeries, list[Notice]]:
    """The series to read, and a notice naming the others.

    Args:
        scan: what was found.
        uid: SeriesInstanceUID asked for, or None.
        modality: accepted DICOM modalities; empty for any.

    Raises:
        VolumeError: ``no_such_series``, ``wrong_modality``.
    """
    if uid is not None:
        matches = [found for found in scan.series if found.identity.series_instance_uid == uid.strip()]
        if not matches:
            raise VolumeError(
                "no_such_series",
                f"{scan.path}: no series {uid}; available: {_several(scan.series)}; ask for one of these",
            )
        _check_modality(scan, matches, modality)
        return matches[0], _without_modality(scan, matches[0], modality)
    candidates = [found for found in scan.series if _fits(found, modality)]
    if not candidates:
        _check_modality(scan, scan.series, modality)
    # A series that states another modality than the task's is never taken; one that states none only after the others.
    chosen = sorted(candidates, key=lambda found: bool(modality) and not found.identity.modality)[0]
    notices = _without_modality(scan, chosen, modality)
    others = [found for found in scan.series if found is not chosen]
    if others:
        text = (
            f"{scan.path}: {len(scan.series)} series; read {describe(chosen.identity)}, the deepest volume; "
            f"others: {_several(others)}; ask for another by its UID (series=, --series)"
        )
        notices.insert(0, Notice("other_series", text))
    studies = {found.identity.study_instance_uid for found in scan.series}
    if len(studies) > 1:
        text = (
            f"{scan.path}: {len(studies)} studies, maybe of as many patients, and one was read; give each its own "
            "folder, or name the files one by one"
        )
        notices.insert(0, Notice("other_studies", text))
    return chosen, notices


def _fits(found: FoundSeries, modality: tuple[str, ...]) -> bool:
    stated = found.identity.modality
    return not modality or not stated or stated in modality


def _check_modality(scan: Scan, found: list[FoundSeries], modality: tuple[str, ...]) -> None:
    if all(_fits(one, modality) for one in found):
        return
    stated = sorted({one.identity.modality for one in found})
    raise VolumeError(
        "wrong_modality",
        f"{scan.path}: modality {', '.join(stated)}; this task takes {', '.join(modality)}; give such a series, or "
        "choose a model made for this modality",
    )


def _without_modality(scan: Scan, chosen: FoundSeries, modality: tuple[str, ...]) -> list[Notice]:
    if not modality or chosen.identity.modality:
        return []
    text = (
        f"{scan.path}: the series does not state its modality; this task takes {', '.join(modality)}: check it is that"
    )
    return [Notice("unknown_modality", text)]


def _several(found: list[FoundSeries]) -> str:
    more = len(found) - 2 * LISTED
    return ", ".join(describe(one.identity) for one in found[: 2 * LISTED]) + (f" and {more} more" if more > 0 else "")
