"""MS lesions on real FLAIR scans: trained on cubes of one patient, the map of the other patient's whole scan.

    python -m benchmarks.ms_lesions --data ../shared/data/ms_lesions --stroke ../shared/data/stroke_t2

Trained with labels alone (a cube holds a lesion or not) and with the lesion masks as location supervision; and, as the
plain alternative, the same encoder with average pooling and labels alone, whose Grad-CAM is the usual map. The maps of
overlapping cubes (16 mm, step 8) are assembled over the whole test scan and scored against the lesion mask by voxel
AUPRC inside the brain. For the evidence the regions of all cubes are pooled as those of one scan (one softmax over all
of them, whose constant does not matter here); Grad-CAM, MONAI's, of the same network and label, is averaged.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.visualize import GradCAM
from sklearn.metrics import average_precision_score

from benchmarks.common import machine, markdown_table, print_progress, variant_of
from benchmarks.convert import brain_normalised, lesion_patches, ms_scans, stroke_t2
from medattn_core import datalists
from medattn_core.bundles import load, load_network
from medattn_core.evaluation.fidelity import on_model_grid
from medattn_core.evaluation.saliency import LAYER
from medattn_core.networks.attention import Attended
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training import train
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume, read

EDGE, STEP, BATCH = 16, 8, 128
SUPERVISION = ("labels", "masks", "average")
TRAIN_STEP = 4
"""Distance of the cubes that train, voxels; :data:`STEP` is that of the cubes of the map."""

LEAST = 8
"""Lesion voxels of a cube that shows one; cubes with fewer, but some, are left out."""


def assembled(network: AttentionCNN, folder: Path, scan: Volume) -> dict[str, np.ndarray]:
    """Evidence and Grad-CAM of overlapping cubes, on the voxels of the scan (1 mm, R-A-S)."""
    task = load(folder).task
    voxels = brain_normalised(scan.data.astype(np.float32))
    cam = GradCAM(copy.deepcopy(network), target_layers=LAYER, postprocessing=lambda x: x)
    total = {name: np.zeros(scan.shape) for name in ("evidence", "gradcam")}
    count = np.zeros(scan.shape)
    starts = [sorted({*range(0, n - EDGE + 1, STEP), n - EDGE}) for n in scan.shape]
    parts = [
        tuple(slice(c, c + EDGE) for c in corner)
        for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3)
    ]
    parts = [part for part in parts if (voxels[part] > 0).mean() >= 0.02]
    for first in range(0, len(parts), BATCH):
        some = parts[first : first + BATCH]
        conformed = [conform(Volume(data=voxels[part], affine=np.eye(4)), task) for part in some]
        image = torch.from_numpy(np.stack([c.image for c in conformed]))
        with torch.inference_mode():
            out = network.attend(image)
        cells = evidence_of_whole_scan(out)
        with torch.enable_grad():
            maps = np.asarray(cam(x=image.clone().requires_grad_(), class_idx=0).detach())[:, 0]
        for part, own, cell, found in zip(some, conformed, cells, maps, strict=True):
            total["evidence"][part] += on_model_grid(cell, own.grid, network.evidence_stride)
            total["gradcam"][part] += found
            count[part] += 1
    return {name: values / np.maximum(count, 1) for name, values in total.items()}


def evidence_of_whole_scan(out: Attended) -> np.ndarray:
    """Contributions ``(B, *regions)`` as if the regions of all cubes were those of one scan, up to a constant."""
    if not bool(torch.isfinite(out.null_scores).all()):  # average pooling: every region weighs the same already
        return out.contributions[:, 0].double().numpy()
    # Relative to the null token, not to the other regions of the cube.
    return (torch.exp(out.scores - out.null_scores[..., None, None, None]) * out.values)[:, 0].double().numpy()


def auprc(values: np.ndarray, lesion: np.ndarray, brain: np.ndarray) -> float:
    """Area under the precision-recall curve over the voxels of the brain."""
    return float(average_precision_score(lesion[brain], values[brain]))


def canonical(path: Path) -> Volume:
    """A scan with its voxel axes along R, A, S, as a cube is conformed."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return replace(read(path), data=np.asarray(image.dataobj, np.float32), affine=image.affine)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--stroke", type=Path)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--supervision", nargs="+", default=list(SUPERVISION), choices=SUPERVISION)
    parser.add_argument("--work", type=Path, default=Path("runs/ms_lesions"))
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    cubes = lesion_patches(ms_scans(arguments.data), arguments.work / "cubes", size=EDGE, step=TRAIN_STEP, least=LEAST)
    cases = datalists.load(cubes)
    scans = ms_scans(arguments.data)
    rows = []
    for patient in scans:
        other = next(name for name in scans if name != patient)
        for supervision in arguments.supervision:
            for seed in arguments.seeds:
                folder = arguments.work / f"{patient}_{supervision}_{seed}"
                result = folder.with_suffix(".json")
                if not result.exists():
                    own = [c for c in cases if c.patient == patient]
                    settings, own = variant_of(supervision, config, own)
                    listed = arguments.work / f"{patient}_{supervision}.json"
                    datalists.save(own, listed)
                    start = time.time()
                    if not folder.exists():
                        train(listed, folder, config=settings, seed=seed, resume=True, progress=print_progress)
                    network = load_network(load(folder)).eval()
                    found: dict[str, Any] = {"seconds": time.time() - start, "cubes": len(own),
                             "with_lesion": sum(bool(c.labels) for c in own)}  # fmt: skip
                    tests = {other: scans[other]}
                    if arguments.stroke is not None:
                        (stroke,) = datalists.load(stroke_t2(arguments.stroke, arguments.work / "stroke"))
                        assert stroke.mask is not None
                        tests["stroke"] = (stroke.image, stroke.mask)
                    for name, (image, mask) in tests.items():
                        scan, lesion = canonical(image), canonical(mask).data > 0
                        maps = assembled(network, folder, scan)
                        brain = scan.data > 0
                        found[name] = {m: auprc(v, lesion, brain) for m, v in maps.items()}
                        found[name]["chance"] = float(lesion[brain].mean())
                    result.write_text(json.dumps(found))
                found = json.loads(result.read_text())
                print(patient, supervision, seed, found, flush=True)
                for name in (other, "stroke"):
                    if name in found:
                        f = found[name]
                        ratio = f["evidence"] / max(f["gradcam"], 1e-9)
                        numbers = [f"{f[key]:.3f}" for key in ("evidence", "gradcam", "chance")]
                        rows.append(
                            [patient, supervision, str(seed), name, *numbers, f"{ratio:.1f}", f"{found['seconds']:.0f}"]
                        )
    header = ["trained on", "with", "seed", "tested on", "evidence", "Grad-CAM", "chance", "ratio", "seconds"]
    print(f"\n{machine()}\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
