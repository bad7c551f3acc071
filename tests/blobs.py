"""Small 3D data lists of real NIfTI files, and bundles trained on them: what 3D bundles of every kind look like."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SIZE = 24
NETWORK: dict[str, Any] = {"encoder_options": {"widths": [8, 8], "blocks": [1, 1]}, "width": 8}
TRAINING: dict[str, Any] = {
    "epochs": 2, "batch_size": 8, "precision": "fp32", "learning_rate": 5e-3, "ema_decay": 0.9,
}  # fmt: skip


def settings(*, regression: bool) -> dict[str, Any]:
    """Settings of `train` for :func:`write_blobs`."""
    task: dict[str, Any] = {
        "name": "blob_size" if regression else "blobs",
        "spacing": [1.0, 1.0, 1.0],
        "size": [SIZE] * 3,
        "intensity": {"rule": "window", "lower": 0, "upper": 200},
    }
    if regression:
        task |= {"labels": ["size"], "unit": "mm3"}
    return {"task": task, "network": {**NETWORK, **({"null_score": 6.0} if regression else {})}, "training": TRAINING}


def write_blobs(folder: Path, *, regression: bool, count: int = 24) -> Path:
    """CSV of small volumes in various orientations: bright or dark cubes, or cubes of various volume; two folds."""
    rng = np.random.default_rng(1)
    rows = []
    for index in range(count):
        data = rng.integers(80, 120, (SIZE, SIZE, SIZE)).astype(np.int16)
        side = 4 + index % 5 if regression else 8
        corner = rng.integers(2, SIZE - side - 2, 3)
        bright = regression or index % 2 == 1
        data[tuple(slice(c, c + side) for c in corner)] = 190 if bright else 10
        affine = np.diag([-1.0 if index % 3 else 1.0, 1.0, 1.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(data, affine), folder / f"case{index:02d}.nii.gz")
        rows.append(
            [f"case{index:02d}.nii.gz", side**3 if regression else "bright" if bright else "dark", index // 2 % 2]
        )
    path = folder / "list.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "value" if regression else "label", "fold"])
        writer.writerows(rows)
    return path
