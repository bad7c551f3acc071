"""Where a map on the grid of a stranger's network lies on the scan.

MONAI's transforms keep the affine of an image up to date: from it and the affine that was read, each voxel of the scan
has its place in the network's input. Where that is not known no map is shown: one at a wrong place looks as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medattn_core.interop.activation import flat
from medattn_core.volumes import Volume, geometry

_STILL = frozenset(
    [
        "Identity",
        "EnsureChannelFirst",
        "RepeatChannel",
        "RemoveRepeatedChannel",
        "AddCoordinateChannels",
        "SqueezeDim",
        "CastToType",
        "ToTensor",
        "EnsureType",
        "ToNumpy",
        "ToDevice",
        "DataStats",
        "IntensityStats",
        "MapLabelValue",
        "SimulateDelay",
        "CopyItems",
        "ConcatItems",
        "SelectItems",
        "DeleteItems",
    ]
)
"""MONAI's transforms that leave every voxel where it is; of SqueezeDim :func:`_to_image` takes care."""
_PROBES = {2: (515, 518), 3: (67, 68, 70)}


class PlaceError(Exception):
    """Nobody knows where the map lies; its words say why."""


def to_native(
    cam: np.ndarray, image: Tensor, volume: Volume, *, preprocessing: Any = None, key: str = "image"
) -> np.ndarray:
    """A map on the grid of a preprocessed image, on the grid of the scan: linear.

    Args:
        cam: ``(*spatial)`` of the image.
        image: ``(C, *spatial)``, a MetaTensor that MONAI's transforms made.
        volume: the scan.
        preprocessing: what made the image.
        key: of the image in what it made.

    Returns:
        ``(I, J, K)`` float32; zero outside the image.

    Raises:
        PlaceError: it cannot be said where the map lies.
    """
    steps = [one for one in flat(preprocessing) if key in _keys(one, key)]
    for step in steps:
        _check_step(step, image, volume, key)
    source = torch.from_numpy(np.ascontiguousarray(cam, dtype=np.float32))
    if source.dim() == 2:
        source = source[..., None]
    loaded = _loaded_shape(image)
    if loaded is None:
        _check_whole_picture(steps, image, volume)
        stretched = F.interpolate(source[None, None], size=volume.shape, mode="trilinear", align_corners=False)
        return stretched[0, 0].numpy()
    if _sides(loaded) != _sides(volume.shape):
        raise PlaceError(f"its reader finds {loaded} voxels, and the scan has {volume.shape}")
    to_image = _to_image(image, volume, steps)
    size = np.array(source.shape)
    result = np.empty(volume.shape, np.float32)
    j, k = np.meshgrid(np.arange(volume.shape[1]), np.arange(volume.shape[2]), indexing="ij")
    for i in range(volume.shape[0]):  # a slab at a time: the coordinates are three times as large as the scan
        index = np.stack([np.full_like(j, i), j, k, np.ones_like(j)], axis=-1) @ to_image.T
        unit = 2 * (index[..., :3] + 0.5) / size - 1
        at = torch.from_numpy(unit[..., ::-1].astype(np.float32).copy())[None, None]
        found = F.grid_sample(source[None, None], at, align_corners=False, padding_mode="border")[0, 0, 0].numpy()
        result[i] = np.where((np.abs(unit) <= 1 + 1e-6).all(axis=-1), found, 0)
    return result


def _to_image(image: Tensor, volume: Volume, steps: Sequence[Any]) -> np.ndarray:
    """``(4, 4)``: voxel index of the scan to that of the image. Both affines are of one reader, whatever its world."""
    meta: dict[str, Any] = image.meta  # type: ignore[attr-defined]
    read = meta.get("original_affine")
    read = np.eye(4) if read is None else np.asarray(read, np.float64)  # of a picture
    now = np.asarray(image.affine, np.float64)  # type: ignore[attr-defined]
    if read.shape != (4, 4) or now.shape not in ((3, 3), (4, 4)) or getattr(image, "pending_operations", None):
        raise PlaceError("its preprocessing leaves no geometry that can be read")
    flat_image = image.dim() == 3
    if flat_image and 1 not in volume.shape:
        raise PlaceError("its preprocessing makes a picture of a scan of several slices")
    if now.shape == (4, 4):
        if geometry.is_singular(now):
            raise PlaceError("its preprocessing leaves a geometry that cannot be inverted")
        to_image = np.linalg.inv(now) @ read
    else:
        # SqueezeDim took a row and a column of the affine, or lazy resampling the last ones: what is left tells two of
        # the world's three coordinates.
        axes = [int(one.dim) for one in map(_array_of, steps) if _name(one) == "SqueezeDim" and one.dim]
        axis = 2 if not axes else (axes[0] + 4 if axes[0] < 0 else axes[0]) - 1 if len(axes) == 1 else -1
        if not flat_image or axis not in (0, 1, 2):
            raise PlaceError("its preprocessing leaves no geometry that can be read")
        to_image = np.zeros((4, 4))
        if abs(np.linalg.det(now)) > 1e-3:  # below it the rounding of a header in single precision shows
            to_image[[0, 1, 3]] = np.linalg.inv(now) @ read[[row for row in (0, 1, 2, 3) if row != axis]]
        elif _mover(steps) is None:  # the two that are left are none of the slice's, but the picture is the whole slice
            for row, side in enumerate(one for one in range(3) if one != axis):
                to_image[row, side] = image.shape[1 + row] / volume.shape[side]
                to_image[row, 3] = to_image[row, side] / 2 - 0.5
        else:
            raise PlaceError("its preprocessing leaves a geometry that cannot be inverted (SqueezeDim)")
    if flat_image:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1)
        if np.abs(to_image[2, :3] @ corners + to_image[2, 3]).max() > 0.5:
            raise PlaceError("its preprocessing makes a picture that does not lie in the slice")
    return to_image


