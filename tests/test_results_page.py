"""docs/results.md names every key, column and file of real results, and nothing that they do not have."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from medattn_core.bundles import save_bundle
from medattn_core.errors import CODES, MedAttnError
from medattn_core.evaluation import Settings, evaluate
from medattn_core.evaluation.pictures import FILES
from medattn_core.evaluation.saliency import PEERS
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.outputs import ResultWriter
from medattn_core.tasks import TaskSpec
from tests.squares import SETTINGS, write_list, write_squares

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
LABELS, QUANTITY = ("bright", "dark"), "brightness"
PLACEHOLDERS = {"LABEL", "METHOD", "CODE"}
WHOLE = {"localisation.METHOD.intervals"}
"""Objects that are named as a whole, beside those by label or method, and scores with their interval."""
ELSEWHERE = {
    "predictions.json": {"evidence.additive"},  # of bundles of others
    "predictions.csv": set(),
    "metrics.json": set(),
    "cases.csv": set(),
}
"""What the page names, and no result here has."""


def named() -> dict[str, set[str]]:
    """Part of the page to the names in its tables; a heading gives what stands before those under it."""
    found: dict[str, set[str]] = {}
    part = prefix = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            inside = re.findall(r"`([^`]+)`", line)
            if line.startswith("## "):
                part = inside[0] if inside else line[3:]
            prefix = f"{inside[0]}." if inside and line.startswith("### ") else ""
        elif line.startswith("| `"):
            found.setdefault(part, set()).update(prefix + name for name in re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


def general(key: str) -> str:
    """A key or column with LABEL or METHOD in place of a name of this test's tasks or of a method."""
    if key in PEERS or key == "evidence_on_sample":
        return "METHOD"
    for label in (*LABELS, QUANTITY):
        if key == label or key.endswith(f"_{label}"):
            return key.removesuffix(label) + "LABEL"
    return key


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Dotted names of all that a JSON value holds, of objects in lists those of each."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                yield from paths(item, path)
        if not any(isinstance(item, Mapping) for item in value) and path:
            yield path
    elif not isinstance(value, Mapping) or path in WHOLE or (value and set(value) <= {"value", "low", "high"}):
        yield path
    else:
        names = {_name(path, key) for key in value}
        if path and names <= PLACEHOLDERS and not any(isinstance(one, Mapping) for one in value.values()):
            yield path
            return
        for key, item in value.items():
            yield from paths(item, f"{path}.{_name(path, key)}".lstrip("."))


def _name(path: str, key: str) -> str:
    """The map of the model itself is a method only where methods are named."""
    if path in ("warnings", "warning_messages") and key in CODES:
        return "CODE"
    of_methods = ("localisation", "localisation.iou_threshold", "fidelity", "validation.maps")
    return "METHOD" if key == "evidence" and path in of_methods else general(key)


