"""What a training is called with: refused before anything is read, and numbers of numpy are numbers."""

from __future__ import annotations

import json
from collections import UserDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core.errors import MedAttnError, TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training import TrainingConfig, train
from medattn_core.training.config import read_config
from medattn_core.training.losses import LossWeights
from medattn_core.transforms.augment import Augmentation
from tests import checks
from tests.squares import SETTINGS


def refused(code: str, run: Any, *given: Any, **options: Any) -> str:
    return checks.refused(run, *given, code=code, kind=TrainingError, **options)


@pytest.mark.parametrize(("given", "code", "said"), [
    ({"epochs": "1"}, "bad_config", "epochs='1'; a whole number is needed; accepted: 1 or more"),
    ({"epochs": 1.5}, "bad_config", "epochs=1.5; a whole number"),
    ({"epochs": True}, "bad_config", "epochs=True; a whole number"),
    ({"epochs": 0}, "bad_config", "epochs=0; accepted: 1 or more"),
    ({"seed": 1.5}, "bad_config", "seed=1.5; a whole number is needed; accepted: 0 to 4294967295"),
    ({"seed": -1}, "bad_config", "seed=-1; accepted: 0 to"),
    ({"folds": "2"}, "bad_argument", "folds='2'; a whole number is needed; accepted: 2 or more"),
    ({"folds": 1}, "bad_argument", "folds=1; accepted: 2 or more"),
    ({"validation_fold": "0"}, "bad_argument", "validation_fold='0'; a whole number"),
    ({"validation_fold": False}, "bad_argument", "validation_fold=False; a whole number"),
    ({"resume": "no"}, "bad_argument", "resume='no'; True or False is needed"),
    ({"overwrite": 0}, "bad_argument", "overwrite=0; True or False is needed"),
])  # fmt: skip
def test_arguments_are_looked_at_before_the_list(tmp_path: Path, given: dict[str, Any], code: str, said: str) -> None:
    assert refused(code, train, tmp_path / "none.csv", tmp_path / "out", **given).startswith(said)


@pytest.mark.parametrize("which", ["data", "output"])
@pytest.mark.parametrize(
    ("given", "said"), [(None, "=None; a path is needed"), (5, "=5; a path"), ("", ": a path is empty")]
)
def test_what_is_no_path_is_said(tmp_path: Path, which: str, given: Any, said: str) -> None:
    paths = {"data": tmp_path / "none.csv", "output": tmp_path / "out", which: given}
    with pytest.raises(MedAttnError) as caught:
        train(**paths)
    assert (caught.value.code, caught.value.message.startswith(which + said)) == ("bad_argument", True)


def test_axes_to_mirror_are_a_list() -> None:
    assert refused("bad_config", Augmentation, flip_axes=1) == (
        "augmentation: flip_axes=1; a list of axes is needed, of 0, 1, 2"
    )
    assert Augmentation(flip_axes=np.array([0, 1])).flip_axes == (0, 1)


def test_numbers_of_numpy_are_numbers(squares: Path, tmp_path: Path) -> None:
    whole, part = np.int64, np.float32
    settings = {
        "task": SETTINGS["task"] | {"size": np.array([64, 64]), "spacing": (part(1.0), part(1.0))},
        "network": {"encoder_options": {"widths": np.array([8, 16, 16, 16]), "blocks": (1, 1, 1, whole(1))},
                    "width": whole(16)},
        "training": {"batch_size": whole(8), "learning_rate": part(1e-3), "balanced": np.True_, "precision": "fp32"},
    }  # fmt: skip
    bundle = train(
        squares, tmp_path / "out", config=settings, device="cpu", epochs=1.0, seed=whole(3), validation_fold=whole(0)
    )
    stored = json.loads((bundle.path / "configs" / "metadata.json").read_text())["medattn"]
    assert (stored["training"]["epochs"], stored["training"]["seed"], stored["network"]["width"]) == (1, 3, 16)
    assert (stored["task"]["spacing"], stored["training"]["learning_rate"]) == ([1.0, 1.0], float(part(1e-3)))
    assert bundle.metadata["medattn"]["calibration"]["from"] == "held-out fold 0 of the list"


