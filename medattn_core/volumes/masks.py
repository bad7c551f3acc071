"""Which voxels of a mask are inside: one answer for data lists, for questions to a model, and for what is measured."""

from __future__ import annotations

import os

import numpy as np

from medattn_core.errors import VolumeError
from medattn_core.volumes.read import read
from medattn_core.volumes.volume import Volume

LOSSY = ("jpeg",)
"""Formats whose compression leaves faint noise around all that is drawn."""


def read_mask(path: str | os.PathLike[str]) -> Volume:
    """A mask from a file; it may be of one value.

    Raises:
        VolumeError: ``bad_mask``: more of it is NaN or infinite than :func:`read` replaces; else as :func:`read`.
    """
    try:
        return read(path, allow_constant=True)
    except VolumeError as error:
        if error.code != "non_finite_voxels":
            raise
        raise VolumeError("bad_mask", not_finite(str(path))) from error


def not_finite(name: str) -> str:
    """What to say of a mask with voxels that are no numbers."""
    return f"{name} holds NaN or infinite voxels; a mask has 0 outside and another number inside: replace them"


def marked(data: np.ndarray, kind: str = "") -> np.ndarray:
    """The voxels of a mask that are inside, boolean of the shape of ``data``: all above zero, fractions too.

    Of a lossy picture those above half of its largest value are. What is below zero is outside: some programs write
    the background as -1.

    Args:
        data: the voxels, plain numbers.
        kind: :attr:`Volume.format`, where it comes from a file.
    """
    if data.dtype == bool:
        return data  # NumPy would compare it as int64
    inside: np.ndarray = data > (data.max() / 2 if kind in LOSSY else 0)
    return inside
