"""A DICOM series to a Volume: choose, stack, place, decode, and say what was odd."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import checks
from medattn_core.volumes.dicom import geometry
from medattn_core.volumes.dicom.duplicates import one_image_a_position
from medattn_core.volumes.dicom.pixels import values
from medattn_core.volumes.dicom.scan import scan
from medattn_core.volumes.dicom.select import choose
from medattn_core.volumes.dicom.stack import Slice, one_stack
from medattn_core.volumes.dicom.wording import LISTED, listed
from medattn_core.volumes.volume import Series, Volume


def list_series(path: str | Path) -> list[Series]:
    """All image series behind a DICOM file, folder, zip archive or DICOMDIR, the deepest volume first.

    Raises:
        VolumeError: as :func:`medattn_core.volumes.dicom.scan.scan`.
    """
    with ExitStack() as keep:
        return [found.identity for found in scan(Path(path), keep).series]


def read_dicom(path: str | Path, *, series: str | None = None, modality: tuple[str, ...] = ()) -> Volume:
    """Reads one series.

    Array index order is (column, row, slice), slices along row x column. Geometry comes from positions and orientations
    alone; values are rescaled; tilted stacks keep their sheared affine; missing and irregular slices are interpolated
    onto a regular grid, so that every voxel is where the scanner put it.

    Args:
        path: a DICOM file, a folder (searched to its leaves), a zip archive or a DICOMDIR.
        series: SeriesInstanceUID to read; by default the one with most slices of ``modality``.
        modality: accepted DICOM modalities; empty for any.

    Raises:
        VolumeError: with a code and the name of the file or folder, for everything that cannot be read rightly.
    """
    with ExitStack() as keep:
        return _read(Path(path), series, modality, keep)


def _read(path: Path, series: str | None, modality: tuple[str, ...], keep: ExitStack) -> Volume:
    found = scan(path, keep)
    chosen, notices = choose(found, uid=series, modality=modality)
    slices, left_out = one_stack(chosen.files, path)
    notices = [*found.notices, *notices, *left_out]

    data, affine, used, known = _arrange(slices, path, notices)
    data, replaced = checks.check_values(data, str(path))
    notices += replaced
    unclassed = sum(not item.sop_class for item in {slice_.file.member: slice_.file for slice_ in used}.values())
    if unclassed:
        text = f"{path}: {unclassed} files without SOPClassUID were taken as images"
        notices.append(Notice("no_sop_class", text))
    if used[0].pixels.frames > 1:
        text = (
            f"{used[0].file.member.name}: the volume comes from one multi-frame file of {used[0].pixels.frames} frames"
        )
        notices.append(Notice("multi_frame", text))
    flat = used[0].frame.position is None or used[0].frame.orientation is None
    if not flat and data.shape[2] == 1:
        text = f"{path}: a single slice; nothing is known above or below it (give the folder to read the whole series)"
        notices.append(Notice("one_slice", text))
    return Volume(
        data=data,
        affine=affine,
        spatial_dims=2 if flat else 3,
        spacing_known=known,
        source=str(path),
        format="dicom",
        modality=chosen.identity.modality,
        series=chosen.identity,
        warnings=tuple(notices),
    )


def _arrange(
    slices: list[Slice], path: Path, notices: list[Notice]
) -> tuple[np.ndarray, np.ndarray, list[Slice], bool]:
    """Voxels (I, J, K), affine, the slices used, and whether the pixel size is known. Adds to ``notices``."""
    first = slices[0]
    if first.frame.position is None or first.frame.orientation is None:
        return _unplaced(slices, notices)
    if first.frame.spacing is None:
        raise VolumeError(
            "incomplete_geometry",
            f"{first.name}: {_no_spacing(first)}, so the slices have a place but no size; export the series again",
        )
    plane = geometry.plane(first.frame.orientation, first.frame.spacing)
    if plane is None:
        raise VolumeError(
            "incomplete_geometry",
            f"{first.name}: ImageOrientationPatient {list(first.frame.orientation)} is not two unit vectors at a right "
            "angle; export the series again",
        )
    positions = np.array([item.frame.position for item in slices])
    keep, duplicate = one_image_a_position(slices, positions @ plane.normal, path, values)
    notices += duplicate
    used = [slices[index] for index in keep]
    positions = positions[keep]
    rest = geometry.without_strays(positions, plane.normal, min(plane.spacing))
    if len(used[rest]) < len(used):
        notices.append(_stray_notice(used, positions @ plane.normal, rest, path))
        used, positions = used[rest], positions[rest]
    if len(used) == 1:
        depth = used[0].frame.thickness or 1.0
        affine = geometry.affine(plane, positions[0], plane.normal * depth)
        return _volume_order(values(used)), affine, used, True

    grid = geometry.fill_grid(positions, plane.normal, min(plane.spacing))
    _refuse(grid, path)
    voxels = values(used)
    if grid.kind != "regular":
        voxels = _interpolate(voxels, grid)
        notices.append(_gap_notice(grid, path))
    tilt = geometry.tilt_degrees(grid.step, plane.normal, len(grid.below))
    if tilt:
        text = f"{path}: gantry tilt of {tilt:.1f} degrees; the slices were kept as they are, in sheared geometry"
        notices.append(Notice("gantry_tilt", text))
    return _volume_order(voxels), geometry.affine(plane, grid.origin, grid.step), used, True


def _unplaced(slices: list[Slice], notices: list[Notice]) -> tuple[np.ndarray, np.ndarray, list[Slice], bool]:
    """A single image without a place in space, such as a radiograph."""
    first = slices[0]
    if len(slices) > 1:
        raise VolumeError(
            "incomplete_geometry",
            f"{first.name}: {len(slices)} slices without ImagePositionPatient or ImageOrientationPatient; they cannot "
            "be placed in space: export the series again, or give one image by itself",
        )
    spacing = first.frame.spacing
    text = f"{first.name}: the image states no place in space; read as a flat picture"
    if first.frame.detector_spacing:
        text += ", its pixel size being that at the detector"
    notices.append(Notice("no_geometry", text))
    if spacing is None:
        text = f"{first.name}: {_no_spacing(first)}; the model's field of view is assumed"
        if first.frame.aspect is not None:
            high, wide = first.frame.aspect
            text += f", with pixels {high / wide:.3g} times as high as wide (PixelAspectRatio)"
        notices.append(Notice("unknown_spacing", text))
    high, wide = first.frame.aspect or (1.0, 1.0)
    rows, columns = spacing or (high / wide, 1.0)
    affine = np.diag([-columns, -rows, 1.0, 1.0])
    return _volume_order(values(slices)), affine, slices, spacing is not None


def _no_spacing(item: Slice) -> str:
    if item.frame.unusable_spacing:
        return "its PixelSpacing cannot be used (two positive numbers with a decimal point are needed)"
    return "no PixelSpacing"


def _volume_order(voxels: np.ndarray) -> np.ndarray:
    """(slice, row, column) as (column, row, slice), without a copy."""
    return voxels.transpose(2, 1, 0)


def _refuse(grid: geometry.Grid, path: Path) -> None:
    if grid.kind == "crooked":
        raise VolumeError(
            "inconsistent_slices",
            f"{path}: the slices do not lie along one straight line, so they form no volume; give one straight stack",
        )
    if grid.kind == "apart":
        raise VolumeError(
            "inconsistent_slices",
            f"{path}: {len(grid.gaps) + 1} slices with gaps of up to {grid.gaps.max():.4g} mm (smallest "
            f"{grid.gaps.min():.4g} mm): more slices are missing than are there; export the whole series, or one "
            "of its stacks",
        )


def _interpolate(voxels: np.ndarray, grid: geometry.Grid) -> np.ndarray:
    """Slices on the grid, linear between neighbours; whole numbers stay whole numbers."""
    out = np.empty((len(grid.below), *voxels.shape[1:]), dtype=voxels.dtype)
    for slice_, below, weight in zip(out, grid.below, grid.weight, strict=True):
        if weight == 0:
            slice_[...] = voxels[below]
            continue
        mixed = voxels[below] * np.float32(1 - weight) + voxels[below + 1] * np.float32(weight)
        slice_[...] = np.rint(mixed) if voxels.dtype.kind in "iu" else mixed
    return out


def _gap_notice(grid: geometry.Grid, path: Path) -> Notice:
    low, high = grid.gaps.min(), grid.gaps.max()
    if grid.kind == "irregular":
        text = (
            f"{path}: slice distances vary from {low:.4g} to {high:.4g} mm; interpolated linearly to "
            f"{len(grid.below)} slices at the median distance"
        )
        unseen, places = geometry.unseen(grid)
        if unseen:
            text += (
                f"; {unseen} of them lie in wide gaps ({_where(grid, places)} mm from the first slice), so nothing in "
                "them was seen by the scanner"
            )
        return Notice("irregular_gaps", text)
    missing = len(grid.below) - len(grid.gaps) - 1
    where = _where(grid, np.flatnonzero(grid.gaps > geometry.WIDE * low))
    text = (
        f"{path}: {missing} slices are missing (between {where} mm from the first slice); they were interpolated "
        "from their neighbours, so nothing in them was seen by the scanner"
    )
    return Notice("missing_slices", text)


def _where(grid: geometry.Grid, wide: np.ndarray) -> str:
    """Where the first few of some gaps begin and end, mm from the first slice."""
    ends = np.concatenate([[0.0], np.cumsum(grid.gaps)])
    where = ", ".join(f"{ends[index]:.4g} to {ends[index + 1]:.4g}" for index in wide[:LISTED])
    return where + (f" and {len(wide) - LISTED} more gaps" if len(wide) > LISTED else "")


def _stray_notice(slices: list[Slice], along: np.ndarray, rest: slice, path: Path) -> Notice:
    """What to tell about slices, ascending along the normal at ``along`` mm, of which some are no part of the rest."""
    ends = [(place, beside) for place, beside in ((0, rest.start), (len(slices) - 1, rest.stop - 1)) if place != beside]
    far = " and ".join(f"{abs(along[place] - along[beside]):.4g} mm" for place, beside in ends)
    names = listed([slices[place].name for place, _ in ends])
    what = "a slice by itself, which lies" if len(ends) == 1 else "single slices, which lie"
    text = f"{path}: {what} {far} from the other {rest.stop - rest.start}, left out ({names})"
    return Notice("inconsistent_slices", text)
