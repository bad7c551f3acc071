"""Make data lists of the labelled sets that the benchmarks use.

    python -m benchmarks.convert NAME --data FOLDER_OF_THE_SET --output FOLDER

NAME: brain_tumor_t1ce, hippocampus, medmnist (any .npz of MedMNIST, 2D or 3D), ms_lesions, remind_dicom_seg, stroke_t2,
tumour_samples.
Each writes `datalist.json` (and image files, where the set has none) that `medattn data check` accepts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core import datalists
from medattn_core.volumes import Volume, read

MEDMNIST_LABELS = {
    "vesselmnist3d": ("vessel", "aneurysm"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "breastmnist": ("malignant", "benign"),
    "pneumoniamnist": ("normal", "pneumonia"),
}
"""Names of the labels 0 and 1, as the data set's own description gives them."""


def medmnist(archive: Path, output: Path) -> dict[str, Path]:
    """One list for each official split (`train.json`, `val.json`, `test.json`), images as PNG or NIfTI.

    The images have no known voxel size; volumes get 1 mm. Axes 0, 1, 2 of a volume become R, A, S.
    """
    import nibabel
    from PIL import Image

    name = archive.stem.split("_")[0]
    names = MEDMNIST_LABELS[name]
    lists: dict[str, Path] = {}
    with np.load(archive) as arrays:
        for split in ("train", "val", "test"):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
            folder = output / split
            folder.mkdir(parents=True, exist_ok=True)
            cases = []
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                path = folder / f"{index:05d}{'.png' if image.ndim == 2 else '.nii.gz'}"
                if not path.exists():
                    if image.ndim == 2:
                        Image.fromarray(image.astype(np.uint8)).save(path)
                    else:
                        nibabel.save(nibabel.Nifti1Image(image.astype(np.uint8), np.eye(4)), path)
                cases.append(datalists.Case(image=path, label=names[int(label)]))
            lists[split] = output / f"{split}.json"
            datalists.save(cases, lists[split])
    return lists


def brain_tumor_t1ce(data: Path, output: Path) -> Path:
    """The set's own `labels.csv`, official folds, with the tumour boxes; images stay where they are."""
    return _save(datalists.load(data / "labels.csv"), output)


def hippocampus(data: Path, output: Path, *, folds: int = 5, seed: int = 0) -> Path:
    """Volume of the hippocampus in mm3 as the value, its mask as the place; random folds, one scan a patient."""
    cases = datalists.load(data / "labels.csv", columns={"value": "volume_mm3"})
    order = np.random.default_rng(seed).permutation(len(cases))
    fold = np.empty(len(cases), int)
    fold[order] = np.arange(len(cases)) % folds
    return _save([replace(case, fold=int(f)) for case, f in zip(cases, fold, strict=True)], output)


def lesion_patches(
    scans: dict[str, tuple[Path, Path]],
    output: Path,
    *,
    size: int = 32,
    step: int = 16,
    least: int = 8,
    label: str = "lesion",
) -> Path:
    """Cubes of a scan, each with or without a lesion: a label for each, and the lesion mask as its place.

    A cube with some lesion voxels, but fewer than ``least``, is left out: whether it "has a lesion" is a matter of
    taste. Cubes that are less than a quarter brain are left out too. Intensities are divided by the mean of the whole
    scan's brain, which a cube by itself does not know. The fold is the number of the scan.

    Args:
        scans: image and lesion mask of each patient.
        output: folder.
        size, step: edge and distance of the cubes, voxels.
        least: lesion voxels of a cube that has the label.
        label: name of the finding.
    """
    import nibabel

    cases = []
    for fold, (patient, (image_path, mask_path)) in enumerate(scans.items()):
        image: Any = nibabel.load(image_path)  # stated as a base class that knows neither voxels nor affine
        mask: Any = nibabel.load(mask_path)
        voxels, lesion = brain_normalised(np.asarray(image.dataobj, np.float32)), np.asarray(mask.dataobj) > 0
        folder = output / f"fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        starts = [range(0, n - size + 1, step) for n in voxels.shape]
        for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
            part = tuple(slice(c, c + size) for c in corner)
            count = int(lesion[part].sum())
            if (voxels[part] > 0).mean() < 0.25 or 0 < count < least:
                continue
            affine = image.affine.copy()
            affine[:3, 3] = (image.affine @ [*corner, 1])[:3]
            name = "_".join(f"{c:03d}" for c in corner)
            path, mask_file = folder / f"{name}.nii.gz", folder / f"{name}_lesion.nii.gz"
            if not path.exists():
                nibabel.save(nibabel.Nifti1Image(voxels[part], affine), path)
                if count:
                    nibabel.save(nibabel.Nifti1Image(lesion[part].astype(np.uint8), affine), mask_file)
            cases.append(
                datalists.Case(
                    image=path,
                    labels=(label,) if count else (),
                    mask=mask_file if count else None,
                    fold=fold,
                    patient=patient,
                )
            )
    return _save(cases, output)


