"""Changes to real DICOM files for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume
from medattn_core.volumes.dicom import read_dicom

ROWS, COLUMNS = 48, 64


def crop_series(source: Path, target: Path) -> Path:
    """Slices 9 to 16 of the sample, the central 48 rows and 64 columns, at 6.5 mm."""
    target.mkdir()
    for number in range(9, 17):
        dataset = pydicom.dcmread(source / f"IM{number:04d}.dcm")
        pixels = dataset.pixel_array[100 : 100 + ROWS, 90 : 90 + COLUMNS]
        corner = np.array(dataset.ImagePositionPatient, dtype=float)
        orientation = np.array(dataset.ImageOrientationPatient, dtype=float)
        corner += 0.78125 * (90 * orientation[:3] + 100 * orientation[3:])
        dataset.ImagePositionPatient = [round(float(value), 6) for value in corner]
        dataset.Rows, dataset.Columns = ROWS, COLUMNS
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(target / f"IM{number:04d}.dcm")
    return target


def files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, by name."""
    return sorted(folder.glob("*.dcm"))


def edit(path: Path, change: Callable[[Dataset], None] | None = None, **attributes: Any) -> None:
    """Sets attributes of a file (None deletes one), after an optional function on the data set."""
    dataset = pydicom.dcmread(path)
    if change is not None:
        change(dataset)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def edit_all(folder: Path, **attributes: Any) -> None:
    """The same change to every file."""
    for path in files(folder):
        edit(path, **attributes)


def move(path: Path, millimetres: Sequence[float]) -> None:
    """Moves a slice in the world (LPS)."""
    position = pydicom.dcmread(path).ImagePositionPatient
    edit(path, ImagePositionPatient=[float(a) + float(b) for a, b in zip(position, millimetres, strict=True)])


def pixels_of(path: Path) -> np.ndarray:
    """Stored values (column, row), as in a volume."""
    return pydicom.dcmread(path).pixel_array.T


def codes(volume: Volume) -> list[str]:
    """Codes of a volume's warnings."""
    return [notice.code for notice in volume.warnings]


def message(volume: Volume, code: str) -> str:
    """Text of the one warning with a code."""
    (text,) = [notice.message for notice in volume.warnings if notice.code == code]
    return text


def attempt(path: Path, **arguments: Any) -> Volume | VolumeError:
    """What reading gives: a volume, or one of MedAttn's errors. Any other exception is a fault."""
    try:
        return read_dicom(path, **arguments)
    except VolumeError as error:
        return error


def failure(path: Path, **arguments: Any) -> VolumeError:
    """The error that reading gives; its message is one line and names no patient."""
    error = attempt(path, **arguments)
    assert isinstance(error, VolumeError), f"{path} was read without an error"
    assert "\n" not in error.message
    assert "Invented" not in error.message
    return error


def world_value(volume: Volume, world: np.ndarray) -> float:
    """Voxel nearest to a RAS point."""
    index = np.linalg.inv(volume.affine) @ np.append(world, 1)
    i, j, k = np.rint(index[:3]).astype(int)
    return float(volume.data[i, j, k])


def multi_frame(folder: Path, target: Path, order: Sequence[int], groups: bool = True) -> Path:
    """The series as one Enhanced MR file, frames in the given order; without functional groups a legacy multi-frame."""
    single = [pydicom.dcmread(path) for path in files(folder)]
    chosen = [single[index] for index in order]
    dataset = pydicom.dcmread(files(folder)[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(chosen)
    if groups:
        shared = Dataset()
        plane, measures, values = Dataset(), Dataset(), Dataset()
        plane.ImageOrientationPatient = single[0].ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = single[0].PixelSpacing, 6.5
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", "-10", "US"
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
        shared.PixelValueTransformationSequence = [values]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = []
        for source in chosen:
            group, position = Dataset(), Dataset()
            position.ImagePositionPatient = source.ImagePositionPatient
            group.PlanePositionSequence = [position]
            dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.PixelData = b"".join(source.PixelData for source in chosen)
    dataset.save_as(target)
    return target
