"""Starting from a bundle: what it knows is there from the first step, its grid is kept, and no path is left behind."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle, load_network
from medattn_core.errors import BundleError, TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training import train
from medattn_core.training.from_bundle import take_over
from tests.squares import SETTINGS, write_list, write_squares

STILL = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-9, "weight_decay": 0.0, "precision": "fp32"}
"""Steps of nearly nothing: what comes out is where the training started."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Told bright squares from dark ones, calibrated on a held-out fold."""
    folder = tmp_path_factory.mktemp("first")
    config = {**SETTINGS, "training": {**SETTINGS["training"], "epochs": 4}}
    return train(write_squares(folder), folder / "home_of_anna" / "squares", config=config, validation_fold=1)


def same_weights(ours: AttentionCNN, theirs: AttentionCNN) -> None:
    for (name, one), two in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=2e-3, atol=1e-4, msg=name)  # files keep half precision


def test_a_training_starts_where_the_bundle_ended(first: Bundle, squares: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    bundle = train(squares, tmp_path / "next", config={"training": STILL}, start_from=first.path, say=lines.append)
    ours, theirs = load_network(bundle), load_network(first)
    same_weights(ours, theirs)
    torch.testing.assert_close(ours.pooling.bias, theirs.pooling.bias)
    kept = ("spatial_dims", "slicewise", "spacing", "field_of_view", "intensity", "activation", "labels")
    assert [getattr(bundle.task, name) for name in kept] == [getattr(first.task, name) for name in kept]
    assert bundle.network["encoder_options"] == SETTINGS["network"]["encoder_options"]
    assert any(line.startswith("start: the weights of bundle squares 0.1.0") for line in lines)


def test_settings_win_over_the_bundle(first: Bundle, squares: Path, tmp_path: Path) -> None:
    config = {"task": {"spacing": [2.0, 2.0]}, "network": {"dropout": 0.4}, "training": STILL}
    bundle = train(squares, tmp_path / "next", config=config, start_from=first.path)
    assert bundle.task.spacing == (2.0, 2.0)
    assert bundle.task.field_of_view == first.task.field_of_view
    assert bundle.network["dropout"] == 0.4
    same_weights(load_network(bundle), load_network(first))


def test_the_new_bundle_names_its_origin_and_no_path(first: Bundle, squares: Path, tmp_path: Path) -> None:
    bundle = train(squares, tmp_path / "next", config={"training": STILL}, start_from=str(first.path))
    own = bundle.metadata["medattn"]
    assert own["started_from"] == {"name": "squares", "version": "0.1.0", "weights": first.weights_sha256}
    assert "From the weights of bundle `squares` 0.1.0" in (bundle.path / "docs" / "README.md").read_text()
    assert own["training"]["initial_weights"] == "squares"
    assert json.loads((bundle.path / "configs" / "train.json").read_text())["training"]["initial_weights"] == "squares"
    for path in bundle.path.rglob("*.*"):
        assert b"home_of_anna" not in path.read_bytes(), path


def test_a_finished_training_is_known_again_by_the_weights(first: Bundle, squares: Path, tmp_path: Path) -> None:
    arguments = {"config": {"training": STILL}, "start_from": first.path}
    done = train(squares, tmp_path / "next", **arguments)
    lines: list[str] = []
    assert train(squares, tmp_path / "next", resume=True, say=lines.append, **arguments).path == done.path
    assert any("finished already" in line for line in lines)
    other = train(squares, tmp_path / "other" / "squares", config=SETTINGS)
    with pytest.raises(TrainingError, match="another started_from"):
        train(squares, tmp_path / "next", config={"training": STILL}, start_from=other.path, resume=True)
    # The same weights under another name of the folder are the same start.
    moved = shutil.copytree(first.path, tmp_path / "moved")
    assert train(squares, tmp_path / "next", resume=True, **{**arguments, "start_from": moved}).path == done.path


def test_an_interrupted_training_goes_on_where_it_was(first: Bundle, squares: Path, tmp_path: Path) -> None:
    settings = {"config": {"training": {**STILL, "epochs": 3, "learning_rate": 1e-3}}, "start_from": first.path}
    whole = load_network(train(squares, tmp_path / "whole", **settings)).state_dict()

    def stop(step: int, steps: int, losses: dict[str, float]) -> None:
        if step == 2 * steps // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(squares, tmp_path / "cut", progress=stop, **settings)
    other = train(squares, tmp_path / "other" / "squares", config=SETTINGS)
    biases = {"bias": load_network(first).pooling.bias.tolist()}  # those of the settings alike
    with pytest.raises(TrainingError, match=r"checkpoint was made with another .*started_from"):
        train(squares, tmp_path / "cut", resume=True, start_from=other.path,
              config={**settings["config"], "network": biases})  # fmt: skip
    resumed = load_network(train(squares, tmp_path / "cut", resume=True, **settings)).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    assert not torch.equal(whole["pooling.value.weight"], load_network(first).pooling.value.weight)


def test_labels_are_known_by_their_names(first: Bundle) -> None:
    """In another order and beside a new one, whose rows stay those of chance."""
    torch.manual_seed(3)
    task = first.task.__class__.from_dict({**first.task.to_dict(), "labels": ["grey", "dark", "bright"]})
    ours = AttentionCNN(**{**first.network, "out_channels": 3, "bias": [0.0, 0.0, 0.0]})
    grey = ours.pooling.query[0].clone(), ours.pooling.value.weight[0].clone()
    assert take_over(ours, task, first) == ["dark", "bright"]
    theirs = load_network(first).pooling
    for label, row in (("dark", 1), ("bright", 2)):
        there = first.task.labels.index(label)
        assert torch.equal(ours.pooling.query[row], theirs.query[there])
        assert torch.equal(ours.pooling.value.weight[row], theirs.value.weight[there])
    assert torch.equal(ours.pooling.query[0], grey[0])
    assert torch.equal(ours.pooling.value.weight[0], grey[1])
    assert torch.equal(ours.pooling.key.weight, theirs.key.weight)
    there = load_network(first).state_dict()
    for name, value in ours.state_dict().items():  # running statistics, too
        assert name.startswith("pooling.") or torch.equal(value, there[name]), name


def test_another_question_keeps_the_encoder_alone(first: Bundle) -> None:
    """The same names judged by softmax are other numbers; average pooling has another head."""
    task = first.task.__class__.from_dict({**first.task.to_dict(), "activation": "softmax"})
    torch.manual_seed(3)
    ours = AttentionCNN(**first.network)
    before = ours.pooling.value.weight.clone()
    assert take_over(ours, task, first) == []
    assert torch.equal(ours.pooling.value.weight, before)
    same_weights(ours.encoder, load_network(first).encoder)
    average = AttentionCNN(**{**first.network, "pooling": "average", "null_token": True})
    assert take_over(average, first.task, first) == []
    same_weights(average.encoder, load_network(first).encoder)


def test_a_regression_starts_in_its_unit(squares: Path, tmp_path: Path) -> None:
    """Standardised by targets of another spread, the first network still predicts its millimetres."""

    def valued(name: str, factor: float) -> Path:
        rows = list(csv.DictReader(squares.open()))
        kept = ("image", "fold", "box_x_px", "box_y_px", "box_width_px", "box_height_px")
        return write_list(
            tmp_path / name,
            [{**{key: row[key] for key in kept}, "value": str(factor * (1 + int(row["box_x_px"])))} for row in rows],
        )

    task = {key: value for key, value in SETTINGS["task"].items() if key != "activation"} | {"unit": "mm"}
    config = {**SETTINGS, "task": {**task, "labels": ["distance"]}}
    first = train(valued("first.csv", 1.0), tmp_path / "first", config=config)
    config = {"task": {"unit": "mm"}, "training": STILL}
    second = train(valued("second.csv", 7.0), tmp_path / "second", config=config, start_from=first.path)
    assert second.task.labels == ("distance",)
    image = torch.from_numpy(np.random.default_rng(0).random((4, 1, 64, 64), np.float32))
    with torch.no_grad():
        one, two = (load_network(bundle)(image) for bundle in (first, second))
    torch.testing.assert_close(two, one, rtol=5e-3, atol=5e-2)
    assert float(one.abs().mean()) > 1


def test_values_without_a_unit_may_be_other_numbers(squares: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(squares.open()))
    kept = [{key: row[key] for key in ("image", "fold")} for row in rows]
    listed = {
        name: write_list(tmp_path / f"{name}.csv", [{**row, "value": str(scale * n)} for n, row in enumerate(kept)])
        for name, scale in (("large", 10.0), ("small", 0.01))
    }
    task = {key: value for key, value in SETTINGS["task"].items() if key != "activation"}
    config = {**SETTINGS, "task": {**task, "labels": ["dose"]}, "training": STILL}
    first = train(listed["large"], tmp_path / "first", config=config)
    said: list[str] = []
    second = train(
        listed["small"], tmp_path / "second", config={"training": STILL}, start_from=first.path, say=said.append
    )
    assert second.task.labels != ("dose",)
    assert any("values without a `unit` may be other numbers" in line for line in said)
    with torch.no_grad():
        values = load_network(second)(torch.zeros(1, 1, 64, 64))
    assert abs(float(values)) < 1.0


def test_of_an_ensemble_the_first_network(squares: Path, tmp_path: Path) -> None:
    several = train(squares, tmp_path / "several", config=SETTINGS, folds=2)
    bundle = train(squares, tmp_path / "next", config={"training": STILL}, start_from=several.path)
    same_weights(load_network(bundle), load_network(several))


def test_what_does_not_fit_is_refused(first: Bundle, squares: Path, tmp_path: Path) -> None:
    def refused(match: str, config: dict | None = None, start: object = first.path, data: Path = squares) -> None:
        with pytest.raises(TrainingError, match=match) as raised:
            train(data, tmp_path / "next", config=config or {}, start_from=start)
        assert raised.value.code == "bad_config"

    refused("initial_weights='radimagenet'; accepted: imagenet, a bundle .*shipped are: brain", start="radimagenet")
    refused("is not that of bundle squares .*encoder 'compact'.* leave encoder", {"network": {"width": 24}})
    refused("is not that of bundle squares", {"network": {"encoder": "efficientnet-lite0"}})
    listed = list(csv.DictReader(squares.open()))
    rows = [{**row, "image": f"{row['image']}|{listed[number - 1]['image']}"} for number, row in enumerate(listed)]
    two = write_list(squares.with_name("two.csv"), rows)
    refused(r"bundle squares takes 1 channel\(s\) \(image\), a case of the list has 2", data=two)
    assert not (tmp_path / "next").exists()


def test_a_damaged_bundle_is_no_start(first: Bundle, squares: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(first.path, tmp_path / "damaged")
    with (damaged / "models" / "model.pt").open("r+b") as file:
        file.seek(100)
        file.write(b"anything else")
    with pytest.raises(BundleError) as raised:
        train(squares, tmp_path / "next", start_from=damaged)
    assert raised.value.code == "hash_mismatch"
