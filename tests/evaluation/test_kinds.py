"""Evaluate with every kind of model, end to end: several labels, one or none, volumes with lesions, ensembles."""

from __future__ import annotations

import copy
import csv
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medattn_core.bundles import save_bundle
from medattn_core.evaluation import Settings, evaluate, examples
from medattn_core.inference import Prediction, Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.outputs import render
from medattn_core.outputs.render import Caption
from medattn_core.outputs.text import percent
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from tests.squares import SETTINGS, write_list, write_squares

QUICK = Settings(compare=("gradcam", "occlusion"), compared_cases=2, bootstrap=20, examples=1)


def pictures(folder: Path, labels: list[str]) -> list[dict[str, str]]:
    """Rows of a list over the squares, the labels in turn."""
    write_squares(folder)
    return [{"image": f"{i}.png", "label": labels[i % len(labels)]} for i in range(32)]


def table(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "cases.csv").open()))


def test_one_label_or_none(tmp_path: Path) -> None:
    rows = [row | {"patient": f"p{i // 2}"} for i, row in enumerate(pictures(tmp_path, ["-", "bright"]))]
    data = write_list(tmp_path / "data.csv", rows[:16])
    validation = write_list(tmp_path / "validation.csv", rows[16:])
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"epochs": 4, "learning_rate": 5e-3}
    train(write_list(tmp_path / "all.csv", rows), tmp_path / "model", config=settings, device="cpu")
    metrics = evaluate(tmp_path / "model", data, tmp_path / "out", validation=validation, settings=QUICK, device="cpu")
    assert metrics["cases"] == 16
    assert metrics["patients"] == metrics["intervals"]["patients"] == 8
    assert "low" not in metrics["classification"]["accuracy"]  # eight patients, however many images
    assert "No intervals: 8 patients" in (tmp_path / "out" / "summary.html").read_text()
    assert metrics["confusion_labels"] == ["bright", "-"]
    matrix = np.array(metrics["confusion_matrix"])
    assert matrix.sum(axis=1).tolist() == [8, 8]
    threshold = metrics["settings"]["decision_threshold"]
    assert threshold != 0.5
    found = table(tmp_path / "out")
    assert [row["said"] for row in found] == [
        "bright" if float(row["probability_bright"]) >= threshold else "-" for row in found
    ]
    # Half-way between two cases of the validation list, as chosen there and not 0.5.
    predictor = Predictor.from_bundle(tmp_path / "model", device="cpu")
    given = sorted(predictor(tmp_path / row["image"]).probabilities["bright"] for row in rows[16:])
    middles = [(a + b) / 2 for a, b in zip([0.0, *given], [*given, 1.0], strict=True)]
    assert min(abs(threshold - middle) for middle in middles) < 1e-6
    assert matrix.trace() / 16 == pytest.approx(metrics["classification"]["accuracy"]["value"])
    assert sum(row["right"] == "True" for row in found) == matrix.trace()


