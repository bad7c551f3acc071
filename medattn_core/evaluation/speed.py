"""How long one scan takes, from file to probability and map on disk, stage by stage: MedAttn and stock MONAI.

Both sides have the same encoder and network input, read the same file and write a map on its grid. Of an ensemble
MedAttn runs every network and MONAI the first encoder alone: who prints the figures has to say so. They are run in turn
(interleaved), so that whatever else the machine does meets them all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from medattn_core import volumes
from medattn_core.inference import Predictor
from medattn_core.outputs import ResultWriter

Run = Callable[[], Mapping[str, float]]
"""One pass: seconds of each stage, in order."""


class Stages:
    """Seconds of consecutive stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def medattn(predictor: Predictor, path: Path, folder: Path, *, evidence_dtype: str = "int16") -> Run:
    """``medattn predict`` of one file with a loaded model, tables included."""

    def run() -> dict[str, float]:
        stages = Stages()
        prediction = predictor(path)
        stages.seconds.update({name: prediction.timings[name] for name in ("read", "conform", "network")})
        with stages.of("map"):
            prediction.evidence()
        with stages.of("regions"):
            prediction.regions()
        with stages.of("write"), ResultWriter(folder, evidence_dtype=evidence_dtype) as writer:
            writer.add(prediction)
        return stages.seconds

    return run


class AveragePooled(nn.Module):
    """An encoder as others use it: the mean of its last features, one linear layer.

    Args:
        encoder: of an AttentionCNN, shared and not copied.
        labels: number of outputs.
    """

    def __init__(self, encoder: Any, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = nn.Linear(encoder.channels[-1], labels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *spatial)`` to logits ``(B, labels)``."""
        return cast(Tensor, self.linear(self.encoder(x)[-1].flatten(2).mean(dim=2)))


def stock_monai(predictor: Predictor, path: Path, folder: Path) -> Run:
    """MONAI as its tutorials put it together, around the same encoder: of an ensemble the first member's.

    LoadImage, EnsureChannelFirst, Orientation, Spacing, Resize, the encoder with average pooling and a linear layer,
    GradCAM at the encoder's last stage, Invertd, SaveImage. Its map is float32, SaveImage's own way. What is no NIfTI,
    which MONAI reads with further packages only, it is given as NIfTI.
    """
    from monai import transforms as mt
    from monai.data import MetaTensor
    from monai.visualize import GradCAM

    from medattn_core.evaluation.saliency import last_stage

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        volumes.write(volumes.read(path), folder / "input.nii.gz")
        path = folder / "input.nii.gz"
    task = predictor.task
    model = AveragePooled(predictor.network.encoder, len(task.labels)).eval()
    cam = GradCAM(nn_module=model, target_layers=last_stage(predictor.network))  # once: its hooks are never removed
    flat = task.spatial_dims == 2
    spacing = (*task.spacing[:2], -1.0) if flat else task.spacing
    geometry: list[Any] = [mt.Orientationd("image", "RAS"), mt.Spacingd("image", spacing)]
    if task.size is not None:
        geometry.append(mt.Resized("image", (*task.size[:2], -1) if flat else task.size))
    prepare = mt.Compose(geometry)
    load = mt.Compose([mt.LoadImaged("image"), mt.EnsureChannelFirstd("image")])
    save = mt.SaveImage(folder, output_postfix="monai", separate_folder=False, print_log=False, resample=False)
    back = mt.Invertd("cam", prepare, orig_keys="image", nearest_interp=False)

    def run() -> dict[str, float]:
        stages = Stages()
        with stages.of("read"):
            loaded = load({"image": str(path)})
        with stages.of("conform"):
            item = prepare(loaded)
        image = item["image"]
        tensor = image.as_tensor()
        x = tensor.permute(3, 0, 1, 2) if flat else tensor[None]
        with stages.of("network"), torch.inference_mode():
            scores = model(x)
        with stages.of("Grad-CAM"):
            found = cam(x, class_idx=int(scores.mean(dim=0).argmax()))
            heat = found[:, 0].permute(1, 2, 0)[None] if flat else found[0]
        with stages.of("map"):
            heat = MetaTensor(heat, affine=image.affine, applied_operations=image.applied_operations, meta=image.meta)
            native = back({"image": image, "cam": heat})["cam"]
        with stages.of("write"):
            save(native)
        return stages.seconds

    return run


@dataclass
class Timed:
    """Seconds of each pass, by stage; stages of one pass in order."""

    passes: list[dict[str, float]] = field(default_factory=list)

    @property
    def totals(self) -> list[float]:
        """Seconds of each pass."""
        return [sum(one.values()) for one in self.passes]

    @property
    def median(self) -> float:
        """Median seconds of a pass."""
        return statistics.median(self.totals)

    def stage(self, name: str) -> float | None:
        """Median seconds of a stage; None where there is none of that name."""
        found = [one[name] for one in self.passes if name in one]
        return statistics.median(found) if found else None

    def ratio(self, other: Timed) -> tuple[float, float, float]:
        """How many times longer ``other`` took, pass by pass: lower quartile, median, upper quartile."""
        ratios = [theirs / ours for ours, theirs in zip(self.totals, other.totals, strict=True)]
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return low, middle, high


def interleaved(
    sides: Mapping[str, Run], *, runs: int, heard: Callable[[int, int], None] | None = None
) -> dict[str, Timed]:
    """Time every side ``runs`` times, in turn, after one pass of each that is not counted.

    Args:
        sides: by name.
        runs: counted passes of each.
        heard: called with (done, all) after each round.
    """
    timed = {name: Timed() for name in sides}
    for index in range(runs + 1):
        for name, run in sides.items():
            seconds = dict(run())
            if index:
                timed[name].passes.append(seconds)
        if heard is not None:
            heard(index, runs)
    return timed


STAGES = ("read", "conform", "network", "Grad-CAM", "map", "regions", "write")


def rows(timed: Mapping[str, Timed], reference: str) -> list[list[str]]:
    """A table: side, milliseconds of each of :data:`STAGES`, of all, and how many times faster than ``reference``."""
    found = []
    for name, one in timed.items():
        stages = [one.stage(stage) for stage in STAGES]
        low, middle, high = one.ratio(timed[reference])
        found.append(
            [
                name,
                *("" if s is None else f"{1e3 * s:.0f}" for s in stages),
                f"{1e3 * one.median:.0f}",
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
            ]
        )
    return found


HEADER = ["", *STAGES, "all, ms", "times as fast (quartiles)"]


def made_up_scan(seed: int = 0, side: int = 256) -> np.ndarray:
    """``(side, side, side)`` int16 that compresses about as a head scan does: smooth tissue with noise, noisy air."""
    import SimpleITK as sitk

    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.normal(size=(16, 16, 16)).astype(np.float32))
    grid = sitk.Image([side] * 3, sitk.sitkFloat32)
    grid.SetSpacing([15 / (side - 1)] * 3)
    tissue = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline))
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.75**2
    air = np.abs(rng.normal(0, 4, tissue.shape))
    return np.where(inside, 500 + 150 * tissue + rng.normal(0, 8, tissue.shape), air).astype(np.int16)
