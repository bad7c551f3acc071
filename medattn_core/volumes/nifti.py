"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz): header through nibabel, voxels in one go.

Geometry follows the standard (nifti1.h): the sform where its code is positive, else the qform, else no geometry.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks, payload, sniff
from medattn_core.volumes.geometry import corner_distance, is_singular, spacing
from medattn_core.volumes.volume import Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: metre, millimetre, micrometre


def read_nifti(path: Path, name: str, *, allow_constant: bool = False) -> Volume:
    """Read a .nii or .nii.gz file.

    Args:
        path: the file.
        name: how messages call it.
        allow_constant: accept an image of one value (a mask).

    Raises:
        VolumeError: see :mod:`medattn_core.volumes.checks`; also ``unsupported_storage`` for complex voxels.
    """
    start = sniff.head(path, 1 << 16)
    packed = sniff.is_gzip(start)
    header = _header(sniff.unpacked_head(start) if packed else start[:540], name)
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise checks.corrupt(name, f"its header states {count} dimensions")
    stated = [int(n) for n in header["dim"][1 : count + 1]]
    shape, spatial_dims, notices = checks.check_shape(stated, name)
    dtype = _dtype(header, name)
    scale = _scaling(header, name)
    affine, known, geometry_notices = _geometry(header, shape, name)
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"])
    skip = int(offset) if math.isfinite(offset) and offset >= least else least + 4

    size = math.prod(shape) * dtype.itemsize
    # float32 holds the scaled values of 8 and 16 bit integers; wider ones keep their digits in float64
    wide = np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)
    extra = math.prod(shape) * wide.itemsize if scale else 0
    if packed:
        data = payload.read_gzip(path, 0, skip, shape, size, name, extra=extra)
    else:
        data = payload.read_plain(path, skip, shape, size, name, extra=extra)
    voxels = data.view(dtype).reshape(shape, order="F")
    voxels, colour_notices = _plain_numbers(voxels, name)
    if scale:
        with np.errstate(all="ignore"):
            voxels = voxels.astype(wide, order="K")
            voxels *= wide.type(scale[0])
            voxels += wide.type(scale[1])
    voxels, value_notices = checks.check_values(voxels, name, allow_constant=allow_constant)
    return Volume(
        data=voxels,
        affine=affine,
        spatial_dims=spatial_dims,
        spacing_known=known,
        source=name,
        format="nifti",
        warnings=(*_name_notice(name, packed), *notices, *geometry_notices, *colour_notices, *value_notices),
    )


def _name_notice(name: str, packed: bool) -> tuple[Notice, ...]:
    lower = name.lower()
    if packed and lower.endswith(".nii"):
        return (Notice("wrong_extension", f"{name}: compressed although named .nii; read as .nii.gz, rename it"),)
    if not packed and lower.endswith(".nii.gz"):
        return (Notice("wrong_extension", f"{name}: not compressed although named .nii.gz; read as .nii, rename it"),)
    return ()


def _header(block: bytes, name: str) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    order = "<" if len(block) >= 4 and struct.unpack("<i", block[:4])[0] in (348, 540) else ">"
    kind = Nifti2Header if len(block) >= 4 and struct.unpack(order + "i", block[:4])[0] == 540 else Nifti1Header
    need = kind.sizeof_hdr
    if len(block) < need:
        raise VolumeError(
            "truncated_file",
            f"{name}: the file is cut off within its header ({len(block)} of {need} bytes); copy or download it again",
        )
    # Without nibabel's own checks: they log to stderr and repair what should be reported.
    header = kind(block[:need], endianness=order, check=False)
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard: zero counts as one
    return header


def _dtype(header: Nifti1Header, name: str) -> np.dtype:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        code = int(header["datatype"])
        raise VolumeError(
            "unsupported_storage", f"{name}: unknown voxel type (datatype {code}); save as 16-bit or float"
        ) from None
    if dtype.kind == "c":
        raise VolumeError(
            "unsupported_storage",
            f"{name}: complex voxels (magnitude and phase in one); save the magnitude image alone",
        )
    if int(header["datatype"]) == 1:
        raise VolumeError(
            "unsupported_storage", f"{name}: voxels of one bit each (datatype 1, binary); save as 8-bit integers"
        )
    if dtype.itemsize == 0 or dtype.kind not in "biufV":
        raise VolumeError("unsupported_storage", f"{name}: voxels of type {dtype}; save as 16-bit integers or float")
    return dtype


