"""One scan, 256^3 int16 .nii.gz, from file to probability and map on disk: MedAttn and its peers in one run.

    python -m benchmarks.single_scan [--runs 7] [--seed 0] [--peers]

Every side has the same encoder (MONAI's ResNet-18, 96^3) on the same file; sides are run in turn. With ``--peers`` also
TorchIO with pytorch-grad-cam, and Captum's integrated gradients and occlusion on the network input alone (a pass each:
they take long). A peer that is not installed is written as such. The last table is the shipped bundle on a real scan.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, for every side

import numpy as np
import torch

from benchmarks.bench_model import make_bundle, make_scan
from benchmarks.common import machine, markdown_table
from medattn_core.evaluation import speed
from medattn_core.evaluation.speed import AveragePooled, Run, Stages
from medattn_core.inference import Predictor

BRAIN = Path(__file__).resolve().parents[1] / "sample_data" / "brain1_image.nrrd"


def floor(predictor: Predictor, path: Path, folder: Path) -> Run:
    """The parts alone, each by the fastest tool at hand and without any check: SimpleITK around the same network.

    Reading, one linear resampling to the model grid, the network's logits, one linear resampling of a map of cells to
    the grid of the scan, and that map written as 8-bit .nii.gz at the lowest level.

    Only for 3D models of fixed size. The intensities are divided by a constant that suits the made-up scan: less than
    the rule of any bundle costs.
    """
    import SimpleITK as sitk

    task, network = predictor.task, predictor.network
    size = tuple(int(n) for n in task.size or ())
    if len(size) != 3:
        raise ValueError("the floor is measured for 3D models of fixed size")

    def grid_of(scan: sitk.Image, shape: tuple[int, ...]) -> sitk.Image:
        grid = sitk.Image(list(shape), sitk.sitkFloat32)
        extent = [n * s for n, s in zip(scan.GetSize(), scan.GetSpacing(), strict=True)]
        grid.SetSpacing([e / n for e, n in zip(extent, shape, strict=True)])
        grid.SetDirection(scan.GetDirection())
        shift = [(g - s) / 2 for g, s in zip(grid.GetSpacing(), scan.GetSpacing(), strict=True)]
        turn = np.array(scan.GetDirection()).reshape(3, 3)
        grid.SetOrigin([float(o) for o in np.array(scan.GetOrigin()) + turn @ np.array(shift)])
        return grid

    def run() -> dict[str, float]:
        stages = Stages()
        with stages.of("read"):
            scan = sitk.ReadImage(str(path))
        with stages.of("conform"):
            small = sitk.Resample(scan, grid_of(scan, size), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
            image = torch.from_numpy(sitk.GetArrayFromImage(small))[None, None] / 1000
        with stages.of("network"), torch.inference_mode():
            out = network.attend(image.contiguous(memory_format=torch.channels_last_3d))
        with stages.of("map"):
            cells = sitk.GetImageFromArray(out.contributions[0, 0].numpy())
            cells.CopyInformation(grid_of(scan, cells.GetSize()))
            native = sitk.Resample(cells, scan, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        with stages.of("write"):
            packed = sitk.Cast(sitk.RescaleIntensity(native, 0, 255), sitk.sitkUInt8)
            sitk.WriteImage(packed, str(folder / "floor.nii.gz"), True, 1)
        return stages.seconds

    return run


def torchio_gradcam(predictor: Predictor, path: Path, folder: Path) -> Run:
    """TorchIO's preprocessing and inverse around the same encoder, with pytorch-grad-cam, or MONAI's without it."""
    import torchio

    task = predictor.task
    model = AveragePooled(predictor.network.encoder, len(task.labels)).eval()
    heat_of = _pytorch_gradcam(model) if importable("pytorch_grad_cam") else _monai_gradcam(model)
    resample = torchio.Compose([torchio.ToCanonical(), torchio.Resample(task.spacing), torchio.CropOrPad(task.size)])

    def run() -> dict[str, float]:
        stages = Stages()
        with stages.of("read"):
            subject = torchio.Subject(image=torchio.ScalarImage(path))
            subject.load()
        with stages.of("conform"):
            small = resample(subject)
        image = small.image.data[None].float()
        with stages.of("network"), torch.inference_mode():
            label = int(model(image)[0].argmax())
        with stages.of("Grad-CAM"):
            heat = heat_of(image, label)
        with stages.of("map"):
            laid = torchio.ScalarImage(tensor=heat[None].detach(), affine=small.image.affine)
            native = torchio.Resample(subject.image)(laid)
        with stages.of("write"):
            native.save(folder / "torchio.nii.gz")
        return stages.seconds

    return run


def _pytorch_gradcam(model: Any) -> Callable[[torch.Tensor, int], torch.Tensor]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = GradCAM(model=model, target_layers=[model.encoder.stages[-1]])
    return lambda image, label: torch.from_numpy(
        np.asarray(cam(input_tensor=image, targets=[ClassifierOutputTarget(label)])[0])
    )


def _monai_gradcam(model: Any) -> Callable[[torch.Tensor, int], torch.Tensor]:
    from monai.visualize import GradCAM

    cam = GradCAM(nn_module=model, target_layers=f"encoder.stages.{len(model.encoder.stages) - 1}")
    return lambda image, label: cam(image, class_idx=label)[0, 0]


def importable(name: str) -> bool:
    """Whether a package can be imported: some are there but want others that are not."""
    try:
        import_module(name)
    except (ImportError, RuntimeError):
        return False
    return True


def maps_alone(predictor: Predictor, image: torch.Tensor) -> list[list[str]]:
    """Seconds of a map on the network input alone, and passes of the network that it is worth: one run each."""
    model = AveragePooled(predictor.network.encoder, len(predictor.task.labels)).eval()

    def seconds(run: object) -> float:
        start = time.perf_counter()
        run()  # type: ignore[operator]
        return time.perf_counter() - start

    with torch.inference_mode():
        model(image)
        forward = float(np.median([seconds(lambda: model(image)) for _ in range(5)]))
    rows = [["logits alone", f"{forward:.2f}", "1"]]
    if not importable("captum"):
        return [*rows, ["Captum", "not installed", ""]]
    from captum.attr import IntegratedGradients, Occlusion

    ig = seconds(lambda: IntegratedGradients(model).attribute(image, target=0, n_steps=50, internal_batch_size=1))
    rows.append(["Captum integrated gradients, 50 steps", f"{ig:.1f}", f"{ig / forward:.0f}"])
    occlusion = seconds(
        lambda: Occlusion(model).attribute(
            image, target=0, sliding_window_shapes=(1, 24, 24, 24), strides=(1, 24, 24, 24)
        )
    )
    rows.append(["Captum occlusion, 64 blocks of 24^3", f"{occlusion:.1f}", f"{occlusion / forward:.0f}"])
    return rows


def cold_start(runs: int) -> list[float]:
    """Seconds of the whole command on the real scan, the interpreter's start included."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "medattn_core", "predict", str(BRAIN), "--bundle", "brain_tumor_t1ce"]
        for index in range(runs + 1):
            start = time.perf_counter()
            done = subprocess.run([*command, "--output", f"{folder}/{index}"], capture_output=True, check=True)
            assert b"predicted" in done.stderr
            if index:
                found.append(time.perf_counter() - start)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="counted passes of each side, interleaved")
    parser.add_argument("--seed", type=int, default=0, help="of the scan and the weights")
    parser.add_argument("--peers", action="store_true", help="the slow peers too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{machine()}; {torch.get_num_threads()} threads; seed {options.seed}; medians of {options.runs}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, path = make_bundle(folder / "speed", options.seed), make_scan(folder / "scan.nii.gz", options.seed)
        plain = Predictor.from_bundle(bundle, device="cpu")
        auto = Predictor.from_bundle(bundle, device="cpu", runtime="auto")
        sides = {
            "stock MONAI": speed.stock_monai(plain, path, folder),
            "MedAttn, torch": speed.medattn(plain, path, folder),
            f"MedAttn, auto ({auto.runtime})": speed.medattn(auto, path, folder),
            "the floor's parts": floor(plain, path, folder),
        }
        torchio_too = options.peers and importable("torchio")
        if importable("openvino") and auto.runtime != "openvino":
            same = Predictor.from_bundle(bundle, device="cpu", runtime="openvino")
            sides["MedAttn, openvino (float32)"] = speed.medattn(same, path, folder)
        if torchio_too:
            maps = "pytorch-grad-cam" if importable("pytorch_grad_cam") else "MONAI's GradCAM (its own not installed)"
            sides[f"TorchIO, {maps}"] = torchio_gradcam(plain, path, folder)
        timed = speed.interleaved(sides, runs=options.runs)
        rows = speed.rows(timed, "stock MONAI")
        if options.peers and not torchio_too:
            rows.append(["TorchIO, pytorch-grad-cam", "not installed", *[""] * 8])
        print(markdown_table(speed.HEADER, rows))
        low, middle, high = timed["the floor's parts"].ratio(timed["MedAttn, torch"])
        print(f"\nMedAttn (torch) takes {middle:.2f} ({low:.2f} to {high:.2f}) times the floor's parts.\n")
        if options.peers:
            image = torch.from_numpy(speed_input(plain, path))
            print(markdown_table(["map on the network input alone", "s", "passes"], maps_alone(plain, image)), "\n")

        brain = Predictor.from_bundle("brain_tumor_t1ce", device="cpu")
        timed = speed.interleaved({"brain1, shipped bundle": speed.medattn(brain, BRAIN, folder)}, runs=options.runs)
        print(markdown_table(speed.HEADER[:-1], [row[:-1] for row in speed.rows(timed, "brain1, shipped bundle")]))
        low, middle, high = np.quantile(timed["brain1, shipped bundle"].totals, [0.25, 0.5, 0.75])
        print(f"\nbrain1 after loading: {middle:.2f} s ({low:.2f} to {high:.2f})")
    starts = cold_start(5)
    print(f"cold start of the command on brain1: {np.median(starts):.2f} s ({min(starts):.2f} to {max(starts):.2f})")


def speed_input(predictor: Predictor, path: Path) -> np.ndarray:
    """``(1, C, *spatial)``, what the network is given."""
    from medattn_core import volumes
    from medattn_core.transforms.conform import conform

    return conform(volumes.read(path), predictor.task).image[None]


if __name__ == "__main__":
    main()
