"""Training from a data list to a bundle that predicts: resume, seeds, settings, errors."""

from __future__ import annotations

import copy
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medattn_core import datalists
from medattn_core.bundles import load, load_network
from medattn_core.errors import TrainingError
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training import TrainingConfig, train
from medattn_core.training.batches import epoch_order
from medattn_core.training.data import prepare
from medattn_core.training.early_stop import outputs_on
from medattn_core.training.loop import fit
from medattn_core.training.plan import plan_task
from medattn_core.training.plan_network import plan_network
from medattn_core.training.reliability import learn_input_check
from tests.squares import SETTINGS, write_list


def changed(**training: object) -> dict:
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= training
    return settings


def pieces(squares: Path, **training: object):
    cases = datalists.load(squares)
    task, size = plan_task(cases, dict(SETTINGS["task"]), "squares")
    torch.manual_seed(0)
    network = AttentionCNN(**plan_network(task, dict(SETTINGS["network"])))
    config = TrainingConfig.from_dict(changed(**training)["training"])
    return network, prepare(cases, task, size), task, config


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_trained_on_a_gpu_says_the_same_on_the_processor(squares, tmp_path):
    folder = tmp_path / "squares"
    bundle = train(squares, folder, config=changed(epochs=45, learning_rate=5e-3, ema_decay=0.9), device="cuda",
                   validation_fold=1)  # fmt: skip
    assert bundle.metadata["eval_metrics"]["accuracy"] >= 0.9
    image = datalists.load(squares)[0].image
    here, there = (Predictor.from_bundle(folder, device=name)(image) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(there.logits, here.logits, atol=0.02)  # cuDNN rounds to TF32


def test_train_writes_a_bundle_that_learnt_something_and_shows_where(squares, tmp_path):
    folder = tmp_path / "out" / "squares"
    bundle = train(
        squares, folder, config=changed(epochs=45, learning_rate=5e-3, ema_decay=0.9), device="cpu", validation_fold=1
    )
    assert bundle.task.labels == ("bright", "dark")
    assert bundle.metadata["eval_metrics"]["accuracy"] >= 0.9
    assert bundle.metadata["medattn"]["calibration"]["temperature"] > 0
    assert not folder.with_name("squares.training").exists()
    predictor = Predictor.from_bundle(folder, device="cpu")
    hits = []
    for case in datalists.load(squares):
        if case.fold != 1:
            continue
        evidence = predictor(case.image).evidence(case.label).data[:, :, 0]
        column, row = np.unravel_index(int(np.argmax(evidence)), evidence.shape)
        x, y, width, height = case.box
        hits.append(x - 4 <= column <= x + width + 4 and y - 4 <= row <= y + height + 4)
    assert np.mean(hits) >= 0.75


def test_resume_ends_in_the_weights_of_an_uninterrupted_run(squares, tmp_path):
    network, data, task, config = pieces(squares, epochs=3)
    whole = fit(network, data, task, config)

    class KilledError(Exception):
        pass

    def stop(step: int, steps: int, losses: dict[str, float]) -> None:
        if step == 7:  # inside the second of three epochs of four steps
            raise KilledError

    checkpoint = tmp_path / "work" / "checkpoint.pt"
    network, data, task, config = pieces(squares, epochs=3)
    with pytest.raises(KilledError):
        fit(network, data, task, config, checkpoint=checkpoint, progress=stop)
    network, data, task, config = pieces(squares, epochs=3)
    resumed = fit(network, data, task, config, checkpoint=checkpoint, resume=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=0, rtol=0, msg=name)


def test_a_checkpoint_of_other_settings_is_refused(squares, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    network, data, task, config = pieces(squares, epochs=1)
    fit(network, data, task, config, checkpoint=checkpoint)
    network, data, task, config = pieces(squares, epochs=1, learning_rate=0.5)
    with pytest.raises(TrainingError, match="another config") as caught:
        fit(network, data, task, config, checkpoint=checkpoint, resume=True)
    assert caught.value.code == "bad_config"


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(squares, tmp_path):
    weights = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(squares, tmp_path / name, config=changed(epochs=1), seed=seed, device="cpu")
        weights[name] = load_network(load(tmp_path / name)).state_dict()
    for key, value in weights["a"].items():
        assert torch.equal(value, weights["b"][key]), key
    assert not torch.equal(weights["a"]["pooling.query"], weights["c"]["pooling.query"])


def test_regression_predicts_in_the_unit_of_the_target(squares, tmp_path):
    """The folding of the standardisation keeps the sum: bias + evidence is the value, far from zero."""
    rng = np.random.default_rng(1)
    lines = ["image,value", *[f"{i}.png,{3000 + 300 * rng.normal():.1f}" for i in range(32)]]
    path = squares.with_name("values.csv")
    path.write_text("\n".join(lines))
    settings = changed(epochs=8)  # batch statistics have to settle
    del settings["task"]["activation"]
    settings["task"] |= {"labels": ["volume"], "unit": "mm3"}
    bundle = train(path, tmp_path / "volume", config=settings, device="cpu")
    prediction = Predictor.from_bundle(bundle, device="cpu")(squares.with_name("3.png"))
    assert 2000 < prediction.value < 4000
    assert prediction.unit == "mm3"
    evidence = prediction.evidence()
    assert evidence.unit == "mm3"
    assert prediction.bias[0] == pytest.approx(0.0, abs=0.1)  # the evidence alone sums to the volume
    assert prediction.bias[0] + evidence.total + evidence.residual == pytest.approx(prediction.value, rel=1e-6)


def test_what_is_measured_is_what_is_saved(squares, tmp_path):
    """The error that the bundle states is that of its stored weights, which are rounded."""
    path = squares.with_name("values.csv")
    path.write_text("\n".join(["image,value,fold", *[f"{i}.png,{i * i},{i % 2}" for i in range(32)]]))
    settings = changed(epochs=1)
    del settings["task"]["activation"]
    settings["task"]["labels"] = ["size"]
    settings["network"]["encoder_options"]["widths"] = [8, 16, 16, 48]  # the last is stored in half precision
    bundle = train(path, tmp_path / "size", config=settings, device="cpu", validation_fold=0)
    held_out = datalists.load(path)[::2]
    prepared = prepare(held_out, bundle.task, (64, 64))
    error = np.abs(outputs_on(load_network(bundle), prepared) - prepared.targets).mean()
    assert bundle.metadata["eval_metrics"]["mae"] == pytest.approx(error, rel=1e-6)


def test_epoch_order_is_balanced_and_leaves_nobody_out_where_there_is_room():
    targets = np.repeat(np.eye(3, dtype=np.float32), [60, 30, 10], axis=0)
    order = epoch_order(targets, balanced=True, generator=torch.Generator().manual_seed(0))
    counts = np.bincount(targets[order].argmax(axis=1), minlength=3)
    assert counts.tolist() == [34, 33, 33]
    assert set(range(60, 100)) <= set(order.tolist())
    plain = epoch_order(targets, balanced=False, generator=torch.Generator().manual_seed(0))
    assert sorted(plain.tolist()) == list(range(100))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training": {"epochs": 0}}, "epochs=0"),
        ({"training": {"speed": 3}}, "speed"),
        ({"training": {"precision": "fp8"}}, "bf16, fp32"),
    ],
)
def test_bad_settings_say_what_is_accepted(squares, tmp_path, settings, words):
    with pytest.raises(TrainingError, match=words) as caught:
        train(squares, tmp_path / "x", config=settings, device="cpu")
    assert caught.value.code == "bad_config"
    assert not (tmp_path / "x").exists()


