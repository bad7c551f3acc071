"""A tiny data list of real image files: bright or dark squares, with boxes and folds; settings that learn them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SETTINGS: dict[str, Any] = {
    "task": {
        "name": "squares", "activation": "sigmoid", "slicewise": True, "spacing": [1.0, 1.0], "field_of_view": 64.0,
        "size": [64, 64], "intensity": {"rule": "window", "lower": 0, "upper": 255},
    },
    "network": {"encoder_options": {"widths": [8, 16, 16, 16], "blocks": [1, 1, 1, 1]}, "width": 16},
    "training": {"epochs": 2, "batch_size": 8, "precision": "fp32"},
}  # fmt: skip


def write_squares(tmp_path: Path) -> Path:
    """CSV of 32 PNG files, two classes, two folds."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(32):
        image = rng.integers(60, 100, (64, 64)).astype(np.uint8)
        x, y = (int(v) for v in rng.integers(4, 40, 2))
        image[y : y + 16, x : x + 16] = 230 if index % 2 else 10
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"{index}.png"))
        rows.append([f"{index}.png", "bright" if index % 2 else "dark", index // 16, x, y, 16, 16])
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "fold", "box_x_px", "box_y_px", "box_width_px", "box_height_px"])
        writer.writerows(rows)
    return path


def write_list(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    """A data list with the columns of the rows."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
