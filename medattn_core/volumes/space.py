"""What the text headers of NRRD and MetaImage say of the world: its axes, its units, and what is wrong with them.

SimpleITK reads neither units of length nor spaces with an axis of time, and says of what it cannot use only that.
http://teem.sourceforge.net/nrrd/format.html#space
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks

Factors = tuple[float, float, float]

_UNITS = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "um": 1e-3,
    "µm": 1e-3,  # micro sign
    "μm": 1e-3,  # Greek letter
    "micron": 1e-3,
    "micrometer": 1e-3,
    "micrometre": 1e-3,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimetre": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "metre": 1000.0,
}
_NO_UNIT = {"", "?", "???"}
_NO_LENGTH = {"pixel", "voxel", "1", "arbitrary", "none", "unknown"}
"""What some write where a unit belongs: it says nothing of the scale, so what is not stated is assumed."""

# World axes as SimpleITK gives them, to LPS. It turns RAS and LAS itself, but not with an axis of time after them.
_ANATOMICAL: dict[str, Factors] = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (1.0, 1.0, 1.0),
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "right-anterior-superior-time": (-1.0, -1.0, 1.0),
    "left-anterior-superior-time": (1.0, -1.0, 1.0),
    "left-posterior-superior-time": (1.0, 1.0, 1.0),
}
_SHORT = {"".join(word[0] for word in name.split("-")): name for name in _ANATOMICAL}


def millimetres(units: Sequence[str], name: str, field: str) -> tuple[Factors, tuple[Notice, ...]]:
    """Millimetres in one unit along each world axis; a unit that is not stated is a millimetre.

    Where something is stated that is no unit of length (``pixel``), the notice ``unknown_spacing`` tells.

    Args:
        units: of the first axes; further ones are not of space.
        name: the file, for the message.
        field: of the header.

    Raises:
        VolumeError: ``unsupported_storage``, another unit.
    """
    factors = [1.0, 1.0, 1.0]
    notices: tuple[Notice, ...] = ()
    for axis, unit in enumerate(units[:3]):
        word = unit.strip().lower()
        word = word.removesuffix("s") if len(word) > 2 else word  # not of ms, which is a time
        if word in _NO_UNIT:
            continue
        if word in _NO_LENGTH:
            text = f"{name}: its header states lengths in {unit[:20]!r} ({field}), which is no unit of length"
            notices = notices or (Notice("unknown_spacing", f"{text}; millimetres are assumed"),)
            continue
        if word not in _UNITS:
            raise VolumeError(
                "unsupported_storage",
                f"{name}: its header states lengths in {unit[:20]!r} ({field}); accepted are mm, um, cm and m: save it "
                "in millimetres",
            )
        factors[axis] = _UNITS[word]
    return (factors[0], factors[1], factors[2]), notices


def of_nrrd(
    fields: Mapping[str, str], sizes: Sequence[int], first: int, name: str
) -> tuple[Factors, bool, tuple[Notice, ...]]:
    """From SimpleITK's world coordinates of a NRRD file to LPS millimetres.

    Args:
        fields: of the header, names in lower case.
        sizes: of all axes.
        first: which axis is the first of space.
        name: the file, for messages.

    Returns:
        Factors, whether the header places the image, notices (``unknown_spacing``).

    Raises:
        VolumeError: ``unsupported_storage`` (a unit; an image of fewer dimensions than its space), ``corrupt_file``,
            ``singular_affine`` (NaN or infinite numbers).
    """
    space = fields.get("space", "").lower()
    space = _SHORT.get(space, space)
    directions = fields.get("space directions")
    if directions is None:
        units = _quoted(fields.get("units", ""))[first:]
        scale, notices = millimetres(units, name, "units")
        return scale, False, notices
    _check_vectors(directions, fields.get("space origin", ""), _dimensions(space, fields), len(sizes), name)
    scale, notices = millimetres(_quoted(fields.get("space units", "")), name, "space units")
    turn = _ANATOMICAL.get(space, (1.0, 1.0, 1.0))
    return (scale[0] * turn[0], scale[1] * turn[1], scale[2] * turn[2]), space in _ANATOMICAL, notices


def steps_in_las(fields: Mapping[str, str]) -> np.ndarray | None:
    """What :func:`sides_of_las` needs of a header: L and A of the step along each axis of space.

    Args:
        fields: of the header, names in lower case.

    Returns:
        ``(2, axes)``; None where the space is another, or the steps are no numbers.
    """
    if fields.get("space", "").lower() not in ("las", "left-anterior-superior"):
        return None
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    try:
        return np.array([[float(part) for part in vector.split(",")[:2]] for vector in vectors]).reshape(-1, 2).T
    except ValueError:
        return None


def sides_of_las(lps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """World coordinates of a file in left-anterior-superior, on the right side whichever SimpleITK has read it.

    Before 2.5.6 it turned the first axis in place of the second, so that left was right; 3D Slicer brings its own.

    Args:
        lps: ``(4, 4)``, as SimpleITK gives it.
        steps: ``(2, axes)`` of :func:`steps_in_las`.
    """
    axes = min(3, steps.shape[1])
    along = float((lps[0, :axes] * steps[0, :axes] - lps[1, :axes] * steps[1, :axes]).sum())
    return lps * np.array([-1.0, -1.0, 1.0, 1.0])[:, np.newaxis] if along < 0 else lps


def _quoted(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text)


def _dimensions(space: str, fields: Mapping[str, str]) -> int:
    """Dimensions of the world; 0 where the header does not say."""
    if space:
        return 4 if space.endswith("-time") else 3
    stated = fields.get("space dimension", "")
    return int(stated) if stated.isdecimal() else 0


def _check_vectors(directions: str, origin: str, dimensions: int, axes: int, name: str) -> None:
    """Refuse what SimpleITK refuses, and say why."""
    vectors = [vector.split(",") for vector in re.findall(r"\(([^)]*)\)", directions)]
    for vector in (*vectors, *(found.split(",") for found in re.findall(r"\(([^)]*)\)", origin))):
        try:
            numbers = [float(part) for part in vector]
        except ValueError:
            continue  # no numbers at all: SimpleITK says that much
        if not all(map(math.isfinite, numbers)):
            raise checks.unusable_geometry(name, "it holds NaN or infinite numbers")
    lengths = {len(vector) for vector in vectors}
    if dimensions and lengths - {dimensions}:
        stated = " and ".join(map(str, sorted(lengths)))
        raise checks.corrupt(
            name, f"its space has {dimensions} dimensions, and its space directions are of {stated} numbers"
        )
    if axes < dimensions:
        raise VolumeError(
            "unsupported_storage",
            f"{name}: a {axes}D image in a space of {dimensions} dimensions; save it as a {dimensions}D image, whose "
            "last size may be 1",
        )
