"""Stored pixels to values: decoding, unused bits, signed values, MONOCHROME1, rescale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from medattn_core.errors import VolumeError
from medattn_core.volumes import checks
from medattn_core.volumes.dicom.archive import Member
from medattn_core.volumes.dicom.header import Pixels
from medattn_core.volumes.dicom.pydicom_door import pydicom, quiet
from medattn_core.volumes.dicom.stack import Slice

_UNITS_MATTER = {"CT", "PT"}
"""Modalities whose values carry units (HU, Bq/mL), whatever grey they are to be shown in."""

_FIRST = {"pylibjpeg", "pydicom"}
_LAST_RESORT = {"gdcm"}
"""GDCM ends the whole process on some damaged JPEG-LS data (an exception of C++ that nothing catches)."""

_ENCAPSULATED_TAGS = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]


def values(slices: Sequence[Slice]) -> np.ndarray:
    """Voxels of slices of one size, rescaled, ``(n, rows, columns)``.

    int16 or the stored type where no rescale changes them; int16 where the slope is 1, intercepts are whole numbers and
    the result fits; float32 otherwise. MONOCHROME1 (lowest value is white) is turned so that bright stays bright, as a
    viewer shows it, except for CT and PET, whose values have units; its padding gets the lowest value that is none.

    Raises:
        VolumeError: ``oversized_header``, ``unreadable``, ``truncated_file``, ``corrupt_file``, ``missing_codec``.
    """
    stored = _stored(slices)
    voxels = _rescaled(slices, stored)
    inverted = [
        place for place, item in enumerate(slices) if item.pixels.inverted and item.file.modality not in _UNITS_MATTER
    ]
    if inverted:
        _turn(voxels, inverted, _padded(slices, stored))
    return voxels


def _padded(slices: Sequence[Slice], stored: np.ndarray) -> np.ndarray | None:
    """Which pixels are padding, boolean ``(n, rows, columns)``; None where the headers tell of none."""
    if all(item.pixels.padding is None for item in slices):
        return None
    padded = np.zeros(stored.shape, dtype=bool)
    for out, part, item in zip(padded, stored, slices, strict=True):
        if item.pixels.padding is not None:
            low, high = item.pixels.padding
            out[...] = (part >= low) & (part <= high)
    return padded


def _turn(voxels: np.ndarray, places: Sequence[int], padded: np.ndarray | None) -> None:
    """Mirror slices of a series, in place, about the middle of the values that the whole series has.

    Not of those it could store: 16 bits hold far more than a detector gives, and mirrored about their middle all
    tissue would come to lie in a few per cent at one end. Not slice by slice: they would no longer compare.
    """
    if padded is None or padded.all():
        low, high = voxels.min(keepdims=True), voxels.max(keepdims=True)
    else:  # padding is often the end of the type, far from all that was measured
        low = voxels.min(keepdims=True, where=~padded, initial=voxels.max())
        high = voxels.max(keepdims=True, where=~padded, initial=voxels.min())
    # The sum of whole numbers may wrap around, and the difference wraps back: it lies between the two again.
    total = (low + high)[0]
    for place in places:
        np.subtract(total, voxels[place], out=voxels[place])
        if padded is not None and not padded.all():
            voxels[place][padded[place]] = low.item()


def _rescaled(slices: Sequence[Slice], stored: np.ndarray) -> np.ndarray:
    """Stored values, rescaled to output units, in the type that :func:`values` tells."""
    slopes = np.array([item.frame.slope for item in slices])
    intercepts = np.array([item.frame.intercept for item in slices])
    if (slopes == 1).all() and (intercepts == np.rint(intercepts)).all():
        low = min(int(part.min()) + int(add) for part, add in zip(stored, intercepts, strict=True))
        high = max(int(part.max()) + int(add) for part, add in zip(stored, intercepts, strict=True))
        small = np.iinfo(np.int16)
        changed = bool(intercepts.any())
        if not changed and stored.dtype.itemsize == 1:
            return stored
        if low >= small.min and high <= small.max:
            whole = stored.astype(np.int16) if stored.dtype.itemsize > 2 and not changed else stored
            if changed:
                whole = np.empty(stored.shape, dtype=np.int16)
                for out, part, add in zip(whole, stored, intercepts, strict=True):
                    out[...] = part.astype(np.int32) + int(add)
            return whole.view(np.int16) if whole.dtype == np.uint16 else whole
        if not changed and stored.dtype.itemsize == 2:
            return stored
    scaled = np.empty(stored.shape, dtype=np.float32)
    for out, part, slope, intercept in zip(scaled, stored, slopes, intercepts, strict=True):
        out[...] = part * slope + intercept
    return scaled


def _stored(slices: Sequence[Slice]) -> np.ndarray:
    """Stored values in native byte order, ``(n, rows, columns)``."""
    first = slices[0].pixels
    dtype = np.result_type(*{_dtype(item.pixels).newbyteorder("=") for item in slices})
    size = len(slices) * first.rows * first.columns * dtype.itemsize
    # Uncompressed files were held against their size when their headers were read; this is about memory.
    checks.check_promise(slices[0].name, (first.columns, first.rows, len(slices)), size, size)
    out = np.empty((len(slices), first.rows, first.columns), dtype=dtype)
    for member, places in _by_file(slices):
        pixels = slices[places[0]].pixels
        frames = [slices[place].frame.index for place in places]
        try:
            with member.open() as file:
                read = (
                    _native(file, pixels, frames)
                    if pixels.offset is not None
                    else _decoded(file, member, pixels, frames)
                )
                for place, frame in zip(places, read, strict=True):
                    out[place] = frame
        except OSError as error:
            raise checks.unreadable(member.name, error) from error
        except EOFError as error:
            text = f"{member.name}: the file ends before its voxels do; copy or export it again"
            raise VolumeError("truncated_file", text) from error
        except (VolumeError, MemoryError):
            raise
        except Exception as error:  # decoders and zipfile (checksum) raise nearly anything on damaged bytes
            # Only the class name: the text of an exception may quote the header.
            text = f"{member.name}: the pixels cannot be decoded ({type(error).__name__}); copy or export it again"
            raise VolumeError("corrupt_file", text) from error
    return out


def _by_file(slices: Sequence[Slice]) -> Iterator[tuple[Member, list[int]]]:
    """Each file once, with the places its frames take in the stack, in order of the frames."""
    places: dict[Member, list[int]] = {}
    for place, item in enumerate(slices):
        places.setdefault(item.file.member, []).append(place)
    for member, group in places.items():
        yield member, sorted(group, key=lambda place: slices[place].frame.index)


def _dtype(pixels: Pixels) -> np.dtype[Any]:
    kind = "i" if pixels.signed else "u"
    return np.dtype(f"{'>' if pixels.big_endian else '<'}{kind}{pixels.bits_allocated // 8}")


def _native(file: BinaryIO, pixels: Pixels, frames: list[int]) -> Iterator[np.ndarray]:
    """Uncompressed frames."""
    dtype = _dtype(pixels)
    for frame in frames:
        file.seek((pixels.offset or 0) + frame * pixels.frame_bytes)
        data = file.read(pixels.frame_bytes)
        if len(data) < pixels.frame_bytes:
            raise EOFError
        yield _only_stored_bits(np.frombuffer(data, dtype=dtype).reshape(pixels.rows, pixels.columns), pixels)


def _only_stored_bits(frame: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Clears bits outside BitsStored (old overlays lie there) and carries the sign up (DICOM PS3.5, section 8.1.1)."""
    above = pixels.bits_allocated - 1 - pixels.high_bit
    below = pixels.high_bit + 1 - pixels.bits_stored
    if above == 0 and below == 0:
        return frame
    native = frame.astype(frame.dtype.newbyteorder("="))
    if above < 0 or below < 0:
        return native  # a contradictory HighBit is ignored, as other readers do
    # Right shifts of signed integers carry the sign.
    return (native << above) >> (above + below)


