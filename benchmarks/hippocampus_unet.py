"""How well the outlines themselves can be drawn: MONAI's U-Net trained on them, its volume against the regression's.

    python -m benchmarks.hippocampus_unet --data ../shared/data/hippocampus --folds 0 1

Scans, grid, augmentation and folds are those of `benchmarks.hippocampus`. What a network that is shown every voxel of
the outlines errs by is about what a volume can be known to from these scans.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import r2_score

from benchmarks.common import machine, markdown_table
from benchmarks.convert import hippocampus
from medattn_core import datalists
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData, prepare


def outlined(data: TrainingData, task: TaskSpec, config: TrainingConfig, seed: int, fold: int) -> dict[str, Any]:
    """Train on the outlines of the other folds; volumes and Dice of this one's."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    assert task.size is not None
    size = tuple(task.size)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = BasicUNet(spatial_dims=3, in_channels=1, out_channels=1, features=(8, 16, 32, 64, 128, 8))
    loss_of = DiceCELoss(sigmoid=True)
    train = np.flatnonzero(data.folds != fold)
    steps = config.epochs * (len(train) // config.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(config.epochs):
        order = rng.permutation(train)
        for start in range(0, len(order) - config.batch_size + 1, config.batch_size):
            chosen = order[start : start + config.batch_size]
            image = torch.from_numpy(data.images[chosen].astype(np.float32))
            mask = torch.from_numpy(data.masks[chosen].astype(np.float32) / 255.0).unsqueeze(1)
            image, moved, _ = config.augmentation(image, mask, generator, size)
            loss = loss_of(network(image), moved)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    found: dict[str, Any] = {"truth": [], "value": [], "dice": []}
    network.eval()
    with torch.inference_mode():
        for index in np.flatnonzero(data.folds == fold):
            image = torch.from_numpy(data.images[index : index + 1].astype(np.float32))
            drawn = network(image)[0, 0].numpy() > 0
            true = data.masks[index] > 127
            found["truth"].append(float(data.targets[index, 0]))
            found["value"].append(float(drawn.sum() * np.prod(task.spacing or (1.0,) * 3)))
            found["dice"].append(2 * float((drawn & true).sum()) / float(drawn.sum() + true.sum()))
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/hippocampus"))
    arguments = parser.parse_args()
    config = json.loads(Path(__file__).with_name("hippocampus.json").read_text())
    task = TaskSpec.from_dict(config["task"])
    training = TrainingConfig.from_dict({**config["training"], "epochs": arguments.epochs, "seed": arguments.seed})
    assert task.size is not None
    data = prepare(datalists.load(hippocampus(arguments.data, arguments.work)), task, task.size)
    rows = []
    for fold in arguments.folds:
        path = arguments.work / f"unet{arguments.epochs}_seed{arguments.seed}_fold{fold}.json"
        if not path.exists():
            start = time.time()
            found = outlined(data, task, training, arguments.seed, fold)
            path.write_text(json.dumps({**found, "seconds": time.time() - start}))
        found = json.loads(path.read_text())
        truth, value = np.array(found["truth"]), np.array(found["value"])
        error = np.abs(value - truth).mean()
        rows.append([str(fold), f"{error:.1f}", f"{r2_score(truth, value):.3f}", f"{np.mean(found['dice']):.3f}"])
        print(rows[-1], f"{found['seconds']:.0f} s", flush=True)
    header = ["fold", "MAE, mm3", "R2", "Dice"]
    print(f"\nSeed {arguments.seed}; {machine()}\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
