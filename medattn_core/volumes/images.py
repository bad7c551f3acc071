"""2D pictures: .png and .jpg through SimpleITK, after a walk through their structure.

The walk finds what the decoders hide: libjpeg fills the rest of a cut-off picture with grey and only
mutters on the terminal. PNG: ISO/IEC 15948; JPEG: ITU-T T.81. A JPEG that says how it was held (EXIF orientation)
is turned as viewers show it: boxes and masks are drawn on that, and evidence lies on it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks
from medattn_core.volumes.volume import Volume

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Columns run to the patient's left, rows to posterior, as ITK and viewers place a picture (LPS identity)."""

_OUTPUT = threading.Lock()
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_EXIF = b"Exif\x00\x00"
_ORIENTATION, _SHORT = 0x0112, 3
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers


def read_png(path: Path, name: str, *, allow_constant: bool = False) -> Volume:
    """Read a .png file; errors as :func:`medattn_core.volumes.read`."""
    content = path.read_bytes()
    shape, depth, channels = _walk_png(content, name)
    if channels == 2 or (channels == 1 and b"tRNS" in content):  # ITK has no such pixels
        raise VolumeError("unsupported_storage", f"{name}: a grey picture with transparency; save it without")
    promised = shape[0] * shape[1] * channels * max(depth, 8) // 8
    checks.check_promise(name, shape, promised, len(content), ratio=checks.DEFLATE_MAX_RATIO * 8 // min(depth, 8))
    with ExitStack() as stack:
        plain = _without_significant_bits(content)
        if plain != content:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medattn-"))) / "picture.png"
            path.write_bytes(plain)
        return _picture(path, name, "png", "PNGImageIO", allow_constant)


def read_jpeg(path: Path, name: str, *, allow_constant: bool = False) -> Volume:
    """Read a .jpg file; errors as :func:`medattn_core.volumes.read`."""
    content = path.read_bytes()
    shape, channels, held = _walk_jpeg(content, name)
    if channels == 4:
        raise VolumeError("colour_image", f"{name}: a colour picture for print (CMYK); export the scan as a grey image")
    # No bound on the ratio of a progressive JPEG is known, so only memory counts.
    promised = shape[0] * shape[1] * channels
    checks.check_promise(name, shape, promised, promised)
    return _picture(path, name, "jpeg", "JPEGImageIO", allow_constant, held)


def _picture(path: Path, name: str, kind: str, reader: str, allow_constant: bool, held: int = 1) -> Volume:
    import SimpleITK

    image, said = _decoded(path, reader)
    if image is None or said:  # what the decoder prints it has replaced with made-up pixels
        raise checks.corrupt(name, f"its picture cannot be decoded ({said[0] if said else 'no reason given'})")
    pixels = SimpleITK.GetArrayFromImage(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    grey, colour_notices = checks.grey_from_channels(pixels, name)
    grey = _upright(grey, held)
    turned = f"{name}: turned upright, as its EXIF orientation ({held}) says and viewers show it"
    grey, value_notices = checks.check_values(grey, name, allow_constant=allow_constant)
    return Volume(
        data=grey.T[:, :, np.newaxis],
        affine=AFFINE.copy(),
        spatial_dims=2,
        spacing_known=False,
        source=name,
        format=kind,
        warnings=(*colour_notices, *([Notice("turned", turned)] if held > 1 else []), *value_notices),
    )


def _upright(pixels: np.ndarray, held: int) -> np.ndarray:
    """Pixels ``(rows, columns)`` as viewers show them, moved without a change of any.

    Args:
        pixels: as they are stored.
        held: EXIF orientation, 1 to 8; 1 is upright already.
    """
    if held >= 5:  # rows are stored as columns
        pixels = pixels.T
    if held in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if held in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decoded(path: Path, reader: str) -> tuple[Any, list[str]]:
    """The picture, or None where it cannot be decoded, and what the decoder prints about it.

    Other threads print meanwhile, too. A decoder says the same each time: what is not heard again when the picture is
    decoded again is theirs, and is passed on.
    """
    import SimpleITK

    image, said = None, list[str]()
    passed: list[tuple[int, bytes]] = []
    with _OUTPUT:
        for attempt in range(3):
            image = None
            with _muttering() as heard, suppress(RuntimeError):
                image = SimpleITK.ReadImage(str(path), imageIO=reader)
            lines = [_text(line) for _, line in heard if _text(line)]
            said = [line for line in said if line in lines] if attempt else lines
            passed += heard
            if not said:
                break
        for number, line in passed:
            if _text(line) not in said:
                with suppress(OSError):
                    os.write(number, line)
    return image, said


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


@contextmanager
def _muttering() -> Iterator[list[tuple[int, bytes]]]:
    """Lines that are printed inside the block, with the descriptor they were for; kept from terminal and readers.

    The JPEG decoder prints to stdout and stderr what it repairs or gives up on, and says it nowhere else. Both file
    descriptors belong to the whole process: one picture at a time, and only for the milliseconds of its decoding.
    """
    lines: list[tuple[int, bytes]] = []
    with ExitStack() as stack:
        try:
            kept = [(number, os.dup(number)) for number in (1, 2)]
        except OSError:  # no output at all (a windowed process)
            yield lines
            return
        sinks = []
        for _, copy in kept:
            stack.callback(os.close, copy)
            sinks.append(stack.enter_context(tempfile.TemporaryFile()))
        _flush_c()
        for (number, _), sink in zip(kept, sinks, strict=True):
            os.dup2(sink.fileno(), number)
        try:
            yield lines
        finally:
            _flush_c()
            for number, copy in kept:
                os.dup2(copy, number)
            for (number, _), sink in zip(kept, sinks, strict=True):
                sink.seek(0)
                lines += [(number, line) for line in sink.read().splitlines(keepends=True)]


def _flush_c() -> None:
    """Empty the buffers of C's stdio, which are not Python's."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)


def _walk_png(content: bytes, name: str) -> tuple[tuple[int, int], int, int]:
    """(columns, rows), bits in a sample and channels, after every chunk was found whole.

    Raises:
        VolumeError: ``truncated_file``, ``corrupt_file``.
    """
    place, found = 8, None
    while True:
        if place + 12 > len(content):
            raise _cut(name)
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind = content[place + 4 : place + 8]
        end = place + 12 + length
        if not kind.isalpha():
            raise checks.corrupt(name, "its blocks do not follow each other")
        if end > len(content):
            raise _cut(name)
        if zlib.crc32(content[place + 4 : end - 4]) != struct.unpack(">I", content[end - 4 : end])[0]:
            raise checks.corrupt(name, f"the checksum of its {kind.decode()} block is wrong")
        if kind == b"IHDR" and length == 13:
            columns, rows, depth, colour = struct.unpack(">IIBB", content[place + 8 : place + 18])
            if not (columns and rows and depth in (1, 2, 4, 8, 16) and colour in _PNG_CHANNELS):
                raise checks.corrupt(name, f"its header states {columns} x {rows} pixels of {depth} bits")
            found = (columns, rows), depth, _PNG_CHANNELS[colour]
        if kind == b"IEND":
            break
        place = end
    if found is None:
        raise checks.corrupt(name, "it has no header block")
    return found


def _without_significant_bits(content: bytes) -> bytes:
    """A PNG that was walked, without the block that says how many bits of a sample count (sBIT).

    ITK shifts all values down by the others. Viewers show them as they are stored, and so they are read.
    """
    if b"sBIT" not in content:
        return content
    kept, place = [content[:8]], 8
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] != b"sBIT":
            kept.append(content[place:end])
        if content[place + 4 : place + 8] == b"IEND":
            break
        place = end
    return b"".join(kept)


def _walk_jpeg(content: bytes, name: str) -> tuple[tuple[int, int], int, int]:
    """(columns, rows) as stored, channels and EXIF orientation, after the end-of-image marker was found.

    Raises:
        VolumeError: ``truncated_file``, ``corrupt_file``, ``unsupported_storage``.
    """
    place, found, exif = 2, None, b""
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 2 > len(content):
            raise _cut(name)
        marker = content[place + 1]
        if marker == 0xD9:
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD7:  # coded data, fill bytes, restarts
            place += 1 if marker == 0xFF else 2
            continue
        if place + 4 > len(content):
            raise _cut(name)
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        if marker in _FRAMES and place + 10 <= len(content):
            bits, rows, columns, channels = struct.unpack(">BHHB", content[place + 4 : place + 10])
            if bits != 8 or marker in (0xC3, 0xC7, 0xCB, 0xCF):
                raise VolumeError("unsupported_storage", f"{name}: a {bits}-bit or lossless JPEG; save it as .png")
            if not rows or not columns:
                raise checks.corrupt(name, f"its header states {columns} x {rows} pixels")
            found = (columns, rows), channels
        if marker == 0xE1 and not exif and content.startswith(_EXIF, place + 4):
            exif = content[place + 4 + len(_EXIF) : place + 2 + length]
        place += 2 + length
    if found is None:
        raise checks.corrupt(name, "it has no frame")
    return *found, _orientation(exif)


def _orientation(exif: bytes) -> int:
    """Orientation that an EXIF block (a small TIFF file) states; 1, upright, where it states none that there is."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None:
        return 1
    with suppress(struct.error):  # a block that is cut off states nothing, as for viewers
        (place,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, place)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, place + 2 + 12 * entry)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return value if 1 <= value <= 8 else 1
    return 1


def _cut(name: str) -> VolumeError:
    return VolumeError("truncated_file", f"{name}: the picture is cut off before its end; copy or download it again")
