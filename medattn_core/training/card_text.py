"""What the model card says of the figures of a training: which cases they are of, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medattn_core.training.reliability import HeldOut, patients_of

EACH_ON_ITS_OWN = (
    "The scores are those of the single networks, each on the cases that it had not seen. Their mean was not measured: "
    "no case of the list is new to all of them."
)
"""What the card of a cross-validated ensemble says of its scores."""

NOT_MEASURED = "Not measured: no case was held out."

STATED = "As stated in the training settings; no case was held out."
"""Of figures that the part ``bundle`` of the settings brings."""


def evaluation_text(found: Sequence[HeldOut], where: str, calibration: Mapping[str, Any], *, stated: bool) -> str:
    """How the figures of the card were measured, in a paragraph.

    That a bundle which the training started from may have known the cases (``start``) is not here: the card has a
    section about it.

    Args:
        found: the held-out cases, one entry a network; none where no case was held out.
        where: what they are, in words without a file's name.
        calibration: record of the bundle, with its remarks.
        stated: whether there are figures that were not measured here.
    """
    if not found:
        return STATED if stated else NOT_MEASURED
    said = [f"On {where}: {_count(found)}."]
    if len(found) > 1:
        said.append(EACH_ON_ITS_OWN)
    said += [_sentence(text) for text in calibration.get("kept", ())]
    if "epoch" in calibration:
        said.append(f"The epoch{' is' if len(found) == 1 else 's are'} {calibration['epoch']}.")
    said += [f"Calibration: {calibration[name]}." for name in ("note", "of") if name in calibration]
    return " ".join(said)


def _count(found: Sequence[HeldOut]) -> str:
    """How many cases, of how many patients."""
    cases, patients = sum(len(one.outputs) for one in found), patients_of(found)
    text = f"{cases} case{'' if cases == 1 else 's'}"
    if patients is None:
        return f"{text} (the list names no patients)"
    return f"{text} of {patients} patient{'' if patients == 1 else 's'}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
