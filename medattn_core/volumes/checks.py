"""The checks every format shares. Each failure has its own code and says what to do."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import geometry, memory

DEFLATE_MAX_RATIO = 1032
"""No deflate stream (gzip, zlib, PNG) unpacks to more than 1032 times its size (zlib technical details)."""

SHEAR_LIMIT_DEGREES = 0.5
NON_FINITE_LIMIT = 1e-3
GREY_TOLERANCE = 2
"""Largest difference between channels of a grey picture, in 8-bit levels (JPEG rounds its colours)."""

_LARGE = 256 * 2**20  # below this a short file is simply cut off; above it the header itself is in doubt
_CHUNK = 1 << 20
_MOST = float(np.finfo(np.float32).max)


def check_file(path: Path, name: str = "") -> int:
    """Size in bytes of a regular, readable, non-empty file.

    Raises:
        VolumeError: ``not_found``, ``unreadable``, ``not_an_image`` (a device or pipe), ``empty_file``.
    """
    name = name or str(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise VolumeError(
                "not_an_image", f"{name}: not a regular file; give an image file, a folder or a zip archive"
            )
        with open(path, "rb"):
            pass
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VolumeError("not_found", f"{name}: no such file or folder; check the spelling and the drive") from error
    except OSError as error:
        raise unreadable(name, error) from error
    except ValueError as error:  # an embedded null character
        raise VolumeError("not_found", f"{name!r}: not a possible file name") from error
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # bytes, no text: ITK ends the process
        shown = name.encode("utf-8", "replace").decode()
        raise VolumeError("unreadable", f"{shown}: the name of the file or of a folder is not UTF-8; rename it")
    if status.st_size == 0:
        raise VolumeError("empty_file", f"{name}: the file is empty (0 bytes); copy or export it again")
    return int(status.st_size)


def unreadable(name: str, error: OSError) -> VolumeError:
    """The error for a file or folder the operating system refuses to open."""
    if isinstance(error, PermissionError):
        return VolumeError("unreadable", f"{name}: no permission to read it; ask its owner for access or copy it")
    reason = error.strerror or type(error).__name__
    return VolumeError("unreadable", f"{name}: the system cannot read it ({reason}); check the disk or network drive")


def truncated(name: str, present: int, promised: int) -> VolumeError:
    """The error for a file that ends before its voxels do (sizes in bytes)."""
    return VolumeError(
        "truncated_file",
        f"{name}: the file is cut off, {present:,} of {promised:,} voxel bytes are there; copy or download it again",
    )


def corrupt(name: str, what: str) -> VolumeError:
    """The error for a file whose content contradicts itself."""
    return VolumeError("corrupt_file", f"{name}: the file is damaged: {what}; copy or export it again")


def several_volumes(dims: Sequence[int], count: int, name: str) -> VolumeError:
    """The error for an image of several volumes; ``dims`` are its dimensions."""
    text = " x ".join(str(n) for n in dims)
    return VolumeError(
        "too_many_dimensions",
        f"{name}: {len(dims)}-dimensional image ({text}), that is {count} volumes (time points, "
        "echoes or directions); one 3D volume is needed: save the one you want as its own file",
    )


def unusable_geometry(name: str, why: str) -> VolumeError:
    """The error for a header whose geometry is no place in space."""
    return VolumeError(
        "singular_affine",
        f"{name}: the geometry in the header cannot be used ({why}); export the scan again with its geometry",
    )


def check_promise(
    name: str, shape: Sequence[int], promised: int, stored: int, *, ratio: int = 1, extra: int = 0
) -> None:
    """Refuse a header that promises more than the file or the memory can hold, before anything is allocated.

    Args:
        name: the file, for the message.
        shape: dimensions the header states.
        promised: bytes of voxels the header states.
        stored: bytes the file holds for them.
        ratio: most bytes one stored byte can become (compression).
        extra: bytes needed beside the stored voxels (a converted copy).

    Raises:
        VolumeError: ``oversized_header`` or ``truncated_file``.
    """
    size = " x ".join(str(n) for n in shape)
    if promised > stored * ratio:
        if promised >= _LARGE and (ratio > 1 or promised > 16 * stored):
            raise VolumeError(
                "oversized_header",
                f"{name}: the header promises {size} voxels ({_gigabytes(promised)}), the file holds {stored:,} bytes "
                "of them; it is damaged or was cut off early, copy or export it again",
            )
        raise truncated(name, stored, promised)
    available = memory.available_bytes()
    if available is not None and promised + extra > available:
        raise VolumeError(
            "oversized_header",
            f"{name}: {size} voxels need {_gigabytes(promised + extra)} of memory, {_gigabytes(available)} are free; "
            "crop or downsample the image, or use a machine with more memory",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def check_shape(shape: Sequence[int], name: str) -> tuple[tuple[int, int, int], int, tuple[Notice, ...]]:
    """Three dimensions from those the header states.

    Trailing dimensions of length one are dropped; a 2D image gets K = 1.

    Returns:
        ``(I, J, K)``, spatial dimensions (2 or 3), notices (``singleton_dimensions``, ``one_slice``).

    Raises:
        VolumeError: ``too_many_dimensions`` or ``corrupt_file``.
    """
    dims = [int(n) for n in shape]
    if len(dims) < 2 or min(dims) < 1:
        raise corrupt(name, f"its header states the size {' x '.join(str(n) for n in dims) or 'nothing'}")
    notices: list[Notice] = []
    text = " x ".join(str(n) for n in dims)
    spatial = 2 if len(dims) == 2 else 3
    if len(dims) > 3:
        if any(n > 1 for n in dims[3:]):
            raise several_volumes(dims, math.prod(dims[3:]), name)
        notices.append(
            Notice("singleton_dimensions", f"{name}: read as 3D; dimensions of length one dropped from {text}")
        )
    i, j, k = [*dims, 1][:3]
    if spatial == 3 and min(i, j, k) == 1:
        notices.append(
            Notice("one_slice", f"{name}: a single slice ({i} x {j} x {k}); nothing is known above or below it")
        )
    return (i, j, k), spatial, tuple(notices)


def grey_from_channels(channels: np.ndarray, name: str, *, alpha: bool = True) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The grey image stored in ``(..., C)`` channels: grey, grey + alpha, RGB or RGBA of equal colours.

    Args:
        channels: the voxels.
        name: the file, for messages.
        alpha: whether the last of two or four is known to be a transparency, and no measurement. Where it is not, it
            is taken for one if it is opaque: everywhere the largest value of unsigned integers.

    Raises:
        VolumeError: ``colour_image`` where colours differ or transparency varies; ``too_many_dimensions`` where C is no
            picture's.
    """
    count = channels.shape[-1]
    if count == 1:
        return channels[..., 0], ()
    if count not in (2, 3, 4) or (count != 3 and not alpha and not _is_opaque(channels[..., -1])):
        raise VolumeError(
            "too_many_dimensions",
            f"{name}: {count} values in each voxel; one grey value is needed: save one component as its own file",
        )
    if count in (2, 4):
        last = channels[..., -1]
        if (last != last.flat[0]).any():
            raise VolumeError(
                "colour_image",
                f"{name}: {count} values in each voxel (transparency, or a vector); export a plain grey image",
            )
    colours = channels[..., : 1 if count == 2 else 3]
    step = 1.0 if colours.dtype == np.uint8 else 0.0  # JPEG's; of other types it is not known how much one level is
    low, high = colours.min(axis=-1).astype(np.float64), colours.max(axis=-1).astype(np.float64)
    if not (high - low <= GREY_TOLERANCE * step).all():
        raise VolumeError(
            "colour_image",
            f"{name}: a colour image; scans are grey: export the original without colour map, annotations or overlay",
        )
    if not (low == high).all():
        grey = np.rint(colours.mean(axis=-1)).astype(colours.dtype)
    else:
        grey = np.ascontiguousarray(colours[..., 0])
    return grey, (Notice("grey_in_rgb", f"{name}: a grey image stored in {count} channels; read as grey"),)