def _decoded(file: BinaryIO, member: Member, pixels: Pixels, frames: list[int]) -> Iterator[np.ndarray]:
    """Compressed, deflated or byte-swapped frames, through pydicom and its plug-ins."""
    module = pydicom()
    with quiet():
        decoder, plugin = _decoder(module, member, pixels)
        dataset = module.dcmread(file, force=True, specific_tags=_ENCAPSULATED_TAGS)
        if "PixelData" not in dataset:
            raise EOFError
        for frame in frames:
            array, _ = decoder.as_array(dataset, index=frame, raw=True, decoding_plugin=plugin)
            if array.shape != (pixels.rows, pixels.columns):
                raise ValueError("frame size")
            yield array if pixels.bits_stored == pixels.bits_allocated else _clear_above(array, pixels)


def _clear_above(frame: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Decoders give values of BitsStored bits; files compressed without it may still carry overlays above."""
    if pixels.signed or frame.dtype.kind != "u" or frame.dtype.itemsize * 8 != pixels.bits_allocated:
        return frame
    return frame & frame.dtype.type(2**pixels.bits_stored - 1)


def _decoder(module: Any, member: Member, pixels: Pixels) -> tuple[Any, str]:
    """pydicom's decoder for the transfer syntax, and the plug-in to use (none where it decodes by itself).

    Raises:
        VolumeError: ``missing_codec``.
    """
    uid = module.uid.UID(pixels.transfer_syntax)
    name = uid.name if uid.name == str(uid) else f"{uid.name}, {uid}"
    raw = "or have it exported uncompressed (Explicit VR Little Endian)"
    try:
        decoder = module.pixels.get_decoder(uid)
    except NotImplementedError as error:
        raise VolumeError(
            "missing_codec",
            f"{member.name}: no decoder exists for its transfer syntax ({name}); convert it with another tool, {raw}",
        ) from error
    if not decoder.is_available:
        needed = "; ".join(decoder.missing_dependencies)
        raise VolumeError(
            "missing_codec",
            f"{member.name}: no installed decoder for its transfer syntax ({name}); install one with: "
            f'pip install "medattn[dicom]" ({needed}), {raw}',
        )
    ranked = sorted(decoder.available_plugins, key=lambda name: (name in _LAST_RESORT, name not in _FIRST))
    return decoder, ranked[0] if ranked else ""
