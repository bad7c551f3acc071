"""Volume of the hippocampus by regression, 5-fold: error, and where the evidence lies.

    python -m benchmarks.hippocampus --data ../shared/data/hippocampus

Every measure is taken through Predictor on the NIfTI files, with the evidence in their own voxels: the error and R2
of the predicted volume, how far the evidence is from summing to it, and the share of the absolute evidence inside the
mask dilated by 3 mm. Finished folds are kept in --work and not trained again. With --ship the networks of the folds
become the shipped bundle, an ensemble whose interval comes from the held-out scans.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import chain
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.metrics import r2_score

from benchmarks.common import machine, markdown_table, merged, print_progress
from benchmarks.convert import hippocampus
from medattn_core import datalists
from medattn_core.bundles import Recipe, load, load_network, model_card, save_bundle
from medattn_core.inference import Predictor
from medattn_core.networks.receptive_field import receptive_field
from medattn_core.training import train
from medattn_core.training.calibration import fit_conformal_value
from medattn_core.training.data import prepare
from medattn_core.training.reliability import learn_input_check

MARGIN_MM = 3.0
SHIPPED = Path(__file__).parents[1] / "medattn_core" / "bundles" / "shipped" / "hippocampus_volume"

DATA_LICENSE = """\
Trained on: Medical Segmentation Decathlon, Task04 Hippocampus (260 of the 263 labelled scans), Antonelli et al., Nature
Communications 13:4128 (2022), arXiv 1902.09063; CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).
T1 MRI of adults from Vanderbilt University Medical Center. The images are not part of this bundle.
"""

LIMITS = """\
- It takes a **crop of about 35 x 50 x 35 mm around one hippocampus**, as in the training data, not a whole head.
- T1 MRI of adults from one centre at 1 mm. Other sequences, ages, field strengths and lesions are not measured.
- It predicts the volume of a manual outline of head and body together; other protocols give other volumes."""


def measure(predictor: Predictor, cases: list[datalists.Case]) -> dict[str, list[float]]:
    """Of each case: truth, prediction, sum of bias and evidence, share of |evidence| within 3 mm of the mask."""
    found: dict[str, list[float]] = {"truth": [], "value": [], "sum": [], "inside": []}
    for case in cases:
        prediction = predictor(case.image)
        evidence = prediction.evidence(predictor.task.labels[0])
        mask = datalists.location_of(case, evidence)
        assert mask is not None
        assert case.value is not None
        near = ndimage.distance_transform_edt(mask < 0.5, sampling=evidence.spacing) <= MARGIN_MM
        amount = np.abs(evidence.data.astype(np.float64))
        found["truth"].append(case.value)
        found["value"].append(float(prediction.logits[0]))
        found["sum"].append(float(prediction.head.bias[0]) + float(evidence.data.sum(dtype=np.float64)))
        found["inside"].append(float(amount[near].sum() / max(amount.sum(), 1e-12)))
    return found


def summary(found: dict[str, list[float]]) -> dict[str, float]:
    """Mean absolute error, R2, worst gap between evidence and value, share of the evidence near the mask."""
    truth, value = np.array(found["truth"]), np.array(found["value"])
    return {
        "mae": float(np.abs(value - truth).mean()),
        "r2": float(r2_score(truth, value)),
        "gap": float(np.abs(np.array(found["sum"]) - value).max()),
        "inside": float(np.mean(found["inside"])),
    }


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("hippocampus.json"))
    parser.add_argument("--set", default="{}", help="JSON merged into the configuration, for trials")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/hippocampus"))
    parser.add_argument("--ship", type=Path, nargs="?", const=SHIPPED, help="write the ensemble there")
    arguments = parser.parse_args()
    config = merged(json.loads(arguments.config.read_text()), arguments.set)
    data = hippocampus(arguments.data, arguments.work)
    cases = datalists.load(data)
    rows, measured = [], []
    for fold in arguments.folds:
        folder = arguments.work / f"seed{arguments.seed}_fold{fold}"
        result = folder.with_suffix(".json")
        if not result.exists():
            start = time.time()
            if not folder.exists():
                train(data, folder, config=config, seed=arguments.seed, validation_fold=fold, resume=True,
                      progress=print_progress)  # fmt: skip
            found = measure(Predictor.from_bundle(folder), [case for case in cases if case.fold == fold])
            result.write_text(json.dumps({**found, "seconds": [time.time() - start]}))
        measured.append(json.loads(result.read_text()))
        numbers = summary(measured[-1])
        rows.append([str(fold), str(len(measured[-1]["truth"])), *[f"{v:.4g}" for v in numbers.values()]])
        print(rows[-1], f"{measured[-1]['seconds'][0]:.0f} s", flush=True)
    together = summary(
        {k: list(chain.from_iterable(m[k] for m in measured)) for k in ("truth", "value", "sum", "inside")}
    )
    rows.append(["all", "", *[f"{v:.4g}" for v in together.values()]])
    if arguments.ship is not None:
        _ship(arguments, config, [arguments.work / f"seed{arguments.seed}_fold{f}" for f in arguments.folds], together)
    header = ["fold", "scans", "MAE, mm3", "R2", "largest gap of the sum, mm3", "share of |evidence| within 3 mm"]
    print(f"\nSeed {arguments.seed}; {machine()}\n\n{markdown_table(header, rows)}")


def _ship(arguments: argparse.Namespace, config: dict, folders: list[Path], metrics: dict[str, float]) -> None:
    """The networks of the folds as one bundle; what it knows of itself is from the scans each had not seen."""
    bundles = [load(folder) for folder in folders]
    networks = [load_network(bundle) for bundle in bundles]
    found = [json.loads(folder.with_suffix(".json").read_text()) for folder in folders]
    residuals = np.concatenate([np.array(f["value"]) - np.array(f["truth"]) for f in found])
    cases = datalists.load(arguments.work / "datalist.json")
    task = bundles[0].task
    assert task.size is not None
    prepared = prepare(cases, task, task.size)
    held_out = prepared.folds == arguments.folds[0]
    minutes = sum(f["seconds"][0] for f in found) / 60
    description = "Volume of the hippocampus on a T1 crop around it, with the evidence in mm3: it sums to the volume"
    card = model_card(
        name=SHIPPED.name, task=task, network=bundles[0].network, description=f"{description}.", version="1.1.1",
        metrics={name: round(value, 4) for name, value in metrics.items() if name != "gap"},
        parameters=sum(p.numel() for p in networks[0].parameters()),
        receptive_field=receptive_field(networks[0]),
        training_data="260 T1 crops with outlines of the hippocampus (Medical Segmentation Decathlon, CC BY-SA 4.0). "
        f"Seed {arguments.seed}; {minutes:.0f} minutes for the {len(folders)} networks ({machine()}).",
        evaluation=f"Random {len(folders)} folds of scans, each network on the scans it had not seen, through "
        "Predictor. mae in mm3. inside: share of the absolute evidence inside the outline dilated by 3 mm. The bundle "
        "is the mean of the networks; its own error is not measured: every scan was seen by all but one of them.",
        limitations=LIMITS,
    )  # fmt: skip
    bundle = save_bundle(
        arguments.ship, task=task, network_settings=bundles[0].network, state_dict=networks[0].state_dict(),
        members=[network.state_dict() for network in networks[1:]], description=description, version="1.1.1", card=card,
        data_license=DATA_LICENSE, metrics={name: round(value, 4) for name, value in metrics.items()},
        calibration={"conformal": {**fit_conformal_value(residuals), "least": 0.0},
                     "from": "scans held out in the cross-validation"},
        input_check=learn_input_check(networks[0], prepared, held_out),
        training=bundles[0].metadata["medattn"]["training"], recipe=Recipe(data_list="datalist.json", size=task.size),
    )  # fmt: skip
    print(f"{bundle.path}: {bundle.calibration}")


if __name__ == "__main__":
    main()