def brain_normalised(voxels: np.ndarray) -> np.ndarray:
    """A brain-extracted scan with the mean of its brain at one."""
    return voxels / float(voxels[voxels > 0].mean())


def ms_scans(data: Path) -> dict[str, tuple[Path, Path]]:
    """FLAIR and lesion mask of both patients."""
    found = {}
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        mask = next(p for p in sorted(folder.iterdir()) if "mask" in p.name.lower() or "lesion" in p.name.lower())
        image = next(p for p in sorted(folder.iterdir()) if "flair" in p.name.lower() and p != mask)
        found[folder.name] = (image, mask)
    return found


def ms_lesions(data: Path, output: Path) -> Path:
    """Cubes of both FLAIR scans."""
    return lesion_patches(ms_scans(data), output)


def stroke_t2(data: Path, output: Path) -> Path:
    """One T2 scan with its lesion mask: a test case."""
    case = datalists.Case(image=data / "T2.nii.gz", labels=("lesion",), mask=data / "lesionT2.nii.gz")
    return _save([case], output)


def tumour_samples(data: Path, output: Path) -> Path:
    """The four tumours with masks, labelled by organ: test cases for reading and overlays."""
    names = ("brain1", "brain2", "breast1", "lung1")
    return _save(
        [
            datalists.Case(image=data / f"{n}_image.nrrd", label=n.rstrip("0123456789"), mask=data / f"{n}_label.nrrd")
            for n in names
        ],
        output,
    )


def remind_dicom_seg(data: Path, output: Path) -> Path:
    """One DICOM series in its archive, the glioma of its DICOM SEG as a mask file: a test case."""
    import nibabel

    archive = next(data.glob("*.zip"))
    scan = read(archive, modality=("MR",))
    output.mkdir(parents=True, exist_ok=True)
    mask = output / "glioma.nii.gz"
    nibabel.save(nibabel.Nifti1Image(seg_mask(archive, scan).astype(np.uint8), scan.affine), mask)
    return _save([datalists.Case(image=archive, label="glioma", mask=mask)], output)


def seg_mask(archive: Path, scan: Volume) -> np.ndarray:
    """What the DICOM SEG in an archive marks, on the voxels of a scan: frames placed by their own positions."""
    import pydicom

    mask = np.zeros(scan.shape, bool)
    to_index = np.linalg.inv(scan.affine)
    with zipfile.ZipFile(archive) as zipped, tempfile.TemporaryDirectory() as folder:
        zipped.extractall(folder)
        for path in Path(folder).rglob("*"):
            if not path.is_file():
                continue
            dataset = pydicom.dcmread(path, force=True)
            if dataset.get("Modality") != "SEG":
                continue
            shared = dataset.SharedFunctionalGroupsSequence[0]
            row_mm, column_mm = (float(s) for s in shared.PixelMeasuresSequence[0].PixelSpacing)
            for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
                group = frame if "PlaneOrientationSequence" in frame else shared
                axes = np.array(group.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
                corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
                for row, column in np.argwhere(pixels > 0):
                    lps = corner + axes[0] * column * column_mm + axes[1] * row * row_mm
                    index = np.rint(to_index @ np.array([-lps[0], -lps[1], lps[2], 1.0]))[:3].astype(int)
                    mask[tuple(index)] = True
    return mask


def _save(cases: list[datalists.Case], output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    path = output / "datalist.json"
    datalists.save(cases, path)
    return path


CONVERTERS = {
    f.__name__: f for f in (brain_tumor_t1ce, hippocampus, ms_lesions, remind_dicom_seg, stroke_t2, tumour_samples)
}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*CONVERTERS, "medmnist"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the set; for medmnist the .npz file")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.name == "medmnist":
        written: object = {k: os.fspath(v) for k, v in medmnist(arguments.data, arguments.output).items()}
    else:
        written = os.fspath(CONVERTERS[arguments.name](arguments.data, arguments.output))
    print(json.dumps(written))


if __name__ == "__main__":
    main()
