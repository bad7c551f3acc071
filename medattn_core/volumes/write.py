"""Write a :class:`Volume` as NIfTI or NRRD: whole or not at all, on exactly the stated grid."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medattn_core.errors import VolumeError
from medattn_core.files import replacing
from medattn_core.volumes import deflate
from medattn_core.volumes.geometry import LPS_TO_RAS, corner_distance
from medattn_core.volumes.scaled import ERROR, Scaled
from medattn_core.volumes.volume import Volume

_QFORM_TOLERANCE_MM = 0.01
_NRRD_TYPES = {
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


def write(volume: Volume, path: str | os.PathLike[str], *, description: str = "") -> None:
    """Write voxels and geometry.

    A 2D volume is written with a third dimension of one, so that every viewer places it. Booleans become 0 and 1.

    Args:
        volume: what to write.
        path: ends in .nii, .nii.gz or .nrrd; its folder exists. An existing file is replaced once all is written.
        description: NIfTI ``descrip`` (at most 79 bytes) or NRRD ``content``; nothing that names a patient.

    Raises:
        VolumeError: ``unwritable``, or ``bad_argument`` for another suffix or a longer description.
    """
    target = Path(path)
    suffix = next((s for s in (".nii.gz", ".nii", ".nrrd") if target.name.lower().endswith(s)), "")
    if not suffix:
        raise VolumeError("bad_argument", f"{target}: the name has to end in .nii, .nii.gz or .nrrd")
    if len(description.encode()) > 79 or "\n" in description:
        raise VolumeError(
            "bad_argument", f"description {description[:20]!r}...: one line of at most 79 bytes is accepted"
        )
    data = _storable(volume, str(target))
    if suffix == ".nrrd":
        header, packed = _nrrd_header(volume.affine, data, description), True
        _write_whole(target, lambda file: _pack(file, data, before=header))
        return
    start, packed = _nifti_header(volume, data, description), suffix == ".nii.gz"
    _write_whole(target, lambda file: _pack(file, data, inside=start) if packed else _plain(file, data, start))


def write_scaled(volume: Volume, path: str | os.PathLike[str], *, factor: float = 1.0, description: str = "") -> Scaled:
    """Write a map of real numbers as 16-bit integers with a slope: half the bytes of float32, several times as fast.

    No voxel is off by more than ``scaled.ERROR`` of the largest absolute value, which the description states, and rows
    keep their sums (see :mod:`medattn_core.volumes.scaled`).

    Args:
        volume: a finite map.
        path: ends in .nii.gz; its folder exists. An existing file is replaced once all is written.
        factor: what the voxels are multiplied with on the way.
        description: as for :func:`write`; cut to leave room for the error.

    Returns:
        What was written: its slope, and its own sum.

    Raises:
        VolumeError: ``unwritable``; ``non_finite_voxels``; ``bad_argument`` for another suffix or a description of more
            than one line.
    """
    target = Path(path)
    if not target.name.lower().endswith(".nii.gz") or "\n" in description:
        raise VolumeError("bad_argument", f"{target}: the name has to end in .nii.gz, the description be one line")
    scaled = Scaled(volume.data, factor)
    note = f"; int16, error < {ERROR:.0e} of max"
    text = description.encode()[: 79 - len(note)].decode(errors="ignore") + note
    start = _nifti_header(volume, np.empty(volume.shape, "<i2"), text, slope=scaled.slope)
    content: tuple[deflate.Part, ...] = (start, *scaled.pieces())
    _write_whole(target, lambda file: deflate.pack(file, content, strategy=zlib.Z_RLE, try_first=True))
    return scaled


def _storable(volume: Volume, name: str) -> np.ndarray:
    """Voxels in little-endian order and a type both formats know."""
    data = volume.data
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    if data.dtype.newbyteorder("=").name not in _NRRD_TYPES:
        raise VolumeError("unwritable", f"{name}: voxels of type {data.dtype} cannot be written; convert to float32")
    return data.astype(data.dtype.newbyteorder("<"), copy=False)


def _nifti_header(volume: Volume, data: np.ndarray, description: str, slope: float = 1.0) -> bytes:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    # NIfTI-1 counts voxels along an axis in 16 bits.
    header: Any = (Nifti2Header if max(data.shape) > 32767 else Nifti1Header)(endianness="<")
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_xyzt_units(*(("mm",) if volume.spacing_known else ("unknown",)))
    header.set_slope_inter(slope, 0)
    header["vox_offset"] = header.single_vox_offset
    header["descrip"] = description.encode()
    header.set_qform(volume.affine, code=1, strip_shears=True)  # also the voxel sizes, pixdim
    header.set_sform(volume.affine, code=1)
    if corner_distance(header.get_qform(), header.get_sform(), volume.shape) > _QFORM_TOLERANCE_MM:
        header["qform_code"] = 0  # a quaternion cannot express shear: one true geometry instead of two
    return bytes(header.binaryblock) + b"\0" * (header.single_vox_offset - header.sizeof_hdr)


def _nrrd_header(affine: np.ndarray, data: np.ndarray, description: str) -> bytes:
    lps = LPS_TO_RAS @ affine + 0.0
    vectors = [f"({','.join(repr(float(v)) for v in column)})" for column in lps[:3].T]
    lines = [
        "NRRD0004",
        "# https://teem.sourceforge.net/nrrd/format.html",
        *([f"content: {description}"] if description else []),
        f"type: {_NRRD_TYPES[data.dtype.newbyteorder('=').name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in data.shape)}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _plain(file: BinaryIO, data: np.ndarray, start: bytes) -> None:
    file.write(start)
    flat = data.ravel(order="F")
    file.write(flat.data.cast("B"))


def _pack(file: BinaryIO, data: np.ndarray, *, before: bytes = b"", inside: bytes = b"") -> None:
    """``before``, then a gzip stream of ``inside`` and the voxels, without a time stamp: same input, same bytes."""
    file.write(before)
    deflate.pack(file, (inside, *deflate.pieces(data.ravel(order="F").data.cast("B"))))


def _write_whole(target: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Fill a temporary file beside the target, then put it in its place in one step."""
    try:
        temporary = f".medattn-{uuid.uuid4().hex}.part"
        with replacing(target, temporary=temporary, sync=False) as place, open(place, "xb") as file:
            fill(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise VolumeError(
            "unwritable",
            f"{target}: cannot be written ({reason}); check that the folder exists, may be written and has room",
        ) from error
