"""Volume of the hippocampus by regression, 5-fold: error, and where the evidence lies.

    python -m benchmarks.hippocampus --data ../shared/data/hippocampus

Every measure is taken through Predictor on the NIfTI files, with the evidence in their own voxels: the error and R2
of the predicted volume, how far the evidence is from summing to it, and the share of the absolute evidence inside the
mask dilated by 3 mm. Finished folds are kept in --work and not trained again.
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

from benchmarks.common import machine, markdown_table, print_progress
from benchmarks.convert import hippocampus
from medattn_core import datalists
from medattn_core.inference import Predictor
from medattn_core.training import train
from medattn_core.training.data import location_of

MARGIN_MM = 3.0


def measure(predictor: Predictor, cases: list[datalists.Case]) -> dict[str, list[float]]:
    """Of each case: truth, prediction, sum of bias and evidence, share of |evidence| within 3 mm of the mask."""
    found: dict[str, list[float]] = {"truth": [], "value": [], "sum": [], "inside": []}
    for case in cases:
        prediction = predictor(case.image)
        evidence = prediction.evidence(predictor.task.labels[0])
        mask = location_of(case, evidence)
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
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    for part, values in json.loads(arguments.set).items():
        config[part] = {**config[part], **values}
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
    header = ["fold", "scans", "MAE, mm3", "R2", "largest gap of the sum, mm3", "share of |evidence| within 3 mm"]
    print(f"\nSeed {arguments.seed}; {machine()}\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
