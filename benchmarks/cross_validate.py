"""Cross-validate the settings of the shipped brain tumour bundle: train on three folds, test on the fourth.

    python -m benchmarks.cross_validate --data ../shared/data/brain_tumor_t1ce/labels.csv --seeds 0 1 2

Every measure is taken through Predictor on the JPEG files themselves, with the evidence on their own 512x512 grid.
Several seeds are also measured together: their networks as an ensemble, the mean of their logits and of their maps.
Finished folds are kept in --work and not trained again. With --start-from each network starts from that of its seed and
fold in another --work, whose settings may differ in the size of the pixels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import machine, markdown_table, merged, print_progress, with_spread
from medattn_core import datalists
from medattn_core.bundles import load
from medattn_core.bundles.trust import Trust
from medattn_core.datalists.targets import targets_of
from medattn_core.inference import Predictor
from medattn_core.metrics.calibration import expected_calibration_error
from medattn_core.metrics.ranking import macro_auc
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.reliability import HeldOut, assess


def measure(predictors: Sequence[Predictor], cases: list[datalists.Case]) -> list[dict[str, list]]:
    """Logits, targets, and for the true class whether the peak lies in the box and how much of the evidence does.

    Of each predictor, and of all of them together (as :class:`Predictor` combines networks, without their running once
    more): the mean of their logits and of their maps.
    """
    found: list[dict[str, list]] = [
        {"logits": [], "targets": [], "hits": [], "energies": []} for _ in range(len(predictors) + 1)
    ]
    for case in cases:
        predictions = [predictor(case.image) for predictor in predictors]
        maps = [prediction.evidence(case.label) for prediction in predictions]
        box = datalists.location_of(case, maps[0])
        assert box is not None
        inside = box >= 0.5
        logits = [prediction.logits for prediction in predictions]
        targets = targets_of(case, predictors[0].task).tolist()
        data = [evidence.data for evidence in maps]
        for measured, z, evidence in zip(
            found, [*logits, np.mean(logits, axis=0)], [*data, np.mean(data, axis=0)], strict=True
        ):
            positive = np.clip(evidence, 0, None)
            measured["hits"].append(bool(inside.flat[int(np.argmax(evidence))]))
            measured["energies"].append(float(positive[inside].sum() / max(float(positive.sum()), 1e-12)))
            measured["logits"].append(z.tolist())
            measured["targets"].append(targets)
    return found


def summary(measured: dict[str, list]) -> dict[str, float]:
    """Accuracy, macro AUC, pointing game, energy in the box."""
    logits, targets = np.array(measured["logits"]), np.array(measured["targets"])
    return {
        "accuracy": float((logits.argmax(1) == targets.argmax(1)).mean()),
        "auc": macro_auc(logits, targets),
        "pointing": float(np.mean(measured["hits"])),
        "energy": float(np.mean(measured["energies"])),
    }


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("brain_tumor_t1ce.json"))
    parser.add_argument("--set", default="{}", help="JSON merged into the configuration, for trials")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--work", type=Path, default=Path("runs/brain_tumor_t1ce"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--start-from", type=Path, help="--work of an earlier run, for the first weights")
    arguments = parser.parse_args()
    cases = datalists.load(arguments.data)
    header = ["test fold", "slices", "accuracy", "macro AUC", "pointing game", "energy in box", "training, min"]
    for fold in arguments.folds:
        _run_fold(arguments, cases, fold)
    each: list[dict[str, float]] = []
    for seed in arguments.seeds:
        pooled = {fold: json.loads(_result(arguments, fold, seed).read_text()) for fold in arguments.folds}
        raw = {fold: np.array(m["logits"]) * m["temperature"] for fold, m in pooled.items()}
        numbers = [summary(measured) for measured in pooled.values()]
        rows = [
            [str(fold), str(len(m["hits"])), *[f"{v:.3f}" for v in n.values()], f"{m['seconds'] / 60:.0f}"]
            for (fold, m), n in zip(pooled.items(), numbers, strict=True)
        ]
        means = {name: float(np.mean([n[name] for n in numbers])) for name in numbers[0]}
        rows.append(["mean ± sd of folds", "", *_with_spread(numbers), ""])
        print(f"Seed {seed}; {machine()}\n\n{markdown_table(header, rows)}")
        if len(raw) > 1:
            _calibration(raw, pooled, arguments.config, arguments.work / f"seed{seed}_calibration.json", means)
        each.append(means)
    if len(arguments.seeds) > 1:
        print(f"\nMean ± sd over {len(each)} seeds: {', '.join(_with_spread(each))}")
        together = [_result(arguments, fold, *sorted(arguments.seeds)) for fold in arguments.folds]
        numbers = [summary(json.loads(path.read_text())) for path in together]
        rows = [[str(f), *[f"{v:.3f}" for v in n.values()]] for f, n in zip(arguments.folds, numbers, strict=True)]
        rows.append(["mean ± sd of folds", *_with_spread(numbers)])
        print(f"\nTheir networks together:\n\n{markdown_table([header[0], *header[2:-1]], rows)}")


def _with_spread(numbers: list[dict[str, float]]) -> list[str]:
    found = {name: [n[name] for n in numbers] for name in numbers[0]}
    return [with_spread(values) for values in found.values()]


def _result(arguments: argparse.Namespace, fold: int, *seeds: int) -> Path:
    """File of the measures of a network, or of several together."""
    name = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{'_'.join(map(str, seeds))}"
    return Path(arguments.work / f"{name}_fold{fold}.json")


def _run_fold(arguments: argparse.Namespace, cases: list[datalists.Case], fold: int) -> None:
    """Train the networks of all seeds on the other folds, where that was not done yet, and measure them."""
    seeds = sorted(arguments.seeds)
    results = [_result(arguments, fold, seed) for seed in seeds]
    if len(seeds) > 1:
        results.append(_result(arguments, fold, *seeds))
    if all(path.exists() for path in results):
        return
    folders = [path.with_suffix("") for path in results[: len(seeds)]]
    for seed, folder in zip(seeds, folders, strict=True):
        if not folder.exists():
            start = time.time()
            config = merged(json.loads(arguments.config.read_text()), arguments.set)
            first = arguments.start_from / folder.name if arguments.start_from else None
            train(arguments.data, folder, config=config, seed=seed, validation_fold=fold, start_from=first,
                  resume=True, progress=print_progress)  # fmt: skip
            folder.with_suffix(".seconds").write_text(f"{time.time() - start:.1f}")
    own = [case for case in cases if case.fold == fold]
    measured = measure([Predictor.from_bundle(folder) for folder in folders], own)
    for path, found in zip(results, measured, strict=False):
        if path.exists():
            continue
        if (folder := path.with_suffix("")) in folders:
            temperature = load(folder).metadata["medattn"]["calibration"]["temperature"]
            taken = folder.with_suffix(".seconds")
            seconds = float(taken.read_text()) if taken.exists() else float("nan")
            path.write_text(json.dumps({**found, "temperature": temperature, "seconds": seconds}))
        else:
            path.write_text(json.dumps(found))


def _calibration(raw: dict, pooled: dict, config: Path, path: Path, means: dict[str, float]) -> None:
    """Temperature, label sets and the rule to abstain from all held-out logits; measured with each fold left out."""
    task = TaskSpec.from_dict(json.loads(config.read_text())["task"])
    if task.activation != "sigmoid":
        raise SystemExit("a softmax has an offset of each class, which is not undone here: use activation sigmoid")
    folds = {f: HeldOut(outputs=raw[f], targets=np.array(pooled[f]["targets"])) for f in raw}
    metrics, calibration = assess(list(folds.values()), task)
    given, sure, right, covered, sizes = [], [], [], [], []
    for fold, own in folds.items():
        _, others = assess([folds[f] for f in folds if f != fold], task)
        p = task.probabilities(own.outputs / others["temperature"])
        given.append(p.max(axis=1))
        rule = Trust.from_calibration(others, "held-out folds")
        sure.append(np.array([rule.confidence(one.max(), task.labels[one.argmax()]) for one in p], np.float64))
        right.append(own.outputs.argmax(axis=1) == own.targets.argmax(axis=1))
        sets = p >= 1 - others["conformal"]["quantile"]
        covered.append((sets & (own.targets > 0.5)).any(axis=1))
        sizes.append(sets.sum(axis=1))
    ece = expected_calibration_error(np.concatenate(given), np.concatenate(right))
    ece_sure = expected_calibration_error(np.concatenate(sure), np.concatenate(right))
    each = ", ".join(f"{c.mean():.3f}" for c in covered)
    held, labels = np.concatenate(covered).mean(), np.concatenate(sizes).mean()
    print(
        f"\nTemperature of all held-out logits: {calibration['temperature']:.3f}. With the rules of the other folds: "
        f"ECE of the confidence {ece_sure:.3f}, of the one-against-the-rest probability {ece:.3f} (all slices "
        f"together; training states {metrics['ece']:.3f}); 90 % label sets hold the truth in {held:.3f} "
        f"(folds: {each}), {labels:.2f} labels a set."
    )
    measured = {**{name: round(value, 4) for name, value in means.items()}, "ece_confidence": round(ece_sure, 4),
                "ece_probability": round(ece, 4)}  # fmt: skip
    path.write_text(json.dumps({"folds": sorted(raw), "calibration": calibration, "metrics": measured}))


if __name__ == "__main__":
    main()
