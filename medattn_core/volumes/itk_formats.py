"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd): geometry through SimpleITK, voxels counted and checked by us.

SimpleITK turns every variant of the headers into one LPS geometry, but returns made-up voxels for damaged
compressed files and refuses images with dependent axes without saying so clearly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks, payload, space
from medattn_core.volumes.geometry import LPS_TO_RAS
from medattn_core.volumes.headers import StoredVoxels, parse_metaimage, parse_nrrd
from medattn_core.volumes.volume import Volume


def read_nrrd(path: Path, name: str, *, allow_constant: bool = False) -> Volume:
    """Read a .nrrd or .nhdr file; errors as :func:`medattn_core.volumes.read`."""
    return _read(path, name, parse_nrrd, "nrrd", "NrrdImageIO", allow_constant)


def read_metaimage(path: Path, name: str, *, allow_constant: bool = False) -> Volume:
    """Read a .mha or .mhd file; errors as :func:`medattn_core.volumes.read`."""
    return _read(path, name, parse_metaimage, "metaimage", "MetaImageIO", allow_constant)


def _read(
    path: Path, name: str, parse: Callable[[Path, str], StoredVoxels], kind: str, reader: str, allow_constant: bool
) -> Volume:
    stored = parse(path, name)
    shape, spatial_dims, notices = checks.check_shape(stored.sizes, name)
    affine = _affine(path, name, reader, stored)
    notices += stored.notices + _geometry_notices(stored, name)
    notices += checks.check_affine(affine, name)
    voxels = _voxels(stored, shape, name)
    voxels, colour_notices = checks.grey_from_channels(voxels, name, alpha=stored.colour)
    voxels, value_notices = checks.check_values(voxels, name, allow_constant=allow_constant)
    return Volume(
        data=voxels,
        affine=affine,
        spatial_dims=spatial_dims,
        spacing_known=stored.spaced,
        source=name,
        format=kind,
        warnings=(*notices, *colour_notices, *value_notices),
    )


def _affine(path: Path, name: str, reader_name: str, stored: StoredVoxels) -> np.ndarray:
    """Voxel index to RAS mm, ``(4, 4)``, from SimpleITK's LPS origin, spacing and direction."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        # Nothing of the exception's text: it may quote the header, and its class is always RuntimeError.
        raise checks.corrupt(name, "the geometry or another field of its header is not understood") from error
    if tuple(reader.GetSize())[:3] != stored.sizes[:3]:
        raise checks.corrupt(name, f"its header can be read as {reader.GetSize()} or as {stored.sizes}")
    dims = int(reader.GetDimension())
    kept = min(dims, 3)
    direction = np.reshape(reader.GetDirection(), (dims, dims))
    lps = np.eye(4)
    spacing = np.asarray(reader.GetSpacing())
    # A zero axis has no direction (NaN): keep it zero, so that the message can say which.
    lps[:kept, :kept] = np.where(spacing == 0, 0.0, direction * spacing)[:kept, :kept]
    lps[:kept, 3] = reader.GetOrigin()[:kept]
    if stored.las is not None:
        lps = space.sides_of_las(lps, stored.las)
    lps[:3] *= np.array(stored.to_lps)[:, np.newaxis]
    if kept < 3:
        lps[2, 2] = 1.0  # what is assumed where nothing is stated is in millimetres already
    return np.asarray(LPS_TO_RAS @ lps) + 0.0  # no negative zeros


def _geometry_notices(stored: StoredVoxels, name: str) -> tuple[Notice, ...]:
    if stored.placed:
        return ()
    size = "" if stored.spaced else " and no voxel size (1 mm is assumed)"
    text = f"{name}: the header states no anatomical orientation{size}; LPS is assumed, left and right may be swapped"
    return (Notice("no_geometry", text),)


def _voxels(stored: StoredVoxels, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """``(I, J, K, channels)`` in the machine's byte order."""
    count = math.prod(shape) * stored.channels
    size = count * stored.dtype.itemsize
    if stored.encoding == "ascii":
        return _ascii(stored, shape, count, name)
    start = stored.start
    if start < 0:
        start = max(0, stored.file.stat().st_size - size)
    if stored.encoding == "raw":
        data = payload.read_plain(stored.file, start, shape, size, name)
    elif stored.encoding == "gzip":
        data = payload.read_gzip(stored.file, start, stored.skip, shape, size, name, lines=stored.lines)
    else:
        data = payload.read_stream(stored.file, start, shape, size, stored.encoding, name, skip=stored.skip)
    voxels = data.view(stored.dtype)
    if not voxels.dtype.isnative:
        voxels = voxels.byteswap().view(voxels.dtype.newbyteorder("="))
    voxels = voxels.view(voxels.dtype.newbyteorder("="))
    return np.moveaxis(voxels.reshape((stored.channels, *shape), order="F"), 0, -1)


def _ascii(stored: StoredVoxels, shape: tuple[int, int, int], count: int, name: str) -> np.ndarray:
    held = max(0, stored.file.stat().st_size - max(stored.start, 0))
    checks.check_promise(name, shape, 2 * count - 1, held, extra=count * stored.dtype.itemsize)
    with open(stored.file, "rb") as file:
        file.seek(max(stored.start, 0))
        words = file.read().split()
    if len(words) < count:
        raise VolumeError(
            "truncated_file",
            f"{name}: the file is cut off: {len(words):,} of {count:,} values are there; copy it again",
        )
    try:
        values = np.array(words[:count], dtype=np.float64).astype(stored.dtype.newbyteorder("="))
    except ValueError as error:
        raise checks.corrupt(name, "its values are not numbers") from error
    return np.moveaxis(values.reshape((stored.channels, *shape), order="F"), 0, -1)