def test_a_fold_that_is_not_there(squares, tmp_path):
    with pytest.raises(TrainingError, match=r"\[0, 1\]"):
        train(squares, tmp_path / "x", config=SETTINGS, device="cpu", validation_fold=7)


def test_configuration_files_are_checked(tmp_path):
    from medattn_core.training.config import read_config

    path = tmp_path / "c.json"
    path.write_text("{")
    with pytest.raises(TrainingError, match=r"c\.json"):
        read_config(path)
    path.write_text('{"model": {}}')
    with pytest.raises(TrainingError, match="model"):
        read_config(path)


def test_cross_validation_keeps_an_ensemble_whose_evidence_still_sums(squares, tmp_path):
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    bundle = train(
        squares, tmp_path / "several", config=changed(epochs=6, learning_rate=5e-3, ema_decay=0.9), device="cpu",
        folds=2, say=said.append, progress=lambda done, count, _: steps.append((done, count)),
    )  # fmt: skip
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]  # of both folds together
    assert len(bundle.members) == 1
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "An ensemble of 2 networks" in card
    assert "The scores are those of the single networks, each on the cases that it had not seen." in card
    assert any(line.startswith("fold 2 of 2: 16 cases train, 16 test") for line in said)
    calibration = bundle.metadata["medattn"]["calibration"]
    assert calibration["conformal"]["cases"] == 32
    predictor = Predictor.from_bundle(bundle, device="cpu")
    prediction = predictor(squares.with_name("3.png"))
    index = predictor.task.index(prediction.label)
    evidence = prediction.evidence()
    whole = prediction.bias[index] + evidence.total + evidence.residual
    assert whole == pytest.approx(prediction.logits[index], abs=1e-5)
    assert prediction.uncertainty["members"] == 2
    assert prediction.label_set is not None
    assert (tmp_path / "several.logs" / "fold1").is_dir()


def test_every_member_of_a_cross_validation_is_calibrated(squares, tmp_path):
    settings = changed(epochs=6, learning_rate=5e-3, ema_decay=0.9)
    bundle = train(squares, tmp_path / "several", config=settings, device="cpu", folds=2)
    biases = [network.pooling.bias.numpy() for network in Predictor.from_bundle(bundle, device="cpu").networks]
    np.testing.assert_allclose(biases[0], biases[1], atol=1e-6)
    assert np.abs(biases[0]).max() > 0.01