def test_several_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pictures(tmp_path, ["a", "b", "a|b", "-"])
    for row in rows:
        row |= {"box_x_px": "10", "box_y_px": "10", "box_width_px": "9", "box_height_px": "9"}
    data = write_list(tmp_path / "data.csv", rows)
    train(data, tmp_path / "model", config={k: SETTINGS[k] for k in ("network", "training")}, device="cpu")
    drawn: list[Caption] = []
    overlay = render.overlay
    monkeypatch.setattr(render, "overlay", lambda *given, **more: drawn.append(given[3]) or overlay(*given, **more))
    metrics = evaluate(tmp_path / "model", data, tmp_path / "out", settings=QUICK, device="cpu")
    assert metrics["task"]["kind"] == "multilabel"
    assert "confusion_matrix" not in metrics
    assert sum(metrics["confusion_by_label"]["a"].values()) == 32
    assert "set_coverage" not in metrics["classification"]
    # One box for two labels says of neither where it lies, and one for none of what; the case still counts.
    messages = [error["message"] for error in metrics["place_errors"]]
    assert sum("one place for the 2 labels a, b" in message for message in messages) == 8
    assert sum("its box marks a finding, and no label is true" in message for message in messages) == 8
    assert len(messages) == 16
    assert metrics["localisation"]["evidence"]["cases"] == 16
    for row in table(tmp_path / "out"):
        labels = [label for label in "ab" if float(row[f"probability_{label}"]) >= 0.5]
        assert row["said"] == ("|".join(labels) or "-")
    # The worst picture is of the label that is furthest from true, with its map and its probability.
    row = table(tmp_path / "out")[int(drawn[0].title.removeprefix("Case ")) - 1]
    wrong = max("ab", key=lambda label: abs(float(row[f"probability_{label}"]) - (label in row["true"].split("|"))))
    assert drawn[0].sides == (f"against {wrong}", f"for {wrong}")
    assert drawn[0].subtitle.endswith(f"; {wrong} {percent(float(row[f'probability_{wrong}']))}")
    assert "the one whose probability is furthest from the truth" in (tmp_path / "out/summary.html").read_text()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_what_is_evaluated_is_what_is_predicted(tmp_path: Path, activation: str) -> None:
    """With a threshold that some scans reach, and without one: then a label is said of each, however improbable."""
    data = write_squares(tmp_path)
    labels, network = ("bright", "dark"), {**SETTINGS["network"], "spatial_dims": 2, "in_channels": 1,
                                           "out_channels": 2, "slicewise": True, "bias": [-3.0, -3.0]}  # fmt: skip
    task = TaskSpec.from_dict({**SETTINGS["task"], "labels": labels, "activation": activation, "spatial_dims": 2})
    torch.manual_seed(0)
    model = AttentionCNN(**network)
    with torch.no_grad():
        model.pooling.value.weight.mul_(20.0)

    def measured(name: str, threshold: float | None) -> tuple[dict[str, Any], list[dict[str, str]], list[Prediction]]:
        bundle = save_bundle(
            tmp_path / name, task=replace(task, threshold=threshold), network_settings=network,
            state_dict=model.state_dict(), description="d", version="1.0.0", data_license="none",
        )  # fmt: skip
        quick = Settings(compared_cases=0, bootstrap=0, examples=0)
        metrics = evaluate(bundle.path, data, tmp_path / f"{name}_out", settings=quick, device="cpu")
        predictor = Predictor.from_bundle(bundle, device="cpu")
        rows = table(tmp_path / f"{name}_out")
        return metrics, rows, [predictor(row["image"]) for row in rows]

    metrics, rows, predictions = measured("free", None)
    assert [row["said"] for row in rows] == [one.label for one in predictions]
    assert [one.present for one in predictions] == [(one.label,) for one in predictions]
    assert metrics["classification"]["accuracy"]["value"] == np.mean([r["said"] == r["true"] for r in rows])
    assert {row["abstained"] for row in rows} == {""}  # there is no rule
    assert "The most probable label is reported.<" in (tmp_path / "free_out" / "summary.html").read_text()
    best = [max(one.probabilities.values()) for one in predictions]
    assert activation == "softmax" or max(best) < 0.5
    metrics, rows, predictions = measured("barred", float(np.median(best)))
    assert [row["said"] for row in rows] == ["|".join(one.present) or "-" for one in predictions]
    assert 0 < sum(row["said"] == "-" for row in rows) < len(rows)
    for row, one in zip(rows, predictions, strict=True):
        assert ("below_threshold" in [notice.code for notice in one.warnings]) == (row["said"] == "-")
    matrix = np.array(metrics["confusion_matrix"])
    assert metrics["confusion_labels"] == [*labels, "-"]
    assert matrix[:, 2].sum() == sum(row["said"] == "-" for row in rows)
    assert "none of the labels if it is below" in (tmp_path / "barred_out" / "summary.html").read_text()


