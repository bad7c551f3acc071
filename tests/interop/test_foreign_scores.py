"""Numbers of strangers' bundles: probabilities are what the resolved postprocessing makes, or none are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from medattn_core.cli import app
from medattn_core.errors import BundleError, MedAttnError
from medattn_core.inference import Prediction
from medattn_core.interop import open_predictor, verify
from tests.interop.strangers import post, write_stranger

SCORES = (-1.0, 0.5, 2.0)
SOFTMAX = torch.softmax(torch.tensor(SCORES), 0).tolist()
SIGMOID = torch.sigmoid(torch.tensor(SCORES)).tolist()
ACT = post("Activationsd", softmax=True)
COMPOSED = {"_target_": "Compose", "transforms": [ACT]}
LAMBDA_SOFTMAX = "$lambda x: torch.softmax(x, 0)"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(80, dtype=np.uint8).reshape(8, 10)), str(path))
    return path


def predict(root: Path, picture: Path, **how: Any) -> Prediction:
    return open_predictor(write_stranger(root, **how), trust=True, device="cpu")(picture)


def values(prediction: Prediction) -> list[float]:
    """Its probabilities; and what is computed of its logits elsewhere is the same."""
    again = prediction.task.probabilities(prediction.logits)
    np.testing.assert_allclose(list(prediction.probabilities.values()), again, atol=1e-6)
    return list(prediction.probabilities.values())


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"postprocessing": ["@act"], "act": ACT}, SOFTMAX),
        ({"postprocessing": [COMPOSED]}, SOFTMAX),
        ({"postprocessing": "@deep", "deep": {"_target_": "Compose", "transforms": "@inner"}, "inner": ["@act"],
          "act": "@again", "again": ACT}, SOFTMAX),
        ({"postprocessing": "$monai.transforms.Compose([monai.transforms.Activationsd('pred', softmax=True)])",
          "imports": ["$import torch", "$import monai"]}, SOFTMAX),
        ({"evaluator": {"_target_": "SupervisedEvaluator", "postprocessing": [ACT]}}, SOFTMAX),
        ({"postprocessing": [post("Activationsd", sigmoid="@use_sigmoid")], "use_sigmoid": True}, SIGMOID),
        ({"postprocessing": [post("Activationsd", sigmoid="@use", softmax=True)], "use": False}, SOFTMAX),
        ({"postprocessing": [post("Activationsd", softmax=[False, True]) | {"keys": ["label", "pred"]}]}, SOFTMAX),
        ({"postprocessing": [{"_target_": "Activationsd", "keys": "label", "sigmoid": True}, ACT]}, SOFTMAX),
        ({"postprocessing": [post("Activationsd", other=LAMBDA_SOFTMAX)]}, SOFTMAX),
        ({"postprocessing": [post("Activationsd", other="$torch.sigmoid")]}, SIGMOID),
        ({"postprocessing": [post("Lambdad", func=LAMBDA_SOFTMAX), post("AsDiscreted", argmax=True)]}, SOFTMAX),
        ({"postprocessing": [post("Lambdad", func="$lambda x: x / 2"), ACT], "scores": (-2.0, 1.0, 4.0)}, SOFTMAX),
        ({"postprocessing": [post("EnsureTyped"), ACT, post("Lambdad", func="$lambda x: (x > 0.5).float()")]}, SOFTMAX),
        ({"postprocessing": [ACT, {**ACT, "_disabled_": True}, post("AsDiscreted", argmax=True)]}, SOFTMAX),
        ({"postprocessing": [post("Lambdad", func="$lambda x: x.argmax()")], "output_type": "logits"}, SOFTMAX),
        ({"postprocessing": [post("AsDiscreted", argmax=True)], "output_type": "logits"}, SOFTMAX),
        ({"postprocessing": [post("Lambdad", func="$lambda x: x.cpu()")], "output_type": "logits"}, SOFTMAX),
        ({"postprocessing": [post("Lambdad", func="$lambda x: x[:, None]"), post("Activationsd", sigmoid=True)],
          "output_type": "logits"}, SIGMOID),
        ({"output_type": "logits"}, SOFTMAX),
        ({"end": "torch.nn.Sigmoid()"}, SIGMOID),
        ({"end": "torch.nn.Softmax(dim=1)"}, SOFTMAX),
        ({"end": "torch.nn.Sigmoid()", "postprocessing": [post("AsDiscreted", threshold=0.5)]}, SIGMOID),
    ],
)  # fmt: skip
def test_probabilities_are_those_of_the_resolved_postprocessing(
    tmp_path: Path, picture: Path, how: dict[str, Any], wanted: list[float]
) -> None:
    prediction = predict(tmp_path / "b", picture, **how)
    assert values(prediction) == pytest.approx(wanted, abs=1e-5)
    assert prediction.task.activation == ("softmax" if wanted is SOFTMAX else "sigmoid")
    assert prediction.label == "c2"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"postprocessing": [post("AsDiscreted", argmax=True)]}, "gives -1 to 2, and probabilities lie in 0 to 1"),
        ({}, "gives -1 to 2, and probabilities lie in 0 to 1"),
        ({"postprocessing": [post("Activationsd", other="$torch.tanh")]}, "its postprocessing gives -0.76"),
        ({"postprocessing": [post("Activationsd", other="$torch.sigmoid"), post("AsDiscreted", argmax=True)]},
         "exclude each other have the sum 1.7"),
        ({"postprocessing": [post("Activationsd", other="$lambda x: x[:2]")]}, r"gives \(2,\), no number for"),
        ({"postprocessing": [post("Activationsd", other="$lambda x: x.no_such")]}, "fails on its scores"),
        ({"postprocessing": [post("Activationsd", softmax=True, sigmoid=True)]}, "cannot make its postprocessing"),
        ({"postprocessing": [post("Activationsd", softmax=True, dim=1)]}, "cannot make its postprocessing"),
        ({"postprocessing": [post("no.such.Thing")]}, "cannot make its postprocessing"),
        ({"postprocessing": [post("scripts.own.Own")], "output_type": "logits", "scripts":
            "class Own:\n    def __init__(self, keys): self.keys = (keys,)\n    def __call__(self, d): return d\n"},
         "Own of its postprocessing does not say how scores become probabilities"),
        ({"postprocessing": [post("AsDiscreted", threshold=0.5)], "output_type": "logits"},
         "a threshold on scores of several classes does not say"),
        ({"scores": (1.0,), "postprocessing": [ACT]}, "softmax of a single output is 1 for every scan"),
        ({"end": "torch.nn.Softmax(dim=1)", "output_type": "labels"}, "its scores look like probabilities"),
    ],
)  # fmt: skip
def test_what_is_no_probability_is_not_called_one(
    tmp_path: Path, picture: Path, how: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        predict(tmp_path / "b", picture, **how)
    assert caught.value.code == "bad_bundle"
    assert str(tmp_path / "b") in caught.value.message
    assert "\n" not in caught.value.message


def test_a_sigmoid_inside_the_network_is_not_repeated(tmp_path: Path, picture: Path) -> None:
    """With a second one every case is above one half."""
    how: dict[str, Any] = {"scores": (-1.0,), "end": "torch.nn.Sigmoid()", "labels": ["tumour"]}
    prediction = predict(tmp_path / "plain", picture, **how)
    assert prediction.probabilities == pytest.approx({"tumour": SIGMOID[0]}, abs=1e-5)
    assert prediction.present == ()
    assert prediction.logits[0] == pytest.approx(-1.0, abs=1e-4)
    threshold = [post("AsDiscreted", threshold=0.2)]
    assert predict(tmp_path / "low", picture, postprocessing=threshold, **how).present == ("tumour",)


def test_labels_that_a_bundle_judges_one_by_one_are_said_one_by_one(tmp_path: Path, picture: Path) -> None:
    steps = [post("Activationsd", sigmoid=True), post("AsDiscreted", threshold=0.6)]
    prediction = predict(tmp_path / "b", picture, scores=(-1.0, 0.5, 2.0), postprocessing=steps)
    assert prediction.task.kind == "multilabel"
    assert prediction.present == ("c2", "c1")


def test_saturated_probabilities_have_finite_logits(tmp_path: Path, picture: Path) -> None:
    prediction = predict(tmp_path / "b", picture, scores=(-200.0, 200.0), end="torch.nn.Sigmoid()")
    assert values(prediction) == [0.0, 1.0]
    assert np.isfinite(prediction.logits).all()


def test_scores_that_are_no_numbers_are_an_error(tmp_path: Path, picture: Path) -> None:
    with pytest.raises(MedAttnError, match="NaN or infinite") as caught:
        predict(tmp_path / "b", picture, scores=(float("nan"), 1.0), postprocessing=[ACT])
    assert caught.value.code == "non_finite_logits"


def test_what_saves_is_not_made(tmp_path: Path, picture: Path) -> None:
    """MONAI's saver clears its file as it is made."""
    root = tmp_path / "b"
    (root / "eval").mkdir(parents=True)
    kept = root / "eval" / "predictions.csv"
    kept.write_text("earlier results")
    saver = post("SaveClassificationd", output_dir="@output_dir")
    assert values(predict(root, picture, postprocessing=[ACT, saver])) == pytest.approx(SOFTMAX, abs=1e-5)
    assert kept.read_text() == "earlier results"


