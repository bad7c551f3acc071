"""The header of one DICOM file, read once and without its pixels: identity, frames, and where the pixels lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from medattn_core.volumes import checks
from medattn_core.volumes.dicom.archive import Member
from medattn_core.volumes.dicom.frames import FRAME_TAGS, Frame, first_int, frames_of, text_of
from medattn_core.volumes.dicom.members import MEDIA_STORAGE_DIRECTORY
from medattn_core.volumes.dicom.pydicom_door import pydicom

# Only these are kept. No name, birth date or description is among them: what is not read cannot be passed on.
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "SeriesNumber",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    *FRAME_TAGS,
]

# Storage classes that hold voxels but whose names lack the words "Image Storage".
_OTHER_IMAGE_CLASSES = {"Enhanced US Volume Storage"}
_PIXEL_DATA = (0x7FE0, 0x0010)
_FLOAT_PIXEL_DATA = {(0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_LONG_VRS = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class Pixels:
    """How and where a file holds its pixels.

    Attributes:
        rows, columns: size of a frame.
        frames: number of frames.
        bits_allocated, bits_stored, high_bit, signed: layout of a stored value (DICOM PS3.5, section 8.1).
        colour: more than one sample a pixel, or indices into a colour palette.
        inverted: MONOCHROME1, where the lowest value is white.
        padding: lowest and highest stored value that fills up the rectangle and is no measurement; None where not told.
        transfer_syntax: its UID.
        big_endian: byte order.
        offset: byte at which uncompressed pixels begin; None where pydicom has to decode them.
    """

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    colour: bool
    inverted: bool
    padding: tuple[int, int] | None
    transfer_syntax: str
    big_endian: bool
    offset: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed grey frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True)
class ImageFile:
    """A DICOM file with an image, or one that should hold an image and is damaged.

    Attributes:
        member: the file.
        series_uid, study_uid, modality, number: of its series; empty or None where not stated.
        sop_class: SOPClassUID, ``""`` where the file has none.
        pixels: None where the file is damaged.
        frames: one for each frame; none where the file is damaged.
        problem: error code and text of the damage, or None.
    """

    member: Member
    series_uid: str
    study_uid: str
    modality: str
    number: int | None
    sop_class: str
    pixels: Pixels | None
    frames: tuple[Frame, ...]
    problem: tuple[str, str] | None = None

    @property
    def series_key(self) -> str:
        """What keeps series apart: the UID, or the folder of files that state none."""
        return self.series_uid or f"folder {self.member.folder}"


@dataclass(frozen=True)
class NotAnImage:
    """A DICOM object without voxels to read: report, segmentation, plan, directory.

    Attributes:
        member: the file.
        kind: name of its storage class.
        directory: whether it is a DICOMDIR, which needs no word.
    """

    member: Member
    kind: str
    directory: bool = False


@dataclass(frozen=True)
class Broken:
    """A file that claims to be DICOM and whose series cannot be told.

    Attributes:
        member: the file.
        code, text: what is wrong.
    """

    member: Member
    code: str
    text: str


def begins_like_dicom(head: bytes) -> bool:
    """Whether the first bytes (132 or more) are those of a DICOM file, with or without the 128-byte preamble."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    # Old files begin with the data set itself: a low element of group 0002 or 0008, then a value representation in
    # letters or a short length.
    group, element = struct.unpack("<HH", head[:4])
    plausible = (head[4:6].isalpha() and head[4:6].isupper()) or 0 < struct.unpack("<I", head[4:8])[0] < 256
    return group in (0x0002, 0x0008) and element <= 0x0080 and plausible


def read_header(member: Member) -> ImageFile | NotAnImage | Broken | None:
    """The header of a file, or None for a file that does not claim to be DICOM. Call within ``quiet()``."""
    try:
        file = member.open()
    except OSError as error:
        return Broken(member, "unreadable", checks.unreadable(member.name, error).message)
    with file:
        try:
            head = file.read(132)
            claims = member.file_name.lower().endswith((".dcm", ".dicom", ".ima"))
            if not head:
                return Broken(member, "empty_file", f"{member.name}: the file has no bytes") if claims else None
            if not begins_like_dicom(head):
                text = f"{member.name}: named like DICOM and not a DICOM file; export it again"
                return Broken(member, "not_an_image", text) if claims else None
            file.seek(0)
            return _parse(member, file, force=head[128:132] != b"DICM")
        except Exception as error:  # pydicom raises nearly anything on damaged bytes
            # Only the class name of the exception: its text may quote values of the header.
            text = f"{member.name}: the DICOM header is damaged ({type(error).__name__}); copy or export the file again"
            return Broken(member, "corrupt_file", text)