def _loaded_shape(image: Tensor) -> tuple[int, ...] | None:
    """What MONAI's reader found; None where the preprocessing lost what is known of the image."""
    meta = getattr(image, "meta", None) or {}
    if "spatial_shape" not in meta or not hasattr(image, "affine"):
        return None
    return tuple(int(n) for n in np.asarray(meta["spatial_shape"]).ravel())


def _sides(shape: Sequence[int]) -> list[int]:
    return sorted(n for n in shape if n != 1)


def _keys(step: Any, key: str) -> Sequence[Any]:
    """What a step works on; a step of the bundle's own that does not say it may work on the image."""
    keys = getattr(step, "keys", None)
    return keys if isinstance(keys, (list, tuple)) else (key,)


def _array_of(step: Any) -> Any:
    """The array transform of a dictionary transform."""
    return getattr(step, "converter", None) or getattr(step, "adjuster", None) or step


def _name(step: Any) -> str:
    return type(step).__name__


def _check_whole_picture(steps: Sequence[Any], image: Tensor, volume: Volume) -> None:
    """A picture of which nothing is known but that it was resized as a whole: it covers the scan."""
    if volume.format not in ("png", "jpeg") or image.dim() != 3:
        raise PlaceError("its preprocessing drops the geometry of the scan (such as EnsureTyped with track_meta false)")
    mover = _mover(steps)
    if mover is not None:
        raise PlaceError(f"its preprocessing drops what {mover} did (such as EnsureTyped with track_meta false)")


def _mover(steps: Sequence[Any]) -> str | None:
    """The first step after which the image is not the whole of what was read, side by side; None without one."""
    from monai.transforms.traits import LazyTrait

    for step in steps:
        if any(getattr(reader, "as_closest_canonical", False) for reader in _readers(step)):
            return f"{_name(step)} (as_closest_canonical)"
        if isinstance(step, LazyTrait) and _name(step) not in ("Resize", "Resized"):
            return _name(step)
    return None


def _readers(step: Any) -> Sequence[Any]:
    """Of a LoadImage or LoadImaged."""
    return tuple(getattr(getattr(step, "_loader", step), "readers", ()))


def _check_step(step: Any, image: Tensor, volume: Volume, key: str) -> None:
    """Raise PlaceError where a step may move voxels without MONAI keeping account of it."""
    from monai.transforms.traits import LazyTrait

    home, name = type(step).__module__, _name(step).removesuffix("d")
    if home.startswith("monai.transforms."):
        if name == "LoadImage":
            for reader in _readers(step):
                swaps = getattr(reader, "reverse_indexing", None)
                picture = volume.format in ("png", "jpeg")
                if (_name(reader) == "PILReader" and picture and swaps is False) or (
                    _name(reader) == "ITKReader" and swaps is True
                ):
                    raise PlaceError(f"its {_name(reader)} swaps the axes (reverse_indexing)")
            return
        if name == "SqueezeDim":
            array = _array_of(step)
            if array.dim and not array.update_meta and array.dim not in (-1, 3):
                raise PlaceError("its SqueezeDim keeps no account of the geometry (update_meta false)")
            return
        if isinstance(step, LazyTrait) or name in _STILL or home.startswith("monai.transforms.intensity"):
            return
    if not any(
        _keeps_places(step, key, channels, dims)
        for channels in dict.fromkeys((int(image.shape[0]), 1, 3, 4))
        for dims in ((2, 3) if image.dim() == 3 else (3, 2))
    ):
        raise PlaceError(f"MONAI keeps no account of what its {_name(step)} does to the places of voxels")


def _keeps_places(step: Any, key: str, channels: int, dims: int) -> bool:
    """Whether a made-up image that is changed at one place, comes out changed most at that place."""
    from monai.data import MetaTensor

    size: tuple[int, ...] = _PROBES[dims]
    draw = torch.Generator().manual_seed(0)
    for scale in (1.0, 100.0, 1000.0):  # a window may cut off what is outside of it
        plain = torch.rand((channels, *size), generator=draw) * scale
        seen = 0
        for place in (tuple(n // 4 for n in size), tuple(n * 2 // 3 + 1 for n in size)):
            at: Any = (slice(None), *place)
            plain[at] = 0
            marked = plain.clone()
            marked[at] = scale
            try:
                before, after = (
                    torch.as_tensor(np.asarray(step({key: MetaTensor(one.clone())})[key]), dtype=torch.float32)
                    for one in (plain, marked)
                )
            except Exception:  # a stranger's step may want other channels, or more than an image
                return False
            if tuple(before.shape[1:]) != size or before.shape != after.shape:
                return False
            change = (after - before).abs().amax(dim=0)
            if float(change.max()) > 0:
                seen += 1
                if tuple(int(n) for n in np.unravel_index(int(change.argmax()), size)) != place:
                    return False
        if seen == 2:
            return True
    return False
