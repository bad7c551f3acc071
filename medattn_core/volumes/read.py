"""Read any supported input into a :class:`Volume`: by content first, then by name."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medattn_core.errors import VolumeError
from medattn_core.volumes import checks, sniff
from medattn_core.volumes.volume import Series, Volume


def read(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    modality: tuple[str, ...] = (),
    allow_constant: bool = False,
) -> Volume:
    """Read a scan.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .png, .jpg, a DICOM file, or a folder or .zip that holds a DICOM
            series (searched through all its folders) or exactly one image of another format.
        series: SeriesInstanceUID to take from DICOM; None takes the series with most slices.
        modality: accepted DICOM modalities, such as ``("MR",)``; empty accepts all. Other formats state none and pass.
        allow_constant: accept an image whose voxels all have one value (a mask). Not for DICOM.

    Returns:
        Voxels ``(I, J, K)`` with their affine to RAS mm, and what was odd about them in ``warnings``.

    Raises:
        VolumeError: with a code of :data:`medattn_core.errors.CODES`; the message names the file and what to do.
    """
    source = os.fspath(path)
    if not source:  # to Python it is the current folder
        raise VolumeError("bad_argument", "the path of an image is empty (an unset variable?); give a file or folder")
    place = Path(source)
    try:
        is_folder = place.is_dir()
    except OSError as error:
        raise checks.unreadable(source, error) from error
    except ValueError:
        is_folder = False  # an embedded null character; check_file says so
    try:
        if is_folder:
            volume = _read_folder(place, source, series, modality, allow_constant)
        else:
            volume = _read_file(place, source, series, modality, allow_constant)
        return replace(volume, source=source)  # as typed, whichever file inside it was read
    except OSError as error:
        raise checks.unreadable(source, error) from error
    except MemoryError as error:
        raise VolumeError(
            "oversized_header", f"{source}: not enough memory to read it; crop or downsample it"
        ) from error


def list_series(path: str | os.PathLike[str]) -> list[Series]:
    """The DICOM image series of a file, folder or zip archive, most slices first."""
    from medattn_core.volumes import dicom

    return dicom.list_series(Path(path))


def identify(path: Path, name: str) -> str:
    """Format of a file: a key of :data:`medattn_core.volumes.sniff.READABLE`.

    Raises:
        VolumeError: ``not_an_image``, ``wrong_extension``, ``truncated_file``, ``corrupt_file``; and of ``check_file``.
    """
    checks.check_file(path, name)
    start = sniff.head(path)
    kind, promised = sniff.content(start), sniff.expected(path.name)
    if not kind and promised in ("", "dicom"):
        from medattn_core.volumes import dicom

        kind = "dicom" if dicom.looks_like_dicom(path) else ""
    if not kind:
        raise _unrecognised(start, promised, name)
    if promised and kind != promised:
        now, said = sniff.READABLE[kind], sniff.READABLE[promised]
        raise VolumeError(
            "wrong_extension",
            f"{name}: named as {said}, but the content is {now}; check that it is the scan you mean, then rename it "
            f"to end in {sniff.USUAL_SUFFIX[kind]}",
        )
    return kind


def _unrecognised(start: bytes, promised: str, name: str) -> VolumeError:
    if promised == "nifti" and sniff.is_gzip(start):
        try:
            inside = sniff.unpacked_head(start)
        except zlib.error:
            return checks.corrupt(name, "its compression is broken from the start")
        if len(inside) < 348:
            return VolumeError(
                "truncated_file", f"{name}: the file is cut off within its header; copy or download it again"
            )
    stated = f"not a {sniff.READABLE[promised]} file" if promised else "not an image that can be read"
    return VolumeError("not_an_image", f"{name}: {stated}, {sniff.describe(start)}; accepted are {sniff.ACCEPTED}")


def _read_file(path: Path, name: str, series: str | None, modality: tuple[str, ...], allow_constant: bool) -> Volume:
    kind = identify(path, name)
    if kind == "dicom":
        from medattn_core.volumes import dicom

        return dicom.read_dicom(path, series=series, modality=modality)
    if kind == "zip":
        from medattn_core.volumes import containers

        with containers.opened_zip(path, name) as (image, entry):
            if image is None:
                from medattn_core.volumes import dicom

                return dicom.read_dicom(path, series=series, modality=modality)
            return _read_file(image, entry, series, modality, allow_constant)
    if series is not None:
        raise VolumeError(
            "no_such_series",
            f"{name}: a {sniff.READABLE[kind]} file holds no DICOM series; leave the series out for it",
        )
    return _reader(kind)(path, name, allow_constant=allow_constant)


def _reader(kind: str) -> Callable[..., Volume]:
    if kind == "nifti":
        from medattn_core.volumes.nifti import read_nifti

        return read_nifti
    if kind in ("nrrd", "metaimage"):
        from medattn_core.volumes import itk_formats

        return itk_formats.read_nrrd if kind == "nrrd" else itk_formats.read_metaimage
    from medattn_core.volumes import images

    return images.read_png if kind == "png" else images.read_jpeg


def _read_folder(path: Path, name: str, series: str | None, modality: tuple[str, ...], allow_constant: bool) -> Volume:
    from medattn_core.volumes import containers

    image, inside = containers.only_image(path, name)
    if image is None:
        from medattn_core.volumes import dicom

        return dicom.read_dicom(path, series=series, modality=modality)
    return _read_file(image, inside, series, modality, allow_constant)
