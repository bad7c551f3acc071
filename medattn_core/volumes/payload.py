"""The bytes of the voxels: plain, gzip, zlib or bzip2, exactly as many as the header promises or a clear error.

SimpleITK 2.5.7 returns an image, without any error, for a cut-off .nii and .nii.gz and for a damaged compressed .nrrd
and .mha. A scan must not be half made up, so the bytes are counted and their checksums compared here.
"""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from medattn_core.volumes import checks

_CHUNK = 1 << 20
_COUNT_FIRST = 1 << 28
_LONG_TAIL = 1 << 26
_SMALL = 1 << 19
"""Unpacked bytes up to which Python's zlib is no slower than SimpleITK, whose way begins with 4 ms."""


def read_plain(path: Path, start: int, shape: Sequence[int], size: int, name: str, *, extra: int = 0) -> np.ndarray:
    """``(size,)`` uint8 from byte ``start`` of an uncompressed file. ``shape`` and ``name`` are for the message.

    Raises:
        VolumeError: ``truncated_file``, ``oversized_header``, ``unreadable``.
    """
    checks.check_promise(name, shape, size, max(0, os.path.getsize(path) - start), extra=extra)
    try:
        return np.fromfile(path, dtype=np.uint8, count=size, offset=start)
    except OSError as error:
        raise checks.unreadable(name, error) from error


def read_gzip(
    path: Path, start: int, skip: int, shape: Sequence[int], size: int, name: str, *, lines: int = 0, extra: int = 0
) -> np.ndarray:
    """``(size,)`` uint8 from a gzip stream at byte ``start`` of the file, after ``skip`` unpacked bytes.

    Fast way for what is not small: the zlib-ng inside SimpleITK unpacks (1.2 to 1.8 times as fast as Python's zlib),
    and the length and CRC-32 at the end of the stream (RFC 1952) are compared. Anything else goes the exact way,
    through Python.

    Args:
        lines: line feeds before ``start``, if the stream follows a text header.
        path, start, skip, shape, size, name, extra: as for :func:`read_plain`.

    Raises:
        VolumeError: ``truncated_file``, ``corrupt_file``, ``oversized_header``.
    """
    stored = max(0, os.path.getsize(path) - start)
    checks.check_promise(name, shape, size, stored, ratio=checks.DEFLATE_MAX_RATIO, extra=extra)
    if size <= _SMALL:
        return _exactly(path, start, skip, shape, size, "gzip", name)
    with open(path, "rb") as file:
        file.seek(start)
        prefix = _prefix(file.read(skip + _CHUNK if skip else 0), skip)
        file.seek(-8, os.SEEK_END) if stored >= 8 else None
        trailer = file.read(8)
    if len(trailer) == 8 and len(prefix) == skip:
        crc, length = struct.unpack("<II", trailer)
        if length == (skip + size) & 0xFFFFFFFF:
            data = _unpack_by_simpleitk(path, skip, size, lines)
            if data is not None and zlib.crc32(data.data, zlib.crc32(prefix)) == crc:
                return data
    return _exactly(path, start, skip, shape, size, "gzip", name)


def read_stream(
    path: Path, start: int, shape: Sequence[int], size: int, kind: str, name: str, *, skip: int = 0
) -> np.ndarray:
    """``(size,)`` uint8 from a ``"zlib"`` or ``"bzip2"`` stream at byte ``start``; errors as :func:`read_gzip`."""
    stored = max(0, os.path.getsize(path) - start)
    # bzip2 stores a run of 45 MB of zeros in 45 bytes or so.
    checks.check_promise(name, shape, size, stored, ratio=checks.DEFLATE_MAX_RATIO if kind == "zlib" else 10**6)
    return _exactly(path, start, skip, shape, size, kind, name)


def _exactly(path: Path, start: int, skip: int, shape: Sequence[int], size: int, kind: str, name: str) -> np.ndarray:
    if size > _COUNT_FIRST:  # the stated length proves nothing: see that the bytes are there before allocating
        checks.check_promise(name, shape, size, _unpack(path, start, skip, size, kind, name, None))
    data = np.empty(size, dtype=np.uint8)
    present = _unpack(path, start, skip, size, kind, name, data)
    if present < size:
        raise checks.truncated(name, present, size)
    return data


def _prefix(packed: bytes, skip: int) -> bytes:
    if not skip:
        return b""
    try:
        return zlib.decompressobj(31).decompress(packed, skip)
    except zlib.error:
        return b""


def _unpack_by_simpleitk(path: Path, skip: int, size: int, lines: int) -> np.ndarray | None:
    """The unpacked bytes, or None where this way does not work.

    A detached NRRD header that names the file as raw gzip data makes SimpleITK's reader a plain inflater: no second
    opinion about geometry, scaling or dimensions, and sheared images pass too.
    """
    location = os.path.abspath(path)
    if not location.isprintable() or location != location.strip():
        return None
    # The reader wants a sensible number of columns; one column of 33 million rows would be slow.
    width = next((w for w in (4096, 1024, 256, 64, 16, 4) if size % w == 0), 1)
    if size // width > 2**31 - 1:
        return None
    header = (
        f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: {width} {size // width}\nencoding: gzip\n"
        f"line skip: {lines}\nbyte skip: {skip}\ndata file: {location}\n"
    )
    import SimpleITK

    try:
        with tempfile.TemporaryDirectory(prefix="medattn-") as folder:
            pointer = Path(folder) / "voxels.nhdr"
            pointer.write_text(header, encoding="utf-8", newline="\n")
            image = SimpleITK.ReadImage(str(pointer), imageIO="NrrdImageIO")
    except (RuntimeError, OSError, ValueError):
        return None
    array = SimpleITK.GetArrayFromImage(image)  # a copy: SimpleITK's view outlives its memory
    return array.reshape(-1) if array.size == size else None


def _unpack(path: Path, start: int, skip: int, size: int, kind: str, name: str, into: np.ndarray | None) -> int:
    """Unpack ``size`` bytes after ``skip`` into ``into``, or only count them; how many there were, at most ``size``."""
    position = -skip
    with open(path, "rb") as file:
        file.seek(start)
        stream = _opened(file, kind)
        try:
            while piece := stream.read1(_CHUNK):
                low, high = max(position, 0), min(position + len(piece), size)
                if into is not None and high > low:
                    into[low:high] = np.frombuffer(piece, np.uint8)[low - position : high - position]
                position += len(piece)
                if position > size + _LONG_TAIL:
                    break  # whatever follows is not ours; the checksum at the very end is not worth the wait
        except EOFError:
            pass  # cut off: the count tells
        except (zlib.error, OSError) as error:
            # Bytes after a complete, checked stream that start no further stream are padding.
            if not (position >= size and str(error).startswith("Not a gzipped file")):
                raise checks.corrupt(name, "its compressed voxels cannot be unpacked") from error
    return max(0, min(position, size))


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _opened(file: BinaryIO, kind: str) -> _Readable:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if kind == "bzip2" else _Zlib(file)


class _Zlib:
    """A zlib stream (RFC 1950) as a file; its Adler-32 is checked by zlib."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._stream, self._packed = file, zlib.decompressobj(), b""

    def read1(self, size: int, /) -> bytes:
        """Up to ``size`` unpacked bytes; none at the end.

        Raises:
            EOFError: the stream is cut off.
        """
        while not self._stream.eof:
            self._packed = self._packed or self._file.read(_CHUNK)
            if not self._packed:
                raise EOFError
            piece = self._stream.decompress(self._packed, size)
            self._packed = self._stream.unconsumed_tail
            if piece:
                return piece
        return b""