def test_nothing_of_the_postprocessing_runs_before_trust(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    root = write_stranger(tmp_path / "b", postprocessing=[f"$__import__('pathlib').Path({str(mark)!r}).touch()", ACT])
    with pytest.raises(BundleError) as caught:
        open_predictor(root)
    assert caught.value.code == "untrusted"
    assert not mark.exists()
    assert verify(root).checks[-1].status == "skipped"
    assert not mark.exists()


def test_verify_with_trust_tells_of_wrong_probabilities(tmp_path: Path) -> None:
    wrong, right = write_stranger(tmp_path / "wrong"), write_stranger(tmp_path / "right", postprocessing=[ACT])
    assert "probabilities lie in 0 to 1" in verify(wrong, trust=True).checks[-1].detail
    assert not verify(wrong, trust=True).good
    assert verify(right, trust=True).checks[-1].detail == "[1, 1, 8, 8] in, [1, 3] out"


def test_names_of_classes_that_are_empty_or_repeat(tmp_path: Path, picture: Path) -> None:
    names = ["a, b", "", " ", None]
    prediction = predict(tmp_path / "b", picture, scores=(0.0, 1.0, 2.0, 3.0), labels=names, postprocessing=[ACT])
    assert list(prediction.probabilities) == ["a, b", "class 1", "class 2", "class 3"]
    again = predict(tmp_path / "c", picture, labels=["a", "a", "a (0)"], postprocessing=[ACT])
    assert len(set(again.probabilities)) == 3


def test_through_the_command_line(tmp_path: Path, picture: Path) -> None:
    root = write_stranger(tmp_path / "b", scores=(-1.0,), end="torch.nn.Sigmoid()", labels=["tumour"])
    arguments = ["predict", str(picture), "--bundle", str(root), "--output", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*arguments, "--trust"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())[0]
    assert record["present"] == []
    assert record["label"] == "tumour"
    assert record["probabilities"]["tumour"] == pytest.approx(SIGMOID[0], abs=1e-5)
