"""How much data it takes: T1CE accuracy with a share of the patients, with boxes, without, and with average pooling.

    python -m benchmarks.little_data --data ../shared/data/brain_tumor_t1ce/labels.csv

The list names no patients, but slices of a patient are contiguous and share label and fold, so whole runs of 13 such
slices (the mean of the set) stand for patients. Epochs grow with the inverse root of the share; --epochs sets those of
the whole set, for a quicker comparison. With `--shares 1` these
are the label-only and average-pooling rows of the cross-validation. Finished runs are kept in --work.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.common import machine, markdown_table, merged, print_progress, variant_of, with_spread
from benchmarks.cross_validate import measure, summary
from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.evaluation import plots
from medattn_core.inference import Predictor
from medattn_core.training import train

RUN = 13
VARIANTS = ("boxes", "labels", "average")


def some_patients(cases: list[Case], share: float, seed: int) -> list[Case]:
    """A share of the patients of each label (see above)."""
    runs: list[list[Case]] = []
    for case in cases:
        last = runs[-1] if runs else []
        if last and len(last) < RUN and (last[-1].label, last[-1].fold) == (case.label, case.fold):
            last.append(case)
        else:
            runs.append([case])
    chosen: list[Case] = []
    rng = np.random.default_rng(seed)
    for label in sorted({run[0].label or "" for run in runs}):
        own = [run for run in runs if run[0].label == label]
        for index in sorted(rng.permutation(len(own))[: max(1, round(share * len(own)))]):
            chosen += own[index]
    return chosen


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("brain_tumor_t1ce.json"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4], help="test folds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of the whole set, instead of the configuration's")
    parser.add_argument("--set", default="{}", help="JSON merged into the configuration, for trials")
    parser.add_argument("--work", type=Path, default=Path("runs/little_data"))
    parser.add_argument("--plot", type=Path, help="PNG of accuracy over the share of patients")
    arguments = parser.parse_args()
    cases = datalists.load(arguments.data)
    config = merged(json.loads(arguments.config.read_text()), arguments.set)
    config["training"]["epochs"] = arguments.epochs or config["training"]["epochs"]
    rows, means = [], {}
    for variant in arguments.variants:
        for share in arguments.shares:
            found = []
            for fold in arguments.folds:
                for seed in arguments.seeds:
                    folder = arguments.work / f"{variant}_{share:g}_fold{fold}_seed{seed}"
                    result = folder.parent / f"{folder.name}.json"  # the name holds a dot: no with_suffix
                    if not result.exists():
                        own = some_patients([c for c in cases if c.fold != fold], share, seed)
                        settings, own = variant_of(variant, config, own)
                        settings["training"]["epochs"] = round(config["training"]["epochs"] / share**0.5)
                        listed = arguments.work / f"{folder.name}_list.json"
                        datalists.save(own, listed)
                        start = time.time()
                        if not folder.exists():
                            train(listed, folder, config=settings, seed=seed, resume=True, progress=print_progress)
                        tested = [case for case in cases if case.fold == fold]
                        numbers = summary(measure([Predictor.from_bundle(folder)], tested)[0])
                        result.write_text(json.dumps({**numbers, "slices": len(own), "seconds": time.time() - start}))
                    found.append(json.loads(result.read_text()))
                    print(variant, share, fold, seed, found[-1], flush=True)
            keys = ("accuracy", "auc", "pointing", "energy")
            means[variant, share] = np.mean([f["accuracy"] for f in found])
            slices = f"{np.mean([f['slices'] for f in found]):.0f}"
            cells = [with_spread([f[k] for f in found]) for k in keys]
            rows.append([variant, f"{share:.0%}", str(len(found)), slices, *cells])
    header = ["with", "patients", "runs", "slices", "accuracy", "macro AUC", "pointing game", "energy in box"]
    print(f"\nFolds {arguments.folds}, seeds {arguments.seeds}; {machine()}\n\n{markdown_table(header, rows)}")
    if arguments.plot:
        series = {v: [float(means[v, s]) for s in arguments.shares] for v in arguments.variants}
        plots.lines(arguments.plot, [100 * s for s in arguments.shares], series, "per cent of the patients", "accuracy")


if __name__ == "__main__":
    main()