def _is_opaque(last: np.ndarray) -> bool:
    return last.dtype.kind == "u" and bool((last == np.iinfo(last.dtype).max).all())


def check_values(data: np.ndarray, name: str, *, allow_constant: bool = False) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Finite voxels that are not all the same.

    Up to 0.1 % of NaN or infinite voxels become the smallest finite value, with the notice ``non_finite_replaced``. So
    do those that are infinite in 32 bits, with which models compute.

    Raises:
        VolumeError: ``non_finite_voxels``, ``constant_image``, ``unsupported_storage``.
    """
    if data.dtype.kind not in "biuf":
        raise VolumeError("unsupported_storage", f"{name}: voxels of type {data.dtype}; plain numbers are needed")
    notices: tuple[Notice, ...] = ()
    if data.dtype.kind == "f":
        data, notices = _finite(data, name)
    if not allow_constant and _is_constant(data):
        raise VolumeError(
            "constant_image",
            f"{name}: every voxel has the value {data.flat[0]:g}; there is nothing to see, export the scan again",
        )
    return data, notices


def _finite(data: np.ndarray, name: str) -> tuple[np.ndarray, tuple[Notice, ...]]:
    flat = data.ravel(order="K")  # no copy for the layouts the readers make
    parts = [flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK)]
    bad = sum(int(part.size - np.count_nonzero(_usable(part))) for part in parts)
    if bad == 0:
        return data, ()
    share = bad / data.size
    enormous = bad > sum(int(part.size - np.count_nonzero(np.isfinite(part))) for part in parts)
    what = f"NaN, infinite or enormous (beyond {_MOST:.2g})" if enormous else "NaN or infinite"
    if share > NON_FINITE_LIMIT:
        raise VolumeError(
            "non_finite_voxels",
            f"{name}: {bad:,} voxels ({share:.1%}) are {what}; at most {NON_FINITE_LIMIT:.1%} is accepted: "
            "replace them where the image was computed",
        )
    finite = _usable(data)
    lowest = data[finite].min()
    data = data.copy(order="K")
    data[~finite] = lowest
    text = f"{name}: {bad:,} {what} voxels were replaced by the lowest value, {lowest:g}"
    return data, (Notice("non_finite_replaced", text),)


def _usable(data: np.ndarray) -> np.ndarray:
    if data.dtype.itemsize <= 4:
        return np.isfinite(data)
    with np.errstate(invalid="ignore"):
        return np.abs(data) <= _MOST  # False for NaN


def _is_constant(data: np.ndarray) -> bool:
    flat = data.ravel(order="K")
    return all(bool((flat[n : n + _CHUNK] == flat[0]).all()) for n in range(0, flat.size, _CHUNK))


def check_affine(affine: np.ndarray, name: str) -> tuple[Notice, ...]:
    """Notice ``sheared_affine`` where axes are off a right angle by more than 0.5 degrees.

    Raises:
        VolumeError: ``singular_affine``.
    """
    if geometry.is_singular(affine):
        raise unusable_geometry(name, _singularity(affine))
    degrees = geometry.shear_degrees(affine)
    if degrees <= SHEAR_LIMIT_DEGREES:
        return ()
    return (
        Notice("sheared_affine", f"{name}: the image axes are {degrees:.1f} degrees off a right angle; kept as stated"),
    )


def _singularity(affine: np.ndarray) -> str:
    with np.errstate(all="ignore"):
        lengths = geometry.spacing(affine)
    if not np.isfinite(affine).all():
        return "it holds NaN or infinite numbers"
    if (lengths < 1e-6).any():
        return f"voxel size {' x '.join(f'{length:g}' for length in lengths)} mm"
    return "two image axes run along each other"
