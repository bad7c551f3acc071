"""What a training with held-out cases hands on: whom they are of, which of them stop it, the seed of each fold."""

from __future__ import annotations

import copy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core import datalists
from medattn_core.bundles import Bundle
from medattn_core.inference import Predictor
from medattn_core.training import train
from medattn_core.training.data import TrainingData
from medattn_core.training.loop import fit
from medattn_core.training.reliability import FEW_PATIENTS
from medattn_core.training.whole_images import outputs_of
from tests.squares import SETTINGS, write_list, write_squares

TRAIN = import_module("medattn_core.training.train")  # the package has the function by that name


def settings(**training: Any) -> dict[str, Any]:
    found = copy.deepcopy(SETTINGS)
    found["training"] |= training
    return found


@pytest.fixture(scope="module")
def unbalanced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path, np.ndarray]:
    """A bundle of a list with one bright square in four, its list, and what its network said before calibration.

    The 22 held-out cases are of five patients.
    """
    folder = tmp_path_factory.mktemp("unbalanced")
    write_squares(folder)
    rows = [{"image": f"{i}.png", "label": "dark" if i % 4 else "bright", "fold": str(int(i >= 10)),
             "patient": f"p{i % 5}" if i >= 10 else f"q{i}"} for i in range(32)]  # fmt: skip
    path = write_list(folder / "rare.csv", rows)
    changed = settings(epochs=1)
    changed["task"]["activation"] = "softmax"
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TRAIN, "outputs_of", lambda *given: seen.append(outputs_of(*given)) or seen[-1])
        bundle = train(path, folder / "rare", config=changed, device="cpu", validation_fold=1)
    (raw,) = seen
    return bundle, path, raw


def test_the_saved_network_says_its_logits_by_the_temperature_and_with_the_offset(unbalanced) -> None:
    bundle, path, raw = unbalanced
    record = bundle.metadata["medattn"]["calibration"]
    offset = np.array([record["offset"][label] for label in bundle.task.labels])
    assert offset[bundle.task.index("dark")] > 0.2 > -0.2 > offset[bundle.task.index("bright")]
    predictor = Predictor.from_bundle(bundle, device="cpu")
    held_out = [case for case in datalists.load(path) if case.fold == 1]
    said = [predictor(case.image).logits for case in held_out[:4]]
    np.testing.assert_allclose(said, raw[:4] / record["temperature"] + offset, atol=0.01)


def test_a_rare_label_is_as_probable_as_it_is_frequent_among_the_held_out_cases(unbalanced) -> None:
    bundle, path, _ = unbalanced
    held_out = [case for case in datalists.load(path) if case.fold == 1]
    predictor = Predictor.from_bundle(bundle, device="cpu")
    mean = np.mean([predictor(case.image).probabilities["bright"] for case in held_out])
    assert mean == pytest.approx(np.mean([case.label == "bright" for case in held_out]), abs=0.06)


def test_rules_are_of_as_many_patients_as_the_list_names(unbalanced) -> None:
    record = unbalanced[0].metadata["medattn"]["calibration"]
    assert (record["conformal"]["cases"], record["conformal"]["patients"]) == (22, 5)
    assert FEW_PATIENTS.format(5, "s") in record["note"]


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each call of ``fit`` was given, in turn."""
    calls: list[dict[str, Any]] = []

    def recorded(network: torch.nn.Module, data: TrainingData, task: Any, config: Any, **options: Any) -> Any:
        first = network.pooling.query.detach().clone()
        calls.append({"first": first, "data": data, "seed": config.seed, **options})
        return fit(network, data, task, config, **options)

    monkeypatch.setattr(TRAIN, "fit", recorded)
    return calls


def test_each_fold_adds_its_number_to_the_seed(squares, tmp_path, fitted) -> None:
    train(squares, tmp_path / "out", config=settings(epochs=1), seed=7, device="cpu", folds=2)
    assert [call["seed"] for call in fitted] == [7, 8]
    assert not torch.equal(fitted[0]["first"], fitted[1]["first"])


def test_patience_watches_the_held_out_fold(squares, tmp_path, fitted) -> None:
    """Steps too small to learn from: it ends long before the last epoch."""
    steps: list[tuple[int, int]] = []
    train(squares, tmp_path / "out", config=settings(epochs=20, patience=1, learning_rate=1e-9), device="cpu",
          validation_fold=1, progress=lambda done, count, _: steps.append((done, count)))  # fmt: skip
    (call,) = fitted
    assert set(call["data"].folds.tolist()) == {0}
    assert call["validation"].folds.tolist() == [1] * 16
    assert steps[-1][0] < steps[-1][1] // 2
