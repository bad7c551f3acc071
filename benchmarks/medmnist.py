"""Evidence pooling against average pooling of the same encoder on MedMNIST sets, official splits.

    python -m benchmarks.medmnist --data ../shared/data/vesselmnist3d/vesselmnist3d.npz --seeds 0 1 2

Everything but the pooling is equal. The decision threshold is the one that maximises accuracy on the validation
split; accuracy at one half is that of probabilities calibrated there. The test split is looked at once, by the weights
at the end of training; "together" is the mean logit of the seeds. With `--folds 5` the training and validation splits
are one set, as in `medattn train --folds 5`: five networks, each without a fifth of it, whose mean logit is that of the
test split; threshold, calibration and "validation" are of the logits of the held-out fifths. Finished runs are kept in
--work.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from benchmarks.common import machine, markdown_table, merged, with_spread
from benchmarks.convert import medmnist
from medattn_core import datalists
from medattn_core.bundles import Bundle, load
from medattn_core.device import resolve_device
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import fit_scaling
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.early_stop import outputs_on
from medattn_core.training.loop import fit

POSITIVE = {"vesselmnist3d": "aneurysm", "adrenalmnist3d": "hyperplasia", "breastmnist": "malignant",
            "pneumoniamnist": "pneumonia"}  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("medmnist.json").read_text())
"""By set and edge (`vesselmnist3d_28`): task, network and training settings, chosen on the validation split."""


def task_of(name: str, edge: int, dims: int, given: dict[str, Any]) -> TaskSpec:
    """One logit: the finding against its absence; grey values 0 to 255 unless the settings have another rule."""
    spacing = given.get("spacing", 1.0)
    size = round(edge / spacing)
    return TaskSpec(
        name=name,
        kind="multilabel",
        activation="sigmoid",
        labels=(POSITIVE[name],),
        spatial_dims=dims,
        spacing=(spacing,) * dims,
        size=(size,) * dims,
        field_of_view=float(edge) if dims == 2 else None,
        intensity=given.get("intensity", {"rule": "window", "lower": 0, "upper": 255}),
    )


def network_settings(task: TaskSpec, given: dict[str, Any], pooling: str) -> dict[str, Any]:
    """Keyword arguments of AttentionCNN."""
    settings = {
        "spatial_dims": task.spatial_dims,
        "in_channels": 1,
        "out_channels": 1,
        "width": 128,
        **given,
        "pooling": pooling,
    }
    return settings | ({"null_token": False} if pooling == "average" else {})


def read_splits(paths: Sequence[Path], task: TaskSpec) -> TrainingData:
    """Splits as one set on the model grid; the other label is the absence of the finding."""
    cases = [
        datalists.Case(image=case.image, labels=tuple(x for x in (case.label,) if x in task.labels))
        for path in paths
        for case in datalists.load(path)
    ]
    assert task.size is not None
    return prepare(cases, task, task.size)


def best_threshold(logits: np.ndarray, truth: np.ndarray) -> float:
    """Logit threshold of highest accuracy, the middle of the best ones."""
    candidates = np.unique(logits)
    candidates = np.concatenate([[candidates[0] - 1], (candidates[1:] + candidates[:-1]) / 2, [candidates[-1] + 1]])
    accuracy = np.array([accuracy_score(truth, logits > c) for c in candidates])
    best = candidates[accuracy == accuracy.max()]
    return float(best[len(best) // 2])


Parts = list[tuple[np.ndarray, np.ndarray]]
"""Cases that a network is trained on and those held out, as indices, for each network."""


def parts_of(data: TrainingData, held_out: int, folds: int, seed: int) -> Parts:
    """The last ``held_out`` cases against the rest; or folds of all with the classes spread evenly."""
    if not folds:
        return [(np.arange(len(data) - held_out), np.arange(len(data) - held_out, len(data)))]
    splitter = StratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    return list(splitter.split(data.targets, data.targets[:, 0] > 0.5))


def run(
    settings: dict[str, Any],
    data: TrainingData,
    parts: Parts,
    test: TrainingData,
    task: TaskSpec,
    pooling: str,
    seed: int,
    first: Bundle | None = None,
) -> dict[str, Any]:
    """Train a network for each part, from the weights of ``first`` or from chance.

    Returns:
        Measures of the held-out cases and of the mean logit of the test split.
    """
    start = time.time()
    held_out, tested = [], []
    for number, (own, others) in enumerate(parts):
        config = TrainingConfig.from_dict({**settings["training"], "seed": seed + 1000 * number})
        torch.manual_seed(config.seed)
        network = AttentionCNN(**network_settings(task, settings["network"], pooling))
        device = resolve_device("auto")
        trained = fit(network, data.subset(own), task, config, device=device, start=first).to(device)
        held_out.append(outputs_on(trained, data.subset(others))[:, 0])
        tested.append(outputs_on(trained, test)[:, 0])
    seconds = time.time() - start
    order = np.concatenate([others for _, others in parts])
    logits = {"val": np.concatenate(held_out)[np.argsort(order)], "test": np.mean(tested, axis=0)}
    truth = {"val": data.targets[np.sort(order), 0] > 0.5, "test": test.targets[:, 0] > 0.5}
    return {
        **measures(logits, truth, task),
        "seconds": seconds,
        "test_auc_single": float(np.mean([roc_auc_score(truth["test"], each) for each in tested])),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "logits": {name: values.astype(float).round(5).tolist() for name, values in logits.items()},
    }


def measures(logits: dict[str, np.ndarray], truth: dict[str, np.ndarray], task: TaskSpec) -> dict[str, float]:
    """Of the splits `val`, which chooses threshold and calibration, and `test`."""
    threshold = best_threshold(logits["val"], truth["val"])
    temperature, offset = fit_scaling(logits["val"][:, None], truth["val"][:, None].astype(float), task)
    half = -temperature * float(offset[0])  # the logit whose calibrated probability is one half
    return {
        "val_auc": float(roc_auc_score(truth["val"], logits["val"])),
        "test_auc": float(roc_auc_score(truth["test"], logits["test"])),
        "test_accuracy": float(accuracy_score(truth["test"], logits["test"] > threshold)),
        "test_accuracy_at_half": float(accuracy_score(truth["test"], logits["test"] > half)),
        "threshold": threshold,
    }


def together(measured: list[dict[str, Any]], truth: dict[str, np.ndarray], task: TaskSpec) -> dict[str, float] | None:
    """Measures of the mean logit of several seeds; None where a run is of before logits were kept."""
    if len(measured) < 2 or not all("logits" in m for m in measured):
        return None
    return measures({part: np.mean([m["logits"][part] for m in measured], axis=0) for part in truth}, truth, task)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, default=0, help="networks of an ensemble, see above; 0 for a single one")
    parser.add_argument("--poolings", nargs="+", default=["evidence", "average"])
    parser.add_argument("--work", type=Path, default=Path("runs/medmnist"))
    parser.add_argument("--tag", default="", help="name of a trial of settings, kept apart from the others")
    parser.add_argument("--start-from", type=Path, help="bundle whose weights each training starts from; wants a --tag")
    parser.add_argument("--set", default="{}", help="JSON merged into the settings, for trials on the validation split")
    arguments = parser.parse_args()
    if arguments.folds == 1 or arguments.folds < 0:
        parser.error(f"--folds {arguments.folds}; 0 for a single network, or 2 and more")
    if (arguments.set != "{}" or arguments.start_from) and not arguments.tag:
        parser.error("--set and --start-from want a --tag: else their results would be taken for the usual ones")
    with np.load(arguments.data) as arrays:
        shape = arrays["train_images"].shape
    name, edge, dims = arguments.data.stem.split("_")[0], shape[1], len(shape) - 1
    settings = merged(SETTINGS[f"{name}_{edge}"], arguments.set)
    task = task_of(name, edge, dims, settings)
    lists = medmnist(arguments.data, arguments.work / f"{name}_{edge}")
    data, test = read_splits([lists["train"], lists["val"]], task), read_splits([lists["test"]], task)
    held_out = len(datalists.load(lists["val"]))
    kind = f"{name}_{edge}{arguments.tag}" + (f"_folds{arguments.folds}" if arguments.folds else "")
    first = load(arguments.start_from) if arguments.start_from else None
    rows = []
    for pooling in arguments.poolings:
        measured = []
        for seed in arguments.seeds:
            path = arguments.work / f"{kind}_{pooling}_{seed}.json"
            if not path.exists() or json.loads(path.read_text()).get("settings") != settings:
                parts = parts_of(data, held_out, arguments.folds, seed)
                found = run(settings, data, parts, test, task, pooling, seed, first)
                path.write_text(json.dumps({**found, "settings": settings}))
            measured.append(json.loads(path.read_text()))
            print(pooling, seed, {k: v for k, v in measured[-1].items() if k != "logits"}, flush=True)
        keys = ("val_auc", "test_auc", "test_accuracy", "test_accuracy_at_half")
        row = [pooling, str(len(measured)), *[with_spread([m[key] for m in measured]) for key in keys]]
        rows.append([*row, f"{np.median([m['seconds'] for m in measured]):.0f}"])
        validated = data.targets if arguments.folds else data.targets[-held_out:]
        truth = {"val": validated[:, 0] > 0.5, "test": test.targets[:, 0] > 0.5}
        if (joint := together(measured, truth, task)) is not None:
            rows.append([f"{pooling}, the seeds together", "", *[f"{joint[key]:.3f}" for key in keys], ""])
    header = ["pooling", "seeds", "validation AUC", "test AUC", "test accuracy", "accuracy at p = 0.5", "seconds"]
    print(f"\n{kind}; {settings}; {machine()}\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