@pytest.mark.parametrize(("given", "said"), [
    ({"trainning": {"epochs": 1}}, "config: unknown parts ['trainning']; accepted: task, network, training, bundle"),
    ({"bundle": None}, "config: 'bundle' is None; keys and values are needed"),
    ({"network": [1]}, "config: 'network' is [1]; keys and values are needed"),
    ({"task": "x"}, "config: 'task' is 'x'; keys and values are needed"),
    ({"task": {"size": [40.5, 40]}}, "task settings: size [40.5, 40]; a list of positive whole numbers"),
    ({"network": TrainingConfig()}, "config: 'network' is TrainingConfig("),
    (TrainingConfig(), "config: it is of type TrainingConfig; a file, or a dictionary"),
    ([("training", {})], "config: it is of type list; a file, or a dictionary"),
])  # fmt: skip
def test_a_dictionary_is_checked_as_a_file_is(tmp_path: Path, given: Any, said: str) -> None:
    for run in (read_config, lambda config: train(tmp_path / "none.csv", tmp_path / "out", config=config)):
        assert refused("bad_config", run, given).startswith(said)


def test_parts_may_be_objects_of_settings() -> None:
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    parts = read_config(UserDict({"training": TrainingConfig(epochs=3), "task": task, "network": {}}))
    assert TrainingConfig.from_dict(parts["training"]) == TrainingConfig(epochs=3)
    assert (parts["task"]["labels"], "size" in parts["task"], parts["network"]) == (["a", "b"], False, {})
    assert TaskSpec(**parts["task"]) == task


@pytest.mark.parametrize(("given", "said"), [
    ({"balanced": "no"}, "training settings: balanced='no'; a value of type bool is needed"),
    ({"batch_size": 8.5}, "training settings: batch_size=8.5; a value of type int is needed"),
    ({"epochs": "x"}, "training settings: epochs='x'; a value of type int"),
    ({"patience": True}, "training settings: patience=True; a value of type int"),
    ({"learning_rate": None}, "training settings: learning_rate=None; a value of type float"),
    ({"learning_rate": float("nan")}, "training settings: learning_rate=nan; a value of type float"),
    ({"learning_rate": float("inf")}, "training settings: learning_rate=inf; a value of type float"),
    ({"class_weights": 2}, "training settings: class_weights=2; a value of type list of numbers"),
    ({"class_weights": ("a",)}, "training settings: class_weights=('a',); a value of type list of numbers"),
    ({"precision": None}, "training settings: precision=None; a value of type str"),
])  # fmt: skip
def test_the_constructor_checks_what_a_file_is_checked_for(given: dict[str, Any], said: str) -> None:
    assert refused("bad_config", TrainingConfig, **given).startswith(said)
    assert refused("bad_config", TrainingConfig.from_dict, given).startswith(said)
    assert refused("bad_config", replace, TrainingConfig(), **given).startswith(said)


@pytest.mark.parametrize(("kind", "given", "said"), [
    (Augmentation, {"flip": "x"}, "augmentation: flip='x'; accepted: 0 (off) to 1"),
    (Augmentation, {"rotate": None}, "augmentation: rotate=None; accepted: 0 (off) to 180"),
    (LossWeights, {"bag": "1"}, "losses: bag='1'; accepted: 0 or more"),
    (LossWeights, {"smoothing": True}, "losses: smoothing=True; accepted: from 0 to below 1"),
])  # fmt: skip
def test_what_is_no_number_lies_in_no_range(kind: Any, given: dict[str, Any], said: str) -> None:
    assert refused("bad_config", kind, **given) == said


def test_settings_outlive_json_and_numpy(tmp_path: Path) -> None:
    given = TrainingConfig(
        epochs=np.int64(8), patience=2.0, learning_rate=np.float32(0.5), class_weights=np.array([1, 2]),
        initial_weights=tmp_path, augmentation=Augmentation(flip=np.float32(0.5), flip_axes=(0,)),
        losses={"bag": np.int64(1)},
    )  # type: ignore[arg-type]  # fmt: skip
    assert (type(given.epochs), type(given.patience), given.initial_weights) == (int, int, str(tmp_path))
    stored = json.loads(json.dumps(given.to_dict()))
    assert TrainingConfig.from_dict(stored) == replace(given) == given
    assert given.same_as(stored)
    assert not given.same_as(stored | {"epochs": 9})
    assert not given.same_as(None)
