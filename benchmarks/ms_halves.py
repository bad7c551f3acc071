"""Settings for MS lesions, chosen inside one patient: trained on one side of the head, scored on the other.

    python -m benchmarks.ms_halves --data ../shared/data/ms_lesions --set '{"training": {"epochs": 5}}'

With two patients, each of which is the other's test, this is where `ms_lesions` can be changed without looking at a
test. Cubes that reach over the middle train nothing; scored are the voxels at least one cube's edge from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.common import machine, markdown_table, merged, print_progress, variant_of
from benchmarks.convert import lesion_patches, ms_scans
from benchmarks.ms_lesions import EDGE, LEAST, SUPERVISION, TRAIN_STEP, assembled, auprc, canonical
from medattn_core import datalists
from medattn_core.bundles import load, load_network
from medattn_core.training import train


def side_of(case: datalists.Case, middle: float) -> int:
    """-1 or 1 where a cube lies left or right of a plane ``R = middle`` in mm; 0 where it reaches over it."""
    image: Any = nibabel.load(case.image)  # stated as a base class that knows neither shape nor affine
    ends = [float((image.affine @ [*corner, 1])[0]) for corner in ([0, 0, 0], [n - 1 for n in image.shape])]
    return -1 if max(ends) < middle else 1 if min(ends) > middle else 0


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--patients", nargs="+", help="all by default")
    parser.add_argument("--supervision", nargs="+", default=list(SUPERVISION), choices=SUPERVISION)
    parser.add_argument("--sides", nargs="+", default=["left", "right"], choices=["left", "right"], help="that train")
    parser.add_argument("--step", type=int, default=TRAIN_STEP, help="distance of the cubes that train, voxels")
    parser.add_argument("--least", type=int, default=LEAST, help="lesion voxels of a cube that shows one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", default="{}", help="JSON merged into the configuration")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("ms_lesions.json"))
    parser.add_argument("--work", type=Path, default=Path("runs/ms_halves"), help="another for each trial")
    arguments = parser.parse_args()
    config = merged(json.loads(arguments.config.read_text()), arguments.set)
    scans = ms_scans(arguments.data)
    folder = arguments.work / f"cubes{arguments.step}_{arguments.least}"
    cubes = lesion_patches(scans, folder, size=EDGE, step=arguments.step, least=arguments.least)
    cases = datalists.load(cubes)
    rows = []
    for patient in arguments.patients or scans:
        scan, lesion = (canonical(path) for path in scans[patient])
        brain = scan.data > 0
        place = np.arange(scan.shape[0]) * scan.affine[0, 0] + scan.affine[0, 3]
        middle = float((place[:, None, None] * brain).sum() / brain.sum())
        own = [(case, side_of(case, middle)) for case in cases if case.patient == patient]
        for supervision in arguments.supervision:
            for name in arguments.sides:
                side = -1 if name == "left" else 1
                chosen = [case for case, lies in own if lies == side]
                settings, chosen = variant_of(supervision, config, chosen)
                folder = arguments.work / f"{patient}_{supervision}_{name}"
                listed = folder.with_name(f"{folder.name}_list.json")
                datalists.save(chosen, listed)
                start = time.time()
                if not folder.exists():
                    train(listed, folder, config=settings, seed=arguments.seed, resume=True, progress=print_progress)
                maps = assembled(load_network(load(folder)).eval(), folder, scan)
                tested = brain & (side * (place - middle) < -EDGE)[:, None, None]
                found = {kind: auprc(values, lesion.data > 0, tested) for kind, values in maps.items()}
                found["intensity"] = auprc(scan.data, lesion.data > 0, tested)
                found["chance"] = float((lesion.data[tested] > 0).mean())
                numbers = [f"{found[kind]:.3f}" for kind in ("evidence", "gradcam", "intensity", "chance")]
                rows.append([patient, supervision, name, *numbers])
                print(rows[-1], f"{time.time() - start:.0f} s", flush=True)
    header = ["patient", "with", "trained on", "evidence", "Grad-CAM", "the intensity itself", "chance"]
    print(f"\n{arguments.set}; {machine()}\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
