"""Small scans and broken ones for the tests of this room."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume, read

AFFINE = np.array([[-0.8, 0, 0, 90.5], [0, 1.5, 0, -60.25], [0, 0, 3.0, 12.0], [0, 0, 0, 1]])
LPS_IDENTITY = np.diag([-1.0, -1.0, 1.0, 1.0])


def voxels(shape: tuple[int, ...] = (7, 6, 5), dtype: str = "int16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 120, shape).astype(dtype)


def volume(shape: tuple[int, int, int] = (7, 6, 5), dtype: str = "int16", affine: np.ndarray = AFFINE) -> Volume:
    return Volume(data=voxels(shape, dtype), affine=affine)


def save_nifti(
    path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, change: Callable[..., None] | None = None
) -> Path:
    """A NIfTI by nibabel; ``change(header)`` has the last word on the header."""
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    if affine is not None:
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
    if change is not None:
        block = image.to_bytes()
        header = nib.Nifti1Header(block[:348], check=False)
        change(header)
        content = header.binaryblock + block[348:]
        path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
    else:
        nib.save(image, path)
    return path


def save_nrrd(path: Path, data: np.ndarray, *fields: str, encoding: str = "raw", payload: bytes | None = None) -> Path:
    """A NRRD written by hand: ``fields`` are lines of its header."""
    names = {
        "int16": "short",
        "uint8": "uchar",
        "float32": "float",
        "float64": "double",
        "int32": "int",
        "int8": "int8",
    }
    lines = [
        "NRRD0005",
        f"type: {names[data.dtype.newbyteorder('=').name]}",
        f"dimension: {data.ndim}",
        f"sizes: {' '.join(map(str, data.shape))}",
        f"endian: {'big' if data.dtype.byteorder == '>' else 'little'}",
        f"encoding: {encoding}",
        *fields,
    ]
    content = data.tobytes(order="F") if payload is None else payload
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + content)
    return path


def save_mha(path: Path, data: np.ndarray, *fields: str, payload: bytes | None = None, where: str = "LOCAL") -> Path:
    """A MetaImage written by hand."""
    lines = [
        "ObjectType = Image",
        f"NDims = {data.ndim}",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {data.dtype.byteorder == '>'}",
        *fields,
        f"DimSize = {' '.join(map(str, data.shape))}",
        f"ElementType = {({'int16': 'MET_SHORT', 'uint8': 'MET_UCHAR'})[data.dtype.newbyteorder('=').name]}",
        f"ElementDataFile = {where}",
    ]
    content = data.tobytes(order="F") if payload is None else payload
    path.write_bytes(("\n".join(lines) + "\n").encode() + (content if where == "LOCAL" else b""))
    return path


def refused(path: str | os.PathLike[str], code: str, *words: str, **options: object) -> str:
    """Reading fails with this code, in one line that names the file, says ``words`` and tells what to do."""
    with pytest.raises(VolumeError) as caught:
        read(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert caught.value.code == code, message
    assert os.fspath(path) in message
    assert "\n" not in message
    assert "Error" not in message, "a message for a person"
    for word in words:
        assert word in message
    return message


def codes(result: Volume) -> list[str]:
    for notice in result.warnings:
        assert os.path.basename(result.source) in notice.message
    return [notice.code for notice in result.warnings]
