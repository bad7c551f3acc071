"""The text headers of NRRD and MetaImage: how the voxels are stored, before any of them is read.

NRRD: http://teem.sourceforge.net/nrrd/format.html; MetaImage: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks, space

_MOST_HEADER = 1 << 20

_NRRD_TYPES = {
    "int8": "signed char|int8|int8_t",
    "uint8": "uchar|unsigned char|uint8|uint8_t",
    "int16": "short|short int|signed short|signed short int|int16|int16_t",
    "uint16": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "int32": "int|signed int|int32|int32_t",
    "uint32": "uint|unsigned int|uint32|uint32_t",
    "int64": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "uint64": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "float32": "float",
    "float64": "double",
}
_META_TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG": "int32",
    "MET_ULONG": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


@dataclass(frozen=True, kw_only=True)
class StoredVoxels:
    """Where and how a header says the voxels lie.

    Attributes:
        sizes: length of each axis, fastest first; without the channel axis.
        channels: values in each voxel.
        dtype: type of one value, with its byte order.
        encoding: ``"raw"``, ``"gzip"``, ``"zlib"``, ``"bzip2"`` or ``"ascii"``.
        file: the file that holds them.
        start: byte at which they start in it; -1: they are its last bytes.
        lines: line feeds before ``start``.
        skip: unpacked bytes to leave out first.
        placed: whether the header says where the image lies in the patient.
        spaced: whether the header states voxel sizes.
        to_lps: factors from SimpleITK's world coordinates to LPS millimetres.
        las: of the space left-anterior-superior, :func:`medattn_core.volumes.space.steps_in_las`.
        colour: whether the values of a voxel are said to be a colour.
        notices: what is odd about the header.
    """

    sizes: tuple[int, ...]
    channels: int
    dtype: np.dtype
    encoding: str
    file: Path
    start: int
    lines: int
    skip: int
    placed: bool
    spaced: bool
    to_lps: space.Factors
    colour: bool
    notices: tuple[Notice, ...]
    las: np.ndarray | None = None


def parse_nrrd(path: Path, name: str) -> StoredVoxels:
    """Read the header of a .nrrd or .nhdr file.

    Raises:
        VolumeError: ``corrupt_file``, ``truncated_file``, ``unsupported_storage``, ``not_found`` (the data file),
            ``too_many_dimensions`` (a list of volumes), ``singular_affine``.
    """
    with open(path, "rb") as file:
        block = file.read(_MOST_HEADER)
    end = re.search(rb"\r?\n\r?\n", block)
    fields: dict[str, str] = {}
    for line in block[: end.start() if end else len(block)].decode("utf-8", "replace").splitlines()[1:]:
        key, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):  # key:=value is a remark, not a field
            fields[key.strip().lower()] = value.strip()
    data_file = fields.get("data file", fields.get("datafile"))
    if end is None and data_file is None:
        raise VolumeError("truncated_file", f"{name}: the file is cut off within its header; copy or download it again")
    sizes = _integers(fields.get("sizes", ""), name, "sizes")
    if len(sizes) != _integers(fields.get("dimension", "0"), name, "dimension")[0]:
        raise checks.corrupt(
            name, f"its header states dimension {fields.get('dimension')} and sizes {fields.get('sizes')}"
        )
    base = next((k for k, names in _NRRD_TYPES.items() if fields.get("type", "").lower() in names.split("|")), None)
    encoding = fields.get("encoding", "").lower()
    encoding = "ascii" if encoding in ("ascii", "txt", "text") else _ENCODINGS.get(encoding, "")
    if base is None or not encoding:
        what = f"type {fields.get('type')!r}, encoding {fields.get('encoding')!r}"
        raise VolumeError("unsupported_storage", f"{name}: voxels stored as {what}; save again as numbers, raw or gzip")
    dtype = np.dtype(base).newbyteorder(">" if fields.get("endian", "little").lower() == "big" else "<")

    spatial, channels, kind = _nrrd_channels(sizes, fields)
    if kind in ("list", "time") and channels > 1:
        raise checks.several_volumes(sizes, channels, name)
    to_lps, placed, notices = space.of_nrrd(fields, sizes, len(sizes) - len(spatial), name)
    location, start, lines = path, end.end() if end else 0, block[: end.end()].count(b"\n") if end else 0
    line_skip, skip = (
        _integers(fields.get(f"{what} skip", fields.get(f"{what}skip", "0")), name, "skip")[0]
        for what in ("line", "byte")
    )
    if data_file is not None:
        if data_file.upper().startswith("LIST") or "%" in data_file:
            raise VolumeError(
                "unsupported_storage", f"{name}: the voxels lie in several files; save the image as a single .nrrd file"
            )
        location, start, lines = _beside(path, data_file, name), 0, 0
    if line_skip > 0:
        start, lines = _after_lines(location, start, line_skip), lines + line_skip
    if encoding == "raw" and skip:
        start, skip = (start + skip if skip > 0 else -1), 0
    return StoredVoxels(
        sizes=spatial,
        channels=channels,
        dtype=dtype,
        encoding=encoding,
        file=location,
        start=start,
        lines=lines,
        skip=skip,
        placed=placed,
        spaced="space directions" in fields or "spacings" in fields,
        to_lps=to_lps,
        las=space.steps_in_las(fields),
        colour=kind.endswith("-color"),
        notices=notices,
    )


def _nrrd_channels(sizes: tuple[int, ...], fields: dict[str, str]) -> tuple[tuple[int, ...], int, str]:
    """Take the axis that is no direction of space (kind "RGB-color", "vector", direction "none") out of the sizes.

    Returns:
        The other sizes, that of the axis, and of which kind it is.
    """
    kinds = fields.get("kinds", "").lower().split()
    directions = re.findall(r"\([^)]*\)|none", fields.get("space directions", "").lower())
    for axis, size in enumerate(sizes):
        kind = kinds[axis] if len(kinds) == len(sizes) else ""
        nowhere = directions[axis] == "none" if len(directions) == len(sizes) else False
        if nowhere or kind not in ("", "domain", "space", "???", "none", "time"):
            # As the last axis it is a list of volumes, which check_shape refuses or drops.
            return (sizes[1:], size, kind) if axis == 0 else (sizes, 1, "")
    return sizes, 1, ""


def parse_metaimage(path: Path, name: str) -> StoredVoxels:
    """Read the header of a .mha or .mhd file.

    Raises:
        VolumeError: ``corrupt_file``, ``truncated_file``, ``unsupported_storage``, ``not_found`` (the data file).
    """
    with open(path, "rb") as file:
        block = file.read(_MOST_HEADER)
    fields: dict[str, str] = {}
    end = 0
    for match in re.finditer(rb"([^\n]*)(\n|\Z)", block):
        key, equals, value = match.group(1).decode("utf-8", "replace").partition("=")
        if equals:
            fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":  # always the last field
            end = match.end()
            break
    data_file = fields.get("ElementDataFile")
    if not data_file:
        raise VolumeError("truncated_file", f"{name}: the file is cut off within its header; copy or download it again")
    sizes = _integers(fields.get("DimSize", ""), name, "DimSize")
    if len(sizes) != _integers(fields.get("NDims", "0"), name, "NDims")[0]:
        raise checks.corrupt(name, f"its header states NDims {fields.get('NDims')} and DimSize {fields.get('DimSize')}")
    element = fields.get("ElementType", "").upper()
    if element not in _META_TYPES:
        raise VolumeError(
            "unsupported_storage", f"{name}: voxels of type {element or '(none)'}; save as 16-bit integers or float"
        )
    if data_file.upper().startswith("LIST") or "%" in data_file:
        raise VolumeError(
            "unsupported_storage", f"{name}: the voxels lie in several files; save the image as a single .mha file"
        )
    big = next((fields[k] for k in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if k in fields), "False")
    compressed = _true(fields.get("CompressedData", "False"))
    local = data_file.upper() == "LOCAL"
    start = end if local else _integers(fields.get("HeaderSize", "0"), name, "HeaderSize")[0]
    to_lps, notices = space.millimetres([fields.get("DistanceUnits", "")] * 3, name, "DistanceUnits")
    return StoredVoxels(
        sizes=sizes,
        channels=_integers(fields.get("ElementNumberOfChannels", "1"), name, "ElementNumberOfChannels")[0],
        dtype=np.dtype(_META_TYPES[element]).newbyteorder(">" if _true(big) else "<"),
        encoding="ascii" if not _true(fields.get("BinaryData", "True")) else "zlib" if compressed else "raw",
        file=path if local else _beside(path, data_file, name),
        start=start,
        lines=0,
        skip=0,
        placed=any(k in fields for k in ("TransformMatrix", "Orientation", "Rotation")),
        spaced="ElementSpacing" in fields or "ElementSize" in fields,
        to_lps=to_lps,
        colour=False,  # a format that does not say what its channels are
        notices=notices,
    )


def _true(text: str) -> bool:
    return text.strip().lower().startswith(("t", "1", "y"))


def _integers(text: str, name: str, what: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split())
    except ValueError:
        numbers = ()
    if not numbers:
        raise checks.corrupt(name, f"its header states {what} as {text[:40]!r}")
    return numbers


def _beside(header: Path, data_file: str, name: str) -> Path:
    """The data file a header names, looked for beside the header only.

    A header from a stranger must not make us read any other file of this machine.
    """
    inside = header.parent.resolve()
    location = (inside / data_file).resolve()
    if not location.is_relative_to(inside):
        location = inside / location.name
    # Named only where its name tells nothing that the header's own name, as shown, does not tell.
    known = header.name in name and location.stem == header.stem
    shown = location.name if known else "another file, named in its header"
    if not location.is_file():
        raise VolumeError(
            "not_found",
            f"{name}: its voxels lie in {shown}; it is missing beside it: copy both files",
        )
    checks.check_file(location, os.path.join(os.path.dirname(name), shown) if known else f"{name}, its data file")
    return location


def _after_lines(path: Path, start: int, count: int) -> int:
    with open(path, "rb") as file:
        file.seek(start)
        for _ in range(count):
            file.readline()
        return file.tell()
