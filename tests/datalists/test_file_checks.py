"""`medattn data check` says what the readers notice, one line a code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from medattn_core import datalists
from tests.volumes.making import save_nifti, voxels


def checked(folder: Path, *rows: dict[str, Any]) -> datalists.Checked:
    path = folder / "list.json"
    path.write_text(json.dumps([{"label": "ab"[i % 2], **row} for i, row in enumerate(rows)]))
    found = datalists.check(path)
    assert not found.errors
    return found


def coded(found: datalists.Checked, *codes: str) -> list[str]:
    return [line for line in map(str, found.warnings) if line.split("]")[0][1:] in codes]


def two_series(source: Path, target: Path, *, study: str = "") -> str:
    """Part of a series, and three of its slices as another one of the patient or of another."""
    target.mkdir()
    files = sorted(source.glob("*.dcm"))[:8]
    for number, file in enumerate(files):
        shutil.copy(file, target)
        if number < 3:
            dataset = pydicom.dcmread(file)
            dataset.SeriesInstanceUID = "1.2.3.4"
            dataset.StudyInstanceUID = study or dataset.StudyInstanceUID
            dataset.PatientName = "Doe^John"
            dataset.save_as(target / f"other_{file.name}")
    return target.name


def test_folders_of_several_series_are_told(tmp_path: Path, sample_data: Path) -> None:
    source = sample_data / "brain1_dicom"
    names = [two_series(source, tmp_path / "one"), two_series(source, tmp_path / "two", study="1.2.9")]
    found = checked(tmp_path, *({"image": name} for name in names))
    studies, series = coded(found, "other_studies", "other_series")
    assert studies.startswith(f"[other_studies] 1 image, the first {tmp_path / 'two'}: 2 studies, maybe of as many")
    assert series.startswith(f"[other_series] 2 images, the first {tmp_path / 'one'}: 2 series; read ")
    assert series.endswith("a label is of one: in a list, name a folder that holds it alone")
    assert "Doe" not in " ".join(map(str, found.warnings))


def test_missing_slices_are_told(tmp_path: Path, sample_data: Path) -> None:
    for name in ("whole", "gap"):
        (tmp_path / name).mkdir()
    files = sorted((sample_data / "brain1_dicom").glob("*.dcm"))[:10]
    for file in files:
        shutil.copy(file, tmp_path / "whole")
        if file is not files[4]:
            shutil.copy(file, tmp_path / "gap")
    (line,) = coded(checked(tmp_path, {"image": "whole"}, {"image": "gap"}), "missing_slices")
    assert line.startswith(f"[missing_slices] 1 image, the first {tmp_path / 'gap'}: ")
    assert "1 slices are missing" in line


def test_values_and_geometry_of_files_are_told(tmp_path: Path) -> None:
    data = voxels((16, 16, 16), "float32")
    holes = data.copy()
    holes[3, 3, 3] = np.nan
    save_nifti(tmp_path / "holes.nii.gz", holes)
    save_nifti(tmp_path / "apart.nii.gz", data + 1, change=lambda header: header.__setitem__("qoffset_x", 90))
    save_nifti(tmp_path / "bare.nii.gz", data + 2, None, change=lambda header: None)
    mask = (data > data.mean()).astype(np.uint8)
    save_nifti(tmp_path / "mask.nii.gz", mask, None, change=lambda header: None)
    rows = [{"image": f"{name}.nii.gz"} for name in ("holes", "apart", "bare")]
    found = checked(tmp_path, *rows[:2], rows[2] | {"mask": "mask.nii.gz"})
    for code, name in (("non_finite_replaced", "holes"), ("sform_qform_differ", "apart")):
        (line,) = coded(found, code)
        assert line.startswith(f"[{code}] 1 image, the first {tmp_path / name}.nii.gz: ")
        assert line.count(f"{name}.nii.gz") == 1
    (line,) = coded(found, "no_geometry")
    assert line.startswith(f"[no_geometry] 1 image and 1 mask, the first {tmp_path / 'bare.nii.gz'}: the header states")


def test_pictures_have_no_geometry_to_miss(tmp_path: Path, sample_data: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.jpg"):
        sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (16, 16)).astype(np.uint8)), str(tmp_path / name))
    flat = pydicom.dcmread(min((sample_data / "brain1_dicom").glob("*.dcm")))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(flat, keyword)
    flat.save_as(tmp_path / "d.dcm")
    found = checked(tmp_path, *({"image": name} for name in ("a.png", "b.png", "c.jpg", "d.dcm")))
    assert {notice.code for notice in found.warnings} == {"few_cases", "no_patient"}


def test_a_mask_beside_a_box_is_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = np.zeros((16, 16), np.uint8)
    drawn[4:9, 4:9] = 255
    sitk.WriteImage(sitk.GetImageFromArray(drawn), str(tmp_path / "m.png"))
    for name in "abc":
        picture = sitk.GetImageFromArray(rng.integers(0, 255, (16, 16)).astype(np.uint8))
        sitk.WriteImage(picture, str(tmp_path / f"{name}.png"))
    both = {"mask": "m.png", "box": [1, 1, 4, 4]}
    rows = [{"image": "a.png", **both}, {"image": "b.png", **both}, {"image": "c.png", "box": [1, 1, 4, 4]}]
    assert coded(checked(tmp_path, *rows), "mask_and_box") == [
        "[mask_and_box] 2 cases have both a mask and a box: the mask is used"
    ]
    assert not coded(checked(tmp_path, rows[2]), "mask_and_box")
