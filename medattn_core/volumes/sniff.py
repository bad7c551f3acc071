"""What a file is by its first bytes, and what its name says it is."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

READABLE = {
    "nifti": "NIfTI",
    "nrrd": "NRRD",
    "metaimage": "MetaImage",
    "png": "PNG",
    "jpeg": "JPEG",
    "dicom": "DICOM",
    "zip": "zip archive",
}
"""Formats that are read, with their names for people."""

ACCEPTED = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .png, .jpg, DICOM (file, folder or zip)"

_SUFFIXES = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".ima": "dicom",
    ".zip": "zip",
}
USUAL_SUFFIX = {
    "nifti": ".nii",
    "nrrd": ".nrrd",
    "metaimage": ".mha",
    "png": ".png",
    "jpeg": ".jpg",
    "dicom": ".dcm",
    "zip": ".zip",
}

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"BM", "a BMP picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x89HDF", "an HDF5 or MINC file"),
    (b"CDF", "a netCDF or MINC file"),
    (b"RIFF", "a WebP picture or a sound"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
)


def expected(name: str) -> str:
    """Format the file name promises (key of :data:`READABLE`), or ``""``."""
    lower = name.lower()
    if lower.endswith(".nii.gz"):
        return "nifti"
    return _SUFFIXES.get(Path(lower).suffix, "")


def head(path: Path, count: int = 4096) -> bytes:
    """The first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(count)


def is_gzip(start: bytes) -> bool:
    """Whether the bytes start a gzip stream (RFC 1952)."""
    return start.startswith(b"\x1f\x8b")


def unpacked_head(start: bytes, count: int = 540) -> bytes:
    """The first unpacked bytes of a gzip stream, as far as they are there.

    Raises:
        zlib.error: the stream is damaged from its start.
    """
    return zlib.decompressobj(31).decompress(start, count)


def content(start: bytes) -> str:
    """Format of the content from a file's first bytes (4096 suffice): a key of :data:`READABLE`, or ``""``.

    DICOM is recognised by its preamble only; files without one need the DICOM reader.
    """
    if is_gzip(start):
        try:
            return "nifti" if _is_nifti(unpacked_head(start)) else ""
        except zlib.error:
            return ""
    if _is_nifti(start):
        return "nifti"
    if start[128:132] == b"DICM":
        return "dicom"
    for magic, kind in (
        (b"NRRD000", "nrrd"),
        (b"\x89PNG\r\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"PK\x03\x04", "zip"),
    ):
        if start.startswith(magic):
            return kind
    if re.match(rb"\s*[A-Za-z]+\s*=", start) and re.search(rb"^\s*(NDims|ElementDataFile)\s*=", start, re.MULTILINE):
        return "metaimage"
    return "zip" if start.startswith(b"PK\x05\x06") else ""


def _is_nifti(start: bytes) -> bool:
    for order in "<>":
        size = struct.unpack(order + "i", start[:4])[0] if len(start) >= 4 else 0
        if size == 348:  # a header cut off before its magic is still taken, so that the reader can say so
            return start[344:347] in (b"n+1", b"") or len(start) < 347
        if size == 540:
            return start[4:7] == b"n+2"
    return False


def describe(start: bytes) -> str:
    """What unreadable content looks like, for a person: ``"it looks like ..."``."""
    if is_gzip(start):
        return "it is a gzip archive of something else, or damaged"
    if len(start) >= 348 and struct.unpack("<i", start[:4])[0] == 348:
        return "it is half of a .hdr/.img pair; save the image as a single .nii file"
    if len(start) >= 348 and struct.unpack(">i", start[:4])[0] == 348:
        return "it is half of a .hdr/.img pair; save the image as a single .nii file"
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            return f"it is {what}"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps the login page of a download"
    if text[:5] == b"<?xml":
        return "it is an XML file"
    if start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start[:512]):
        return "it looks like text"
    return "its content is unknown"