def test_words_of_a_picture() -> None:
    """Which label a picture is of, and its probability; the most probable one is named where one label is said."""
    kinds = {"each": ("multilabel", ("a", "b")), "one": ("multiclass", ("a", "b")), "alone": ("multiclass", ("a",))}
    tasks = {
        name: TaskSpec(name="t", kind=kind, labels=labels, activation="sigmoid", spatial_dims=2, spacing=(1, 1))
        for name, (kind, labels) in kinds.items()
    }
    logits, target = np.array([2.0, -7.0]), np.array([1.0, 1.0])
    shown = {
        name: SimpleNamespace(
            task=task, label="a", logits=logits[: len(task.labels)], probabilities={"a": 0.88, "b": 0.001}
        )
        for name, task in tasks.items()
    }
    assert [examples._label(shown["each"], target, kind) for kind in ("worst", "best")] == ["b", "a"]
    assert examples._label(shown["one"], target, "worst") == "a"
    row = {"true": "a|b", "said": "a"}
    assert examples._answer(shown["each"], row, "b") == "true: a, b, said: a; b 0.1 %"
    none = {"true": "a", "said": "-"}
    assert examples._answer(shown["one"], none, "a") == "true: a, said: none of the labels (most probable: a), 88.0 %"
    assert examples._answer(shown["one"], {"true": "a", "said": "a"}, "a") == "true: a, said: a, 88.0 %"
    assert examples._answer(shown["alone"], none, "a") == "true: a, said: no a; a 88.0 %"
    # What the model leaves open is not named like an answer.
    open_ = {"undecided": "a", "abstained": True}
    assert examples._answer(shown["alone"], none | open_, "a") == "true: a, undecided: a; a 88.0 %"
    some = {"true": "a|b", "said": "a|b", "undecided": "b", "abstained": False}
    assert examples._answer(shown["each"], some, "b") == "true: a, b, said: a; undecided: b; b 0.1 %"
    one = {"true": "a", "said": "a", "undecided": "", "abstained": True}
    assert examples._answer(shown["one"], one, "a") == "true: a, undecided: a, 88.0 %"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of two channels, half of them with one or two lesions and masks."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    rows = []
    for i in range(16):
        scan, mask = rng.normal(100, 10, (32, 32, 24)).astype(np.float32), np.zeros((32, 32, 24), np.uint8)
        for corner in [(4, 4, 4), (20, 20, 12)][: 1 + i % 4 // 2] if i % 2 else []:
            place = tuple(slice(c, c + 6) for c in corner)
            scan[place], mask[place] = 220, 1
        for name, data in (("", scan), ("_b", scan[::-1] * 0.5), ("_m", mask)):
            nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(data), affine), folder / f"{i}{name}.nii.gz")
        rows.append({"image": f"{i}.nii.gz|{i}_b.nii.gz", "label": "lesion" if i % 2 else "normal",
                     "mask": f"{i}_m.nii.gz" if i % 2 else "", "patient": f"p{i}"})  # fmt: skip
    return write_list(folder / "list.csv", rows)


def test_volumes_with_lesions_and_an_ensemble(volumes: Path, tmp_path: Path) -> None:
    settings = {"network": SETTINGS["network"], "training": SETTINGS["training"]}
    train(volumes, tmp_path / "model", config=settings, device="cpu", folds=2)
    metrics = evaluate(tmp_path / "model", volumes, tmp_path / "out", settings=QUICK, device="cpu")
    assert metrics["members"] == 2
    assert metrics["errors"] == metrics["place_errors"] == metrics["map_errors"] == []
    place = metrics["localisation"]
    assert place["evidence"]["cases"] == 8
    assert set(place["evidence"]["intervals"]) <= {"pointing", "energy", "iou", "auprc"}
    # Four scans with one lesion, four with two; the eight normal ones can only raise false alarms.
    assert (place["froc"]["lesions"], place["froc"]["scans"], place["froc"]["scans_without"]) == (12, 16, 8)
    assert place["froc"]["scans_undrawn"] == 0
    undrawn = volumes.with_name("undrawn.csv")
    undrawn.write_text(volumes.read_text().replace(",1_m.nii.gz", ","))
    found = evaluate(tmp_path / "model", undrawn, tmp_path / "undrawn", settings=replace(QUICK, compared_cases=0),
                     device="cpu")["localisation"]["froc"]  # fmt: skip
    assert (found["lesions"], found["scans"], found["scans_without"], found["scans_undrawn"]) == (11, 15, 8, 1)
    page = (tmp_path / "undrawn" / "summary.html").read_text()
    assert "Not counted here: 1 scan whose lesion is not drawn or whose mask was not used." in page
    # Nothing deleted, everything inserted: what the ensemble says, not its first member.
    faith = metrics["fidelity"]
    drawn = np.random.default_rng(0).permutation(16)[:2]
    predictor = Predictor.from_bundle(tmp_path / "model", device="cpu")
    said = [
        predictor([volumes.parent / f"{i}.nii.gz", volumes.parent / f"{i}_b.nii.gz"]).probabilities[
            "lesion" if i % 2 else "normal"
        ]
        for i in drawn
    ]
    assert faith["evidence"]["deletion"][0] == pytest.approx(np.mean(said), abs=1e-4)
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "2 networks" in page
    assert "16 images of 16 patients" in page
    assert re.search(r"Case \d+: true", page)