def bundle(folder: Path, kind: str, *, members: int = 1, seed: int = 0) -> Path:
    """An untrained model with every rule that a bundle of its kind can have."""
    rules: dict[str, Any] = {
        "multiclass": {"conformal": {"coverage": 0.9, "quantile": 0.7}, "abstain": {"threshold": 0.5},
                       "confidence": {"scale": 1.0}},
        "multilabel": {"conformal": {"coverage": 0.9, "undecided": {
            label: {"present_from": 0.4, "absent_to": 0.5} for label in LABELS}}},
        "regression": {"conformal": {"coverage": 0.9, "half_width": 5.0}},
    }  # fmt: skip
    value = kind == "regression"
    labels = (QUANTITY,) if value else LABELS
    network = {**SETTINGS["network"], "spatial_dims": 2, "in_channels": 1, "out_channels": len(labels),
               "slicewise": True}  # fmt: skip
    task = TaskSpec.from_dict({
        **SETTINGS["task"], "kind": kind, "labels": labels, "activation": "identity" if value else "sigmoid",
        "spatial_dims": 2, "unit": "mm3" if value else "",
    })  # fmt: skip
    states = []
    for number in range(members):
        torch.manual_seed(seed + number)
        model = AttentionCNN(**network)
        with torch.no_grad():
            model.pooling.value.weight.mul_(20.0)
        states.append(model.state_dict())
    return save_bundle(
        folder, task=task, network_settings=network, state_dict=states[0], members=states[1:], description="untrained",
        version="1.0.0", data_license="none", calibration=rules[kind],
    ).path  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A folder of pictures, a stack, a mask and something that is no image; and a model of each kind."""
    folder = tmp_path_factory.mktemp("page")
    write_squares(folder)
    stack = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(stack, np.diag([1.0, 1.0, 5.0, 1.0])), folder / "stack.nii.gz")
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / "mask.png"))
    sitk.WriteImage(sitk.GetImageFromArray(mask * 0 + 255), str(folder / "all.png"))
    for name in ("broken.png", "broken_2.png"):
        (folder / name).write_bytes(b"none")
    models = {kind: bundle(folder / kind, kind) for kind in ("multiclass", "multilabel", "regression")}
    models |= {
        "ensemble": bundle(folder / "ensemble", "multiclass", members=2),
        "values": bundle(folder / "values", "regression", members=2),
    }
    return folder, models


@pytest.fixture(scope="module")
def predicted(made: tuple[Path, dict[str, Path]]) -> Path:
    folder, models = made
    output = folder / "predicted"
    with ResultWriter(output, report=True) as writer:
        for name, model in models.items():
            for image in ("0.png", "stack.nii.gz"):
                writer.add(Predictor.from_bundle(model, device="cpu")(folder / image), name=f"{name}_{image}")
        writer.add_error("gone.png", MedAttnError("not_found", "gone.png: is not there"))
    assert any(row["regions"] for row in writer.records)
    return output


@pytest.fixture(scope="module")
def evaluated(made: tuple[Path, dict[str, Path]]) -> list[Path]:
    """Of each kind of model one evaluation with all that it can measure."""
    folder, models = made
    settings = Settings(compare=("gradcam",), compared_cases=20, bootstrap=20, examples=1)
    labels = ["bright", "dark"] * 5 + ["-", "-"]
    masks = {"bright": "mask.png"}
    rows = [
        {"image": f"{i}.png", "label": label, "value": str(1000 + i), "mask": masks.get(label, "")}
        for i, label in enumerate(labels + labels)
    ]
    wrong = [{**rows[0], "image": "broken.png"}, {**rows[0], "mask": "all.png", "image": "30.png"}]
    stack = [{**rows[1], "image": "stack.nii.gz"}]

    def listed(name: str, some: list[dict[str, str]], without: str) -> Path:
        return write_list(folder / name, [{k: v for k, v in row.items() if k != without} for row in some])

    data = listed("data.csv", [*rows[:12], *wrong, *stack], "value")
    other = [*rows[12:], {**wrong[0], "image": "broken_2.png"}]
    values = listed("values.csv", rows[:12], "label")
    outputs = [folder / f"{kind}_out" for kind in ("ensemble", "multilabel", "regression")]
    evaluate(models["ensemble"], data, outputs[0], validation=listed("other.csv", other, "value"),
             repeat=(models["multiclass"],), settings=settings, device="cpu")  # fmt: skip
    evaluate(models["multilabel"], listed("few.csv", rows[:12], "value"), outputs[1], settings=settings, device="cpu")
    evaluate(models["regression"], values, outputs[2], settings=settings, device="cpu")
    return outputs


def columns(path: Path) -> set[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {general(name) for name in next(csv.reader(file))}


def check(part: str, found: set[str]) -> None:
    on_page = named()[part]
    objects = {path.rpartition(".")[0] for path in found}  # which may be null, and then have no keys
    assert found - on_page - objects == set(), f"docs/results.md does not name these of {part}"
    assert on_page - found - objects == ELSEWHERE[part], f"docs/results.md names these, which {part} does not have"


def test_tables_of_predictions(predicted: Path) -> None:
    check("predictions.json", set(paths(json.loads((predicted / "predictions.json").read_text(encoding="utf-8")))))
    check("predictions.csv", columns(predicted / "predictions.csv"))


def test_scores_of_an_evaluation(evaluated: list[Path]) -> None:
    check("metrics.json", {
        path for one in evaluated for path in paths(json.loads((one / "metrics.json").read_text(encoding="utf-8")))
    })  # fmt: skip
    check("cases.csv", set().union(*(columns(one / "cases.csv") for one in evaluated)))


def test_files_and_methods(predicted: Path, evaluated: list[Path]) -> None:
    written = {path.name for folder in (predicted, *evaluated) for path in folder.iterdir()}
    endings = "|".join(("evidence.nii.gz", "overlay.png", "report.html"))
    written = {re.sub(rf".+_({endings})$", r"<name>_\1", re.sub(r"_\d+\.png", "_N.png", name)) for name in written}
    text = PAGE.read_text(encoding="utf-8")
    wanted = sorted({*written, "predictions.jsonl", *FILES.values(), *PEERS})
    assert [name for name in wanted if f"`{name}`" not in text] == []