def _plain_numbers(voxels: np.ndarray, name: str) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Grey voxels in the machine's byte order."""
    if voxels.dtype.names:
        channels = np.stack([voxels[field] for field in voxels.dtype.names], axis=-1)
        return checks.grey_from_channels(channels, name)
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 8:
        return voxels.astype(np.float64), ()
    if not voxels.dtype.isnative:
        return voxels.byteswap().view(voxels.dtype.newbyteorder("=")), ()
    return voxels, ()


def _scaling(header: Nifti1Header, name: str) -> tuple[float, float] | None:
    """Slope and intercept, None where they change nothing (nifti1.h: a slope of zero means no scaling)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or (slope, intercept) == (1.0, 0.0):
        return None
    if not math.isfinite(intercept):
        raise checks.corrupt(name, f"its scaling is {slope:g} x value + {intercept:g}")
    return slope, intercept


def _geometry(header: Any, shape: tuple[int, int, int], name: str) -> tuple[np.ndarray, bool, tuple[Notice, ...]]:
    """Affine to RAS mm, whether voxel sizes are known, notices."""
    unit = _UNIT_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    zooms = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * unit
    if int(header["dim"][0]) < 3 and not zooms[2] > 0:
        zooms[2] = 1.0
        header["pixdim"][3] = 1.0
    sform = _millimetres(header.get_sform(), unit) if header["sform_code"] > 0 else None
    qform = _qform(header, unit, name, needed=sform is None) if header["qform_code"] > 0 else None
    if sform is None and qform is None:
        return _no_geometry(zooms, name)
    affine = sform if sform is not None else qform
    assert affine is not None
    if sform is not None and is_singular(sform) and qform is not None and not is_singular(qform):
        raise VolumeError(
            "singular_affine",
            f"{name}: the sform of the header cannot be used (voxel size {spacing(sform).tolist()}), the qform could: "
            "set sform_code to 0 if the qform is right, or export the scan again",
        )
    notices = checks.check_affine(affine, name)
    if sform is not None and qform is not None:
        notices += _disagreement(sform, qform, shape, name)
    return affine, True, notices


def _millimetres(affine: np.ndarray, unit: float) -> np.ndarray:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= unit
    return scaled


def _qform(header: Any, unit: float, name: str, *, needed: bool) -> np.ndarray | None:
    from nibabel.spatialimages import HeaderDataError

    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    try:
        return _millimetres(header.get_qform(), unit)
    except (HeaderDataError, ValueError) as error:
        if not needed:
            return None
        raise VolumeError(
            "singular_affine", f"{name}: the rotation in the header (qform) is impossible; export the scan again"
        ) from error


def _no_geometry(zooms: np.ndarray, name: str) -> tuple[np.ndarray, bool, tuple[Notice, ...]]:
    known = bool(np.isfinite(zooms).all() and (zooms > 1e-6).all())
    if not known:
        zooms = np.ones(3)
    # As ITK and 3D Slicer place such a file: index axes run to L, P, S from the origin.
    affine = np.diag([-zooms[0], -zooms[1], zooms[2], 1.0])
    size = " x ".join(f"{z:g}" for z in zooms) + " mm"
    text = f"{name}: the header states no orientation; left and right may be swapped, voxel size {size}"
    text += "" if known else " is assumed"
    return affine, known, (Notice("no_geometry", text),)


def _disagreement(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, int, int], name: str) -> tuple[Notice, ...]:
    distance = corner_distance(sform, qform, shape)
    if distance <= max(0.1, 0.1 * float(spacing(sform).min())):
        return ()
    text = (
        f"{name}: the two geometries of the header (sform, qform) lie up to {distance:.1f} mm apart; the sform was used"
    )
    return (Notice("sform_qform_differ", text),)