def _parse(member: Member, file: BinaryIO, *, force: bool) -> ImageFile | NotAnImage | Broken | None:
    module = pydicom()
    dataset = module.dcmread(file, stop_before_pixels=True, force=force, specific_tags=_TAGS)
    sop_class = text_of(dataset, "SOPClassUID")
    series_uid = text_of(dataset, "SeriesInstanceUID")
    meta_class = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if MEDIA_STORAGE_DIRECTORY in (sop_class, meta_class):
        return NotAnImage(member, "DICOMDIR", directory=True)
    rows, columns = first_int(dataset, "Rows"), first_int(dataset, "Columns")
    if force and not (sop_class or series_uid or rows):
        return None  # bytes that only looked like a data set
    kind = module.uid.UID(sop_class or meta_class).name if sop_class or meta_class else ""
    known = kind and not kind[0].isdigit()
    if known and kind not in _OTHER_IMAGE_CLASSES and ("Image Storage" not in kind or "Non-Image" in kind):
        return NotAnImage(member, kind)

    def image(pixels: Pixels | None, frames: tuple[Frame, ...], problem: tuple[str, str] | None = None) -> ImageFile:
        return ImageFile(
            member=member,
            series_uid=series_uid,
            study_uid=text_of(dataset, "StudyInstanceUID"),
            modality=text_of(dataset, "Modality"),
            number=first_int(dataset, "SeriesNumber"),
            sop_class=sop_class if problem is None else sop_class or meta_class,
            pixels=pixels,
            frames=frames,
            problem=problem,
        )

    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    implicit, little = dataset.original_encoding
    deflated = syntax == module.uid.DeflatedExplicitVRLittleEndian
    # pydicom read a deflated file into memory of its own: its pixels are there if the header is whole.
    tag, length, offset = (_PIXEL_DATA, _UNDEFINED_LENGTH, None) if deflated else _pixel_element(file, implicit, little)
    if tag in _FLOAT_PIXEL_DATA:
        return NotAnImage(member, kind or "image with floating-point pixels")
    bits = first_int(dataset, "BitsAllocated")
    if tag != _PIXEL_DATA or not rows or not columns or not bits:
        if not known and not rows and sop_class and series_uid:
            return NotAnImage(member, kind)  # a private storage class
        text = f"{member.name}: no pixels in the file: it was cut off or exported without them; copy or export it again"
        if not known and not rows:
            return Broken(member, "truncated_file", text)  # cut so early that nothing says it was an image
        return image(None, (), ("truncated_file", text))
    if syntax and syntax not in module.uid.AllTransferSyntaxes:
        # Reading it as plain little-endian voxels would be a guess.
        return image(
            None,
            (),
            (
                "missing_codec",
                f"{member.name}: unknown transfer syntax {syntax}; export it again "
                "uncompressed (Explicit VR Little Endian)",
            ),
        )
    if bits not in (8, 16, 32) or "ModalityLUTSequence" in dataset:
        what = f"{bits} bits a pixel" if bits not in (8, 16, 32) else "a modality look-up table"
        text = f"{member.name}: images with {what} are not supported; 8, 16 and 32 bits with a linear rescale are"
        return image(None, (), ("unsupported_dicom", text))
    stored = first_int(dataset, "BitsStored") or bits
    high = first_int(dataset, "HighBit")
    photometric = text_of(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    pixels = Pixels(
        rows=rows,
        columns=columns,
        frames=max(1, first_int(dataset, "NumberOfFrames") or 1),
        bits_allocated=bits,
        bits_stored=min(stored, bits),
        high_bit=stored - 1 if high is None else high,
        signed=first_int(dataset, "PixelRepresentation") == 1,
        colour=(first_int(dataset, "SamplesPerPixel") or 1) > 1 or not photometric.startswith("MONOCHROME"),
        inverted=photometric == "MONOCHROME1",
        padding=_padding(dataset, bits),
        transfer_syntax=syntax,
        big_endian=not little,
        # Bytes in a big-endian file are swapped in pairs; pydicom knows how.
        offset=offset if length != _UNDEFINED_LENGTH and not (bits == 8 and not little) else None,
    )
    if pixels.offset is not None and not pixels.colour:
        there, needed = member.size - pixels.offset, pixels.frame_bytes * pixels.frames
        if min(there, length) < needed:
            return image(
                None, (), ("truncated_file", checks.truncated(member.name, min(there, length), needed).message)
            )
    frames = frames_of(dataset, pixels.frames)
    if len(frames) != pixels.frames:
        text = f"{member.name}: {pixels.frames} frames are stated and {len(frames)} described; export the file again"
        return image(None, (), ("corrupt_file", text))
    return image(pixels, frames)


def _padding(dataset: Any, bits: int) -> tuple[int, int] | None:
    """Stored values from PixelPaddingValue to PixelPaddingRangeLimit (DICOM PS3.3, C.7.5.1.1.2), whichever is lower."""
    ends = [first_int(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    # Some write -2000 as the unsigned number of the same bits, or the other way round.
    low = -(2 ** (bits - 1)) if first_int(dataset, "PixelRepresentation") == 1 else 0
    stored = [(end - low) % 2**bits + low for end in ends if end is not None]
    return min(stored), max(stored)


def _pixel_element(file: BinaryIO, implicit: bool, little: bool) -> tuple[tuple[int, int], int, int | None]:
    """Tag, value length and value offset of the element at which pydicom stopped; tag (0, 0) at the end of the file."""
    start = file.tell()
    head = file.read(12)
    if len(head) < 12:
        return (0, 0), 0, None
    order = "<" if little else ">"
    tag: Any = struct.unpack(order + "HH", head[:4])
    if implicit:
        return tag, struct.unpack(order + "I", head[4:8])[0], start + 8
    if head[4:6] in _LONG_VRS:
        return tag, struct.unpack(order + "I", head[8:12])[0], start + 12
    return tag, struct.unpack(order + "H", head[6:8])[0], start + 8
