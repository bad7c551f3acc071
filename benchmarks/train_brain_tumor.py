"""Make the shipped bundle brain_tumor_t1ce: all four folds, calibrated on the held-out logits of the cross-validation.

    python -m benchmarks.cross_validate    --data ../shared/data/brain_tumor_t1ce/labels.csv
    python -m benchmarks.train_brain_tumor --data ../shared/data/brain_tumor_t1ce/labels.csv

With --keep-weights the network of --output stays, and only what it knows about itself is made anew.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, print_progress
from medattn_core import datalists
from medattn_core.bundles import Bundle, Recipe, load, load_network, model_card, save_bundle, seal
from medattn_core.bundles.bundle import METADATA
from medattn_core.bundles.save import to_json
from medattn_core.networks.receptive_field import effective_receptive_field, receptive_field
from medattn_core.training import train
from medattn_core.training.calibration import fold_scale
from medattn_core.training.data import prepare
from medattn_core.training.reliability import learn_input_check
from medattn_core.transforms.conform import conform
from medattn_core.volumes import read

SHIPPED = Path(__file__).parents[1] / "medattn_core" / "bundles" / "shipped" / "brain_tumor_t1ce"

DESCRIPTION = (
    "Tells glioma, meningioma and pituitary tumour apart on T1 contrast-enhanced brain MRI, on single slices of any "
    "plane or whole volumes, and shows the evidence"
)

DATA_LICENSE = """\
Trained on: Jun Cheng, "Brain tumor dataset", figshare, 2017, doi:10.6084/m9.figshare.1512427, folds 1 to 4
(2,400 slices), licensed CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).
Please cite: Cheng J. et al., PLoS ONE 10(10):e0140381 (2015) and PLoS ONE 11(6):e0157112 (2016).
Tumour boxes as redistributed with the slices. The images are not part of this bundle.
"""

TRAINING_DATA = """\
2,400 T1 contrast-enhanced slices (axial, coronal, sagittal) of patients with one of the three tumours, from hospitals
in Guangzhou and Tianjin (Cheng 2017, CC BY 4.0), with one tumour box each. Classes were drawn equally often. Every
slice shows a tumour: what has no tumour was taught with the tissue outside the boxes, alone and mixed into bags of up
to 32 slices."""

LIMITS = """\
- It tells three tumours apart; it is **not a tumour detector** and has no class for the absence of a tumour. A scan
  without a tumour, or with another disease, can still get a high probability.
- One-against-the-rest probabilities do not sum to one. Where none reaches 0.5 the result carries `below_threshold`.
- Meningiomas beside the sella are often taken for pituitary tumours, with confidence.
- Thick-slice T1 with contrast agent from two hospitals. Other sequences, ages, scanners, post-operative scans
  and skull-stripped images are outside the training data.
