"""Write a volume as a series of single-frame MR or CT images, for samples and tests: invented patient data only."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.errors import VolumeError
from medattn_core.volumes.dicom.pydicom_door import pydicom, quiet
from medattn_core.volumes.geometry import LPS_TO_RAS
from medattn_core.volumes.volume import Volume

_STORAGE = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_DATE, _TIME = "20000101", "120000"
_TEXT = "Sample derived from a public test volume"


def derived_uid(*words: str) -> str:
    """A UID that depends on the words alone: 2.25 and a name-based UUID (DICOM PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('medattn', *words))).int}"


def write_dicom_series(
    volume: Volume,
    folder: str | Path,
    *,
    seed: str = "sample",
    modality: str = "MR",
    patient_name: str = "Invented^Patient",
    patient_id: str = "MEDATTN-0001",
    description: str = _TEXT,
    series_number: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Writes ``IM0001.dcm``, ``IM0002.dcm`` ... along the third index axis: the same bytes for the same arguments.

    Whole numbers that fit 16 bits are stored as they are; other values with a rescale slope and intercept, to 1/65535
    of their range. A sheared third axis (gantry tilt) is kept.

    Args:
        volume: what to write.
        folder: made whole or not at all.
        seed: all UIDs derive from it.
        modality: ``"MR"`` or ``"CT"``.
        patient_name, patient_id: of an invented patient.
        description: study and series description, at most 64 characters.
        series_number: SeriesNumber.
        overwrite: whether an existing folder may be replaced; it must hold nothing but DICOM files of such a series.

    Returns:
        the files.

    Raises:
        VolumeError: ``bad_argument``, ``non_finite_voxels``, ``unwritable``, ``missing_dependency``.
    """
    if modality not in _STORAGE:
        raise VolumeError("bad_argument", f"modality={modality!r}; {' and '.join(sorted(_STORAGE))} can be written")
    folder = Path(folder)
    lps = LPS_TO_RAS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = lps[:3, :2] / spacing[:2]
    if abs(cosines[:, 0] @ cosines[:, 1]) > 1e-4:
        raise VolumeError("bad_argument", "the first two axes are not at right angles, which DICOM cannot express")
    stored, slope, intercept = _stored(volume)
    common = pydicom().dataset.Dataset()
    _describe(common, seed, modality, series_number, description[:64])
    common.PatientName, common.PatientID = patient_name, patient_id
    _describe_pixels(common, stored)
    # MR images carry a rescale only where it changes something; CT images must (DICOM PS3.3, C.8.2.1).
    if modality == "CT" or (slope, intercept) != (1.0, 0.0):
        common.RescaleIntercept, common.RescaleSlope = _ds(intercept), _ds(slope)
        common.RescaleType = "HU" if modality == "CT" else "US"
    common.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
    common.ImageOrientationPatient = [_ds(value) for value in cosines.T.ravel()]
    distance = abs(float(np.cross(cosines[:, 0], cosines[:, 1]) @ lps[:3, 2]))
    common.SliceThickness = common.SpacingBetweenSlices = _ds(distance)
    _replaceable(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        names = []
        for index in range(volume.shape[2]):
            name = f"IM{index + 1:04d}.dcm"
            _slice(common, stored[:, :, index], lps, index, seed).save_as(part / name, enforce_file_format=True)
            names.append(name)
        part.chmod(0o755)  # mkdtemp makes it private
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [folder / name for name in names]


def _unwritable(folder: Path, error: OSError) -> VolumeError:
    return VolumeError("unwritable", f"{folder}: cannot be written ({error.strerror}); choose another folder")


def _replaceable(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    foreign = not folder.is_dir() or any(not _ours(child) for child in folder.iterdir())
    if foreign or (not overwrite and any(folder.iterdir())):
        raise VolumeError(
            "unwritable",
            f"{folder}: exists already; choose another folder, or overwrite=True for a folder of IM*.dcm files",
        )


def _ours(path: Path) -> bool:
    return path.is_file() and path.name.startswith("IM") and path.suffix == ".dcm"


def _stored(volume: Volume) -> tuple[np.ndarray, float, float]:
    """16-bit whole numbers ``(I, J, K)``, slope and intercept."""
    data = volume.data
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise VolumeError("non_finite_voxels", "NaN or infinite voxels cannot be written as DICOM; replace them first")
    low, high = float(data.min()), float(data.max())
    whole = data.dtype.kind in "iub" or bool((data == np.rint(data)).all())
    for kind in (np.int16, np.uint16):
        if whole and np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return data.astype(kind), 1.0, 0.0
    # As written in the header: sixteen characters, so that reading multiplies with the very same number.
    # A constant has no range to divide: any slope will do.
    slope, intercept = float(_ds((high - low) / 65535 if high > low else 1.0)), float(_ds(low))
    return np.clip(np.rint((data.astype(np.float64) - intercept) / slope), 0, 65535).astype(np.uint16), slope, intercept


def _ds(value: float) -> str:
    """A decimal string of at most sixteen characters (DICOM PS3.5, table 6.2-1), without noise around zero."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(np.round(value, 12)) + 0.0)


def _describe(dataset: Any, seed: str, modality: str, series_number: int, description: str) -> None:
    """What all slices state about the study, the series and the making."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = _STORAGE[modality]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = _TIME
    dataset.AccessionNumber = ""
    dataset.Modality = modality
    dataset.Manufacturer = "MedAttn"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = dataset.SeriesDescription = description
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Patient data are invented"
    dataset.StudyInstanceUID = derived_uid(seed, "study")
    dataset.SeriesInstanceUID = derived_uid(seed, "series", str(series_number))
    dataset.FrameOfReferenceUID = derived_uid(seed, "frame of reference")
    dataset.StudyID = "1"
    dataset.SeriesNumber = series_number
    dataset.AcquisitionNumber = 1
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition = "HFS"
    if modality == "MR":
        dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        dataset.ScanningSequence = "RM"  # research mode: the acquisition is not known
        dataset.SequenceVariant = "NONE"
        dataset.ScanOptions = dataset.MRAcquisitionType = ""
        dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    else:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.KVP = None


def _describe_pixels(dataset: Any, stored: np.ndarray) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Columns, dataset.Rows = stored.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(stored.dtype == np.int16)


def _slice(common: Any, pixels: np.ndarray, lps: np.ndarray, index: int, seed: str) -> Any:
    """The file of one slice. ``pixels`` is (column, row)."""
    module = pydicom()
    with quiet():
        meta = module.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = common.SOPClassUID
        meta.MediaStorageSOPInstanceUID = derived_uid(seed, "series", str(common.SeriesNumber), "image", str(index + 1))
        meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
        # Stated here, or pydicom would write its own, which changes with its version.
        meta.ImplementationClassUID = derived_uid("implementation")
        meta.ImplementationVersionName = "MEDATTN"
        dataset = module.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.update(common)
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [_ds(value) for value in lps[:3, 3] + index * lps[:3, 2]]
        dataset.PixelData = np.ascontiguousarray(pixels.T).astype(pixels.dtype.newbyteorder("<")).tobytes()
        dataset["PixelData"].VR = "OW"
    return dataset
