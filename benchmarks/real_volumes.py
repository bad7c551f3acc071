"""The shipped bundle on whole volumes: what it says, where it looks, whether the map sums to the logit, how fast.

    python -m benchmarks.real_volumes --bundle brain_tumor_t1ce --shared ../shared/data

Volumes with a tumour mask are scored. `brain1` decided which of two kinds of network is shipped (docs/benchmarks.md),
nothing else was chosen on them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.common import machine, markdown_table
from benchmarks.convert import seg_mask
from medattn_core.inference import Prediction, Predictor
from medattn_core.inference.masks import native_mask
from medattn_core.volumes import read

SAMPLES = Path(__file__).parents[1] / "sample_data"
RUNS = 9


def dilate(mask: np.ndarray, spacing: np.ndarray, mm: float) -> np.ndarray:
    """All voxels within ``mm`` of the mask (Euclidean, in world units)."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing[::-1]])
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(distance) <= mm


def median_ms(action: object, runs: int = RUNS) -> float:
    """Median wall time of a call, milliseconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def volumes(shared: Path | None) -> list[tuple[str, Path, Path | None]]:
    """Name, scan, tumour mask."""
    found: list[tuple[str, Path, Path | None]] = [
        ("brain1 (NRRD)", SAMPLES / "brain1_image.nrrd", SAMPLES / "brain1_label.nrrd"),
        ("brain1 (DICOM)", SAMPLES / "brain1_dicom", SAMPLES / "brain1_label.nrrd"),
        ("brain2 (NRRD)", SAMPLES / "brain2_image.nrrd", SAMPLES / "brain2_label.nrrd"),
    ]
    if shared is not None:
        oblique = next((shared / "oblique_nifti").glob("*T1_AX*.nii.gz"))
        found += [("oblique T1c, NIfTI", oblique, None)]
        found += [("ReMIND, DICOM", next((shared / "remind_dicom_seg").glob("*.zip")), None)]
    return found


def row(name: str, prediction: Prediction, mask: np.ndarray | None) -> list[str]:
    """One line of the first table."""
    evidence = prediction.evidence()
    k = prediction.task.index(prediction.label)
    lost = prediction.bias[k] + evidence.data.sum(dtype=np.float64) - prediction.logits[k]
    share = abs(evidence.residual) / max(float(np.abs(evidence.data).sum(dtype=np.float64)), 1e-12)
    inside, near = "-", "-"
    regions = prediction.regions()
    if mask is not None and regions:
        inside = "yes" if mask[regions[0].voxel_index] else "no"
        positive = np.clip(evidence.data, 0, None)
        around = dilate(mask, prediction.volume.spacing, 5.0)
        near = f"{positive[around].sum() / positive.sum():.2f}"
    probabilities = ", ".join(f"{label} {p:.3f}" for label, p in prediction.probabilities.items())
    where = " ".join(f"{x:.0f}" for x in regions[0].world_position_mm) if regions else "-"
    return [name, probabilities, where, inside, near, f"{abs(lost):.1e}", f"{share:.1e}"]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="brain_tumor_t1ce")
    parser.add_argument("--shared", type=Path, default=None)
    arguments = parser.parse_args()
    start = time.perf_counter()
    predictor = Predictor.from_bundle(arguments.bundle, device="cpu")
    loading = time.perf_counter() - start
    rows, speed = [], []
    for name, path, mask_path in volumes(arguments.shared):
        prediction = predictor(path)
        mask: np.ndarray | None
        if "ReMIND" in name:
            mask = seg_mask(path, prediction.volume)
        else:
            mask = None if mask_path is None else native_mask(read(mask_path), prediction.volume)[0]
        rows.append(row(name, prediction, mask))
        regions = prediction.regions()
        shape = prediction.volume.shape
        question = mask if mask is not None else np.broadcast_to(np.arange(shape[2]) > 5, shape)
        speed.append(
            [
                name,
                " x ".join(map(str, prediction.volume.shape)),
                f"{median_ms(lambda path=path: predictor(path), 3):.0f}",
                f"{median_ms(lambda p=prediction: p.grid.spread(p.contributions(), p.stride)):.0f}",
                f"{median_ms(lambda p=prediction, r=regions: p.without(r[0])):.1f}" if regions else "-",
                f"{median_ms(lambda p=prediction, q=question: p.only(q)):.1f}",
            ]
        )
    print(f"{machine()}; loading the bundle {loading:.2f} s\n")
    header = ["volume", "probabilities", "strongest region, RAS mm", "inside the mask"]
    header += ["evidence within 5 mm of the mask", "sum error", "residual / sum of abs"]
    print(markdown_table(header, rows))
    print()
    header = ["volume", "voxels", "file to prediction, ms", "evidence, ms", "without(region), ms", "only(mask), ms"]
    print(markdown_table(header, speed))


if __name__ == "__main__":
    main()
