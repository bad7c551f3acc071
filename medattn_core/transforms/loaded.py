"""Voxels that a reader of MONAI, or a caller, has loaded already, as a Volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume
from medattn_core.volumes.checks import grey_from_channels

_PICTURES = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "BMP": "memory"}
"""Formats as MONAI's reader of pictures (Pillow) names them, and as they are called here."""


def loaded_volume(value: np.ndarray | torch.Tensor, *, spatial_dims: int = 3) -> Volume:
    """A Volume of an array, a tensor, or a MetaTensor with its affine to RAS.

    Args:
        value: ``(I, J, K)`` or ``(1, I, J, K)``; with ``spatial_dims=2`` also a picture, ``(W, H)`` or ``(1, W, H)``:
            columns first, as MONAI's readers lay one. Of a MetaTensor of a picture file the channels may be three or
            four of one grey, and may come last, as they do without ``EnsureChannelFirst``.
        spatial_dims: 2 or 3, of the task. For 3 any three axes are a volume's.

    Returns:
        The voxels in the type they have, bfloat16 as float32. A picture has a pixel size only where its affine states
        one: the unit matrix of MONAI's reader of pictures is none, whatever was resized since.

    Raises:
        VolumeError: ``bad_argument``, ``too_many_dimensions``, ``colour_image``, ``unsupported_storage``: a picture of
            a palette, whose values are no grey.
    """
    meta: dict[Any, Any] = dict(getattr(value, "meta", None) or {})
    affine = getattr(value, "affine", None)
    known = affine is not None and np.asarray(affine).shape == (4, 4)
    matrix = np.asarray(affine, np.float64) if known else np.eye(4)
    source = meta.get("filename_or_obj")
    source = source if isinstance(source, str) else ""
    data = _voxels(value, source or "the volume")
    if spatial_dims == 2 and _is_flat(data, meta):
        return _picture(data, matrix, meta, source)
    while data.ndim > 3 and data.shape[0] == 1:
        data = data[0]
    flat = data.ndim == 2
    return Volume(
        data=data[..., None] if flat else data,
        affine=matrix,
        spatial_dims=2 if flat else 3,
        spacing_known=known,
        source=source,
    )


def _voxels(value: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """An array of the same voxels; of a tensor on another device, in a graph or of a type that NumPy lacks as well."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if value.layout != torch.strided or value.is_quantized:
        raise VolumeError(
            "unsupported_storage", f"{name}: a sparse or quantised tensor; give plain voxels (to_dense, dequantize)"
        )
    # A MetaTensor would carry its own tracking through every step.
    tensor = value.detach().cpu().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def _stated(meta: dict[Any, Any]) -> tuple[int, ...] | None:
    """Size of the image that a reader of MONAI loaded, without channels; None where none says it."""
    shape = meta.get("spatial_shape")
    return None if shape is None else tuple(int(n) for n in np.asarray(shape).ravel())


def _is_flat(data: np.ndarray, meta: dict[Any, Any]) -> bool:
    """Whether it is a picture: three axes may be a channel and a picture, or a volume of a single sagittal slice."""
    stated = _stated(meta)
    if data.ndim == 2 or (stated is not None and len(stated) == 2):
        return True
    return data.ndim == 3 and data.shape[0] == 1 and stated != data.shape


def _picture(data: np.ndarray, affine: np.ndarray, meta: dict[Any, Any], source: str) -> Volume:
    name = source or "the volume"
    kind = _PICTURES.get(str(meta.get("format")))
    if kind and meta.get("mode") == "P":
        raise VolumeError(
            "unsupported_storage",
            f"{name}: a picture of a palette, loaded as numbers of colours; give its path, or save it as grey",
        )
    while data.ndim > 2 and 1 in (data.shape[0], data.shape[-1]):
        data = data[0] if data.shape[0] == 1 else data[..., 0]
    if data.ndim == 3:
        data = np.moveaxis(data, 0, -1) if data.shape[0] <= 4 < data.shape[-1] else data
        if kind and data.dtype.kind == "f" and ((data == np.rint(data)) & (data >= 0) & (data <= 255)).all():
            data = data.astype(np.uint8)  # as the file has it: JPEG rounds its colours to such levels
        data, notices = grey_from_channels(data, name)
    elif data.ndim == 2:
        notices = ()
    else:
        raise VolumeError(
            "too_many_dimensions", f"{name}: a picture of shape {data.shape}; (W, H) or (1, W, H) is needed"
        )
    # As readers write it where a file says nothing; a slice of a scan has a place, or an orientation.
    unit = np.array_equal(np.abs(affine), np.eye(4))
    nifti = "pixdim" in meta
    # Of pictures NIfTI alone can say how they lie, and a slice that was cut of a volume has lost which axis was cut.
    placed = nifti and (meta.get("sform_code", 0) > 0 or meta.get("qform_code", 0) > 0)
    return Volume(
        data=data[..., None],
        affine=affine,
        spatial_dims=2,
        spacing_known=kind is None and (nifti or not unit),
        source=source,
        format=kind or ("nifti" if placed and len(_stated(meta) or ()) == 2 else "memory"),
        warnings=notices,
    )
