"""Volumes between the scene and the worker, by file: quick, exact, and in slabs so that nobody waits.

numpy alone. Arrays are ``(K, J, I)`` as ``slicer.util.arrayFromVolume`` gives them, matrices ``(4, 4)`` from voxel
index ``(i, j, k)`` to RAS millimetres.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

SLAB = 2 << 20
"""Bytes written between two steps."""

_DISCARDED = itertools.count()
_TYPES = {
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float",
    "float64": "double",
}


def write_scan_steps(path: str | os.PathLike[str], array: np.ndarray, ijk_to_ras: np.ndarray) -> Iterator[float]:
    """Write a volume as an uncompressed NRRD, a slab at a time.

    Args:
        path: ends in .nrrd.
        array: ``(K, J, I)`` numbers or booleans.
        ijk_to_ras: ``(4, 4)``, kept to the last bit.

    Yields:
        The share that is written, after each slab.

    Raises:
        ValueError: an array or matrix of another form.
        OSError: the file cannot be written.
    """
    array, matrix = np.asarray(array), np.asarray(ijk_to_ras, dtype=float)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    kind = _TYPES.get(array.dtype.newbyteorder("=").name)
    if array.ndim != 3 or not array.size or kind is None:
        raise ValueError(f"array of shape {array.shape} and type {array.dtype}; (K, J, I) numbers are accepted")
    if matrix.shape != (4, 4):
        raise ValueError(f"ijk_to_ras of shape {matrix.shape}; (4, 4) is accepted")
    vectors = [f"({','.join(repr(float(v)) for v in column)})" for column in matrix[:3].T]
    header = (
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(str(n) for n in array.shape[::-1])}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {vectors[3]}",
        "",
        "",
    )
    stored = array.dtype.newbyteorder("<")
    slices = max(1, SLAB // max(1, array[0].nbytes))
    with open(path, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        for first in range(0, len(array), slices):
            file.write(np.ascontiguousarray(array[first : first + slices], dtype=stored).data)
            yield min(1.0, (first + slices) / len(array))


def write_scan(path: str | os.PathLike[str], array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """All of :func:`write_scan_steps` at once."""
    for _share in write_scan_steps(path, array, ijk_to_ras):
        pass


def write_mask(path: str | os.PathLike[str], array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """:func:`write_scan` of what is not zero, as 0 and 1."""
    write_scan(path, np.asarray(array) != 0, ijk_to_ras)


def discard(path: str | os.PathLike[str]) -> None:
    """Remove a file, if it is there, without waiting: to give the pages of a large one back takes milliseconds.

    Its name is free at once. What cannot be removed goes with the folder.
    """
    aside = f"{os.fspath(path)}.{next(_DISCARDED)}.gone"
    with contextlib.suppress(OSError):
        os.replace(path, aside)
        threading.Thread(target=_remove, args=(aside,), daemon=True).start()


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)


def read_map(evidence: dict[str, Any]) -> np.ndarray:
    """The voxels of an evidence object, or of the answer to ``mask``, written as .nii.

    Returns:
        float32 (a mask: uint8) ``(K, J, I)``, a memory map: copy what has to last longer than the file.

    Raises:
        ValueError: the object names no uncompressed file.
        OSError: the file is gone.
    """
    return read_voxels(evidence.get("path"), evidence.get("data_offset"), evidence["shape"], evidence["dtype"])


def read_region_map(path: str, evidence: dict[str, Any]) -> np.ndarray:
    """Ranks of regions, uint16 ``(K, J, I)``, from the .nii that was asked for as ``region_map`` of the same scan."""
    return read_voxels(path, evidence.get("data_offset"), evidence["shape"], "<u2")


def read_voxels(path: str | None, offset: int | None, shape: list[int], dtype: str) -> np.ndarray:
    """Voxels of an uncompressed file as a memory map ``(K, J, I)``.

    Args:
        path: of the file.
        offset: byte at which they begin.
        shape: ``(I, J, K)``.
        dtype: such as ``"<f4"``.

    Raises:
        ValueError: no path or offset.
        OSError: the file is gone.
    """
    if not path or offset is None:
        raise ValueError("the map was not written as .nii; ask for it with a path that ends in .nii")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=tuple(shape[::-1]))
