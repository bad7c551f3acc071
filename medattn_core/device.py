"""The device that a network runs on, by name: what is accepted, for the command line, the worker and Python alike."""

from __future__ import annotations

import re

from medattn_core.errors import MedAttnError

ACCEPTED = "auto, cpu, cuda, cuda:N"
"""Names of devices; N is the number of a card, from 0."""

_NAMES = re.compile(r"auto|cpu|cuda(:(0|[1-9]\d*))?")


def check_device_name(device: str) -> str:
    """The name, if it is one of :data:`ACCEPTED`; whether the device is there is not looked at. Needs no torch.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    if not _NAMES.fullmatch(device):
        raise MedAttnError(
            "bad_argument",
            f"device {device!r} is not known; accepted: {ACCEPTED} (auto takes a card where there is one, N is the "
            "number of a card, from 0)",
        )
    return device


def check_card(device: str, cards: int) -> None:
    """Whether a machine with so many cards has the one that ``cuda`` or ``cuda:N`` names.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    if not cards:
        raise MedAttnError("bad_argument", f"device {device!r}: this torch sees no CUDA card; accepted here: auto, cpu")
    if int(device.partition(":")[2] or 0) >= cards:
        there = "cuda:0 alone is" if cards == 1 else f"cuda:0 to cuda:{cards - 1} are"
        raise MedAttnError("bad_argument", f"device {device!r}: there is no such card, {there} there; name one of them")


def resolve_device(device: str, *, used: bool = True) -> str:
    """The torch device that a name of :data:`ACCEPTED` means here.

    Args:
        device: a name, or a torch device.
        used: whether this process is to compute on that very card: it is tried.

    Raises:
        MedAttnError: ``bad_argument``: the name is another, or the device is not there or cannot be used.
    """
    import torch

    device = str(device)
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if check_device_name(device) == "auto":
        return "cuda" if cards else "cpu"
    if device == "cpu":
        return device
    check_card(device, cards)
    if not used:
        return device
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MedAttnError(
            "bad_argument", f"device {device!r} cannot be used ({reason}); take another card, or cpu"
        ) from error
    return device