def test_the_limit_of_the_input_check_is_of_the_held_out_cases(squares, tmp_path):
    rows = list(csv.DictReader(squares.open()))
    write_list(squares, [row | {"fold": str(int(index >= 10))} for index, row in enumerate(rows)])
    bundle = train(squares, tmp_path / "out", config=changed(epochs=6), device="cpu", validation_fold=1)
    data = prepare(datalists.load(squares), bundle.task, (64, 64))
    want, other = (learn_input_check(load_network(bundle), data, data.folds >= fold) for fold in (1, 0))
    assert bundle.input_check.limit == pytest.approx(want.limit, rel=1e-3)
    assert bundle.input_check.limit != pytest.approx(other.limit, rel=1e-2)


def test_train_json_repeats_the_training_with_monai(squares, tmp_path):
    from monai.bundle import ConfigWorkflow

    folder = tmp_path / "squares"
    bundle = train(squares, folder, config=changed(epochs=2), device="cpu")
    workflow = ConfigWorkflow(
        config_file=str(folder / "configs" / "train.json"), meta_file=str(folder / "configs" / "metadata.json"),
        workflow_type="train", bundle_root=str(folder), dataset_dir=str(squares.parent),
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    again = torch.load(folder / "models" / "retrained.pt", weights_only=True)
    for name, value in load_network(bundle).state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-6, msg=name)  # stored in half precision


def test_only_some_cases_have_a_place(squares, tmp_path):
    lines = squares.read_text().splitlines()
    some = [
        lines[0],
        *(line if i % 2 else ",".join([*line.split(",")[:3], "", "", "", ""]) for i, line in enumerate(lines[1:])),
    ]
    squares.write_text("\n".join(some))
    bundle = train(squares, tmp_path / "some", config=changed(epochs=1), device="cpu")
    assert bundle.task.labels == ("bright", "dark")


def test_several_channels_train_and_predict(squares, tmp_path):
    rows = [f"{i}.png|{(i + 2) % 32}.png,{'bright' if i % 2 else 'dark'}" for i in range(32)]
    path = squares.with_name("channels.csv")
    path.write_text("image,label\n" + "\n".join(rows))
    bundle = train(path, tmp_path / "two", config=changed(epochs=1), device="cpu")
    assert bundle.task.channels == ("image 1", "image 2")
    predictor = Predictor.from_bundle(bundle, device="cpu")
    pair = [squares.with_name("0.png"), squares.with_name("2.png")]
    one, other = predictor(pair), predictor([pair[0], squares.with_name("7.png")])
    assert not np.allclose(one.logits, other.logits)
    with pytest.raises(Exception, match="takes 2 a case: image 1, image 2") as caught:
        predictor(pair[0])
    assert caught.value.code == "bad_argument"


def test_validation_cases_train_nothing(squares, tmp_path):
    network, data, task, config = pieces(squares, epochs=1)
    held = data.folds == 1
    alone = fit(network, data.subset(~held), task, config)
    network, data, task, config = pieces(squares, epochs=1, patience=5)
    watched = fit(network, data.subset(~held), task, config, validation=data.subset(held))
    for name, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[name], value), name


@pytest.mark.parametrize(("settings", "said"), [
    ({"training": {"epochs": "many"}}, "epochs='many'; a value of type int"),
    ({"training": {"batch_size": 8.5}}, "batch_size=8.5"),
    ({"training": {"augmentation": {"rotat": 3}}}, "unknown key 'rotat'; accepted: flip"),
    ({"training": {"class_weights": ["a"]}}, "list of numbers"),
    ({"task": {"spacing": "x"}}, "task settings"),
    ({"task": None}, "'task' is None"),
])  # fmt: skip
def test_settings_of_the_wrong_kind_are_named(squares, tmp_path, settings, said):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings))
    with pytest.raises(TrainingError, match=re.escape(said)) as caught:
        train(squares, tmp_path / "out", config=config, device="cpu")
    assert caught.value.code == "bad_config"


def test_a_fold_without_a_label_is_refused(squares, tmp_path):
    path = squares.with_name("split.csv")
    path.write_text("image,label,fold\n" + "\n".join(f"{i}.png,{'a' if i < 16 else 'b'},{i // 16}" for i in range(32)))
    with pytest.raises(TrainingError, match="fold 1 of 2 would train without a case of 'a'"):
        train(path, tmp_path / "out", config=SETTINGS, device="cpu", folds=2)


@pytest.mark.parametrize(("name", "code"), [("ü", "bad_argument"), ("file/x", "unwritable")])
def test_an_impossible_output_is_known_before_training(squares, tmp_path, name, code):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError) as caught:
        train(squares, tmp_path / name, config=SETTINGS, device="cpu")
    assert caught.value.code == code
