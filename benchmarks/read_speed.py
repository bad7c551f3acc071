"""Reading a 256^3 int16 .nii.gz: MedAttn against SimpleITK alone, in turn, in one process.

    python benchmarks/read_speed.py [--runs 11] [--seed 0]

Prints a markdown table: medians, their ratio to SimpleITK, and the spread (quartiles) of each. The scan is made
up: smooth tissue with noise inside a ball, air with faint noise or exact zeros around it, as scanners and skull
strippers leave it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from medattn_core.volumes import Volume, read, write

SIDE = 256
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def scan(seed: int, stripped: bool) -> np.ndarray:
    """``(256, 256, 256)`` int16 that compresses about as a head scan does."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(16, 16, 16)).astype(np.float32)
    image = SimpleITK.GetImageFromArray(coarse)
    grid = SimpleITK.Image([SIDE] * 3, SimpleITK.sitkFloat32)
    grid.SetSpacing([15 / (SIDE - 1)] * 3)
    tissue = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkBSpline))
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.75**2
    air = 0 if stripped else np.abs(rng.normal(0, 4, tissue.shape))
    return np.where(inside, 500 + 150 * tissue + rng.normal(0, 8, tissue.shape), air).astype(np.int16)


def by_simpleitk(path: Path) -> object:
    """The bar: SimpleITK's own image, no copy to numpy, no check."""
    return SimpleITK.ReadImage(str(path))


def by_simpleitk_to_numpy(path: Path) -> object:
    """SimpleITK and its voxels as an array."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def by_nibabel(path: Path) -> object:
    """Nibabel and its voxels as an array."""
    return np.asanyarray(nib.Nifti1Image.from_filename(path).dataobj)


READERS: dict[str, Callable[[Path], object]] = {
    "SimpleITK": by_simpleitk,
    "SimpleITK to numpy": by_simpleitk_to_numpy,
    "MedAttn": read,
    "nibabel": by_nibabel,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11, help="timed runs of each reader, interleaved")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(f"SimpleITK {SimpleITK.Version_VersionString()}, nibabel {nib.__version__}, seed {options.seed}\n")
    print("| file | reader | median ms | quartiles ms | of SimpleITK |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, stripped in (("noisy air", False), ("skull stripped", True)):
            path = Path(folder) / "scan.nii.gz"
            volume = Volume(data=scan(options.seed, stripped), affine=AFFINE)
            write(volume, path)
            assert np.array_equal(read(path).data, volume.data)
            times: dict[str, list[float]] = {reader: [] for reader in READERS}
            for run in range(options.runs + 1):
                for reader, function in READERS.items():
                    start = time.perf_counter()
                    result = function(path)
                    if run:  # the first warms the file cache and the imports
                        times[reader].append(1e3 * (time.perf_counter() - start))
                    del result
            bar = statistics.median(times["SimpleITK"])
            size = f"{name}, {path.stat().st_size / 2**20:.0f} MiB"
            for reader, taken in times.items():
                low, median, high = statistics.quantiles(taken, n=4)
                print(f"| {size} | {reader} | {median:.0f} | {low:.0f} to {high:.0f} | {median / bar:.2f} |")


if __name__ == "__main__":
    main()