- All its rules (temperature, confidence, label sets, when to decide) were measured on single slices. A whole volume
  carries the warning `whole_volume`, and how often such a result is right is not stated."""

CHANGES = {
    "1.1.0": "as trained",
    "1.1.1": "same weights; says that its rules were measured on single slices, and warns of whole volumes",
}
"""What changed with each version."""


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("brain_tumor_t1ce.json"))
    parser.add_argument("--work", type=Path, default=Path("runs/brain_tumor_t1ce"))
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--version", default="1.1.1")
    parser.add_argument("--keep-weights", action="store_true")
    # All four folds in 24 epochs are 1,800 steps: as many as three folds in the 30 of the cross-validation.
    parser.add_argument("--epochs", type=int, default=24)
    arguments = parser.parse_args()
    measured = json.loads((arguments.work / f"seed{arguments.seed}_calibration.json").read_text())
    config = json.loads(arguments.config.read_text())
    config["bundle"] = {
        "description": DESCRIPTION,
        "version": arguments.version,
        "data_license": DATA_LICENSE,
        "calibration": {
            **measured["calibration"],
            "slices": 1,  # the records of earlier runs do not say it
            "from": f"held-out slices of the cross-validation, test folds {', '.join(map(str, measured['folds']))}",
        },
        "metrics": measured["metrics"],
        "folds": measured["folds"],
    }
    if arguments.keep_weights:
        bundle = _recalibrated(arguments.output, config, arguments.data, arguments.version)
        print(f"{bundle.path}: {bundle.calibration}")
        return
    del config["bundle"]["folds"]
    start = time.time()
    bundle = train(
        arguments.data,
        arguments.output,
        config=config,
        epochs=arguments.epochs,
        seed=arguments.seed,
        resume=True,
        overwrite=True,
        progress=print_progress,
    )
    minutes = (time.time() - start) / 60
    _write_card(bundle, config, arguments.data, minutes)
    print(f"{bundle.path}: {bundle.weights_path.stat().st_size / 1e6:.1f} MB, {minutes:.1f} min; {machine()}")


def _recalibrated(folder: Path, config: dict, data: Path, version: str) -> Bundle:
    """The same network with the calibration and the input check of today."""
    old = load(folder)
    network = load_network(old)
    about = config["bundle"]
    fold_scale(network, float(old.calibration["temperature"]) / about["calibration"]["temperature"])
    prepared = prepare(datalists.load(data), old.task, tuple(config["task"]["size"]))
    training = old.metadata["medattn"]["training"]
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8").replace(old.version, version)
    size = tuple(config["task"]["size"])
    return save_bundle(
        folder,
        task=old.task,
        network_settings=old.network,
        state_dict=network.state_dict(),
        description=old.description,
        version=version,
        card=card,
        data_license=DATA_LICENSE,
        metrics={**old.metadata["eval_metrics"], **about["metrics"]}
        if len(about["folds"]) == 4
        else {**old.metadata["eval_metrics"], "ece_confidence": about["metrics"]["ece_confidence"]},
        calibration=about["calibration"],
        input_check=learn_input_check(network, prepared, np.zeros(len(prepared), bool)),
        training=training,
        recipe=Recipe(data_list=data.name, size=size),
        about={"changelog": changelog(version)},
    )


def _write_card(bundle: Bundle, config: dict, data: Path, minutes: float) -> None:
    network = load_network(bundle)
    cases = datalists.load(data)
    images = [conform(read(case.image), bundle.task).image[..., 0] for case in cases[:: len(cases) // 8]]
    effective = effective_receptive_field(network, torch.from_numpy(np.stack(images)), share=0.5)
    evaluation = (
        "Patient-wise cross-validation over folds 1 to 4 (train on three, test on the fourth; mean of the four), one "
        "seed, with the settings of this bundle (30 epochs on three folds, it has 24 on four: as many steps); the "
        "bundle itself was then trained on all four folds. Pointing game: "
        "the peak of the evidence for the true class lies in the tumour box. Energy: share of its positive evidence "
        "inside the box. ECE: with the temperature of the other folds."
    )
    card = model_card(
        name=bundle.name,
        task=bundle.task,
        network=bundle.network,
        description=f"{DESCRIPTION}.",
        version=bundle.version,
        metrics=config["bundle"]["metrics"],
        parameters=sum(p.numel() for p in network.parameters()),
        receptive_field=receptive_field(network),
        training_data=f"{TRAINING_DATA}\n\nTraining took {minutes:.0f} minutes ({machine()}). Half of the gradient of "
        f"a cell's features lies within {effective} pixels ({effective * bundle.task.spacing[0]:.0f} mm) around it.",
        evaluation=evaluation,
        limitations=LIMITS,
    )
    (bundle.path / "docs" / "README.md").write_text(card, encoding="utf-8")
    metadata = {**bundle.metadata, "changelog": changelog(bundle.version)}
    (bundle.path / METADATA).write_bytes(to_json(metadata))
    seal(bundle.path)


def changelog(version: str) -> dict[str, str]:
    """Of the bundle's metadata, with a version of its own too."""
    return {**CHANGES, version: CHANGES.get(version, "as trained")}


if __name__ == "__main__":
    main()
