"""What is known before training is said before training."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from medattn_core import datalists
from medattn_core.bundles import Recipe, load, load_network
from medattn_core.bundles.configs import train_config
from medattn_core.datalists import Case
from medattn_core.errors import DataListError, MedAttnError, TaskError, TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.config import TrainingConfig, check_about, read_config
from medattn_core.training.held_out import check_truth, gather, say_unlabelled
from medattn_core.training.preflight import check_installed
from medattn_core.training.processes import backend, own_device
from tests.squares import SETTINGS


@pytest.mark.parametrize(("part", "words"), [
    ({"bundle": {"version": 1.0}}, "version is 1.0; a text in quotes"),
    ({"bundle": {"licence": "x"}}, "unknown key 'licence'; accepted: description, version"),
    ({"network": {"mirror": 2}}, "mirror=2; accepted: -1 for none"),
    ({"network": {"miror": [0]}}, "unknown key 'miror'; accepted: spatial_dims"),
    ({"task": {"size": 32}}, "size 32; a list is needed, one number an axis"),
    ({"training": {"augmentation": {"flip_axes": [2]}}}, "flip_axes=[2]; accepted: different ones of 0, 1"),
    ({"training": {"augmentation": {"flip_axes": [0, 0]}}}, "flip_axes=[0, 0]; accepted: different ones of 0, 1"),
    ({"training": {"patience": 3}}, "no case is held out; name a validation fold"),
    ({"training": {"augmentation": {"scale": 0.5}}}, "scale=0.5; accepted: 1"),
    ({"training": {"augmentation": {"flip": 2}}}, "flip=2; accepted: 0"),
    ({"training": {"losses": {"bag": -1}}}, "bag=-1; accepted: 0 or more"),
    ({"training": {"losses": {"together": 1}}, "task": {"activation": "softmax"}}, "together is of labels that are"),
    ({"training": {"weight_decay": -0.1}}, "weight_decay=-0.1"),
    ({"training": {"warmup_epochs": -1}}, "warmup_epochs=-1"),
    ({"task": {"description": "@home"}}, "settings: '@home' in task would be code in the bundle's configurations"),
    ({"task": {"size": [60, 60]}}, "each a multiple of the evidence stride 8"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(squares, tmp_path, part, words):
    settings = copy.deepcopy(SETTINGS)
    for name, values in part.items():
        settings.setdefault(name, {}).update(values)
    with pytest.raises(TrainingError) as caught:
        train(squares, tmp_path / "out", config=settings, device="cpu")
    assert words in str(caught.value)
    assert caught.value.code == "bad_config"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("part", "words"), [
    ({"units": "mm3"}, "unknown key 'units'; accepted: name"),
    ({"threshold": 3}, "threshold 3; it is a probability, 0 to 1"),
])  # fmt: skip
def test_a_task_that_cannot_be_is_refused(squares, tmp_path, part, words):
    with pytest.raises(TaskError) as caught:
        train(squares, tmp_path / "out", config={**SETTINGS, "task": {**SETTINGS["task"], **part}}, device="cpu")
    assert words in str(caught.value)
    assert caught.value.code == "bad_task"
    assert not (tmp_path / "out").exists()


def test_numbers_may_be_written_in_several_ways(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("training: {learning_rate: 1e-3, batch_size: 8.0}\n")
    config = TrainingConfig.from_dict(read_config(path)["training"])
    assert (config.learning_rate, config.batch_size) == (1e-3, 8)
    assert isinstance(config.batch_size, int)
    check_about({"version": "1.0", "metrics": {}})


def swapped(squares: Path) -> Path:
    """The same pictures with the labels of two of them exchanged."""
    path = squares.with_name("swapped.csv")
    other = {"bright": "dark", "dark": "bright"}
    rows = re.sub(r"^([01]\.png),(bright|dark)", lambda m: f"{m[1]},{other[m[2]]}", squares.read_text(), flags=re.M)
    path.write_text(rows)
    return path


def test_checkpoints_of_another_kind_are_not_continued_and_not_left(squares, tmp_path):
    settings = {**SETTINGS, "training": {**SETTINGS["training"], "epochs": 1}}
    given = {"data": squares, "output": tmp_path / "out", "config": settings, "device": "cpu"}
    work, logs = tmp_path / "out.training", tmp_path / "out.logs"

    def begun(*names: str) -> None:
        for name in names:
            (work / name).mkdir(parents=True, exist_ok=True)
            (work / name / "checkpoint.pt").write_bytes(b"of a run that was killed")

    begun(".")
    with pytest.raises(TrainingError, match="is one of a single network"):
        train(**given, resume=True, folds=2)
    shutil.rmtree(work)
    begun("fold0", "fold2")
    for folds in (None, 2):
        with pytest.raises(TrainingError, match=r"is one with folds \(3 or more\); resume it with the same"):
            train(**given, resume=True, folds=folds)
    assert (work / "fold2" / "checkpoint.pt").exists()
    (logs / "fold2").mkdir(parents=True)
    curve, own = logs / "fold2" / "events.out.tfevents.1", logs / "mine.txt"
    curve.write_text("")
    own.write_text("")
    train(**given, overwrite=True)
    assert not work.exists()
    assert not curve.exists()
    assert own.exists()
    assert list(logs.glob("events.out.tfevents.*"))


def test_images_larger_than_the_grid_are_counted(squares, tmp_path):
    said: list[str] = []
    settings = copy.deepcopy(SETTINGS)
    settings["training"]["epochs"] = 1
    settings["task"] |= {"field_of_view": 128.0}
    train(squares, tmp_path / "out", config=settings, device="cpu", say=said.append)
    (line,) = [line for line in said if "only their middle is seen" in line]
    assert line.startswith("32 of 32 images are larger than the grid of 64 x 64")


@pytest.mark.parametrize("values", [(0, 255), (0, 1)])
def test_sparse_pictures_are_trained_on(tmp_path, values):
    """A spot of 16 pixels in 4096: what is one value in 99 % of an image is not emptied by a rule for that."""
    rows = ["image,label,fold"]
    for index in range(8):
        image = np.full((64, 64), values[0], np.uint8)
        image[10 + 20 * (index % 2) :, :][:4, 20:24] = values[1]
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"{index}.png"))
        rows.append(f"{index}.png,{'low' if index % 2 else 'high'},{index // 4}")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows))
    task = {k: v for k, v in SETTINGS["task"].items() if k != "intensity"}
    settings = {**SETTINGS, "task": task, "training": {**SETTINGS["training"], "epochs": 1}}
    bundle = train(path, tmp_path / "out", config=settings, device="cpu")
    assert bundle.task.intensities[0].upper == values[1]
    settings = {**settings, "task": {**task, "intensity": {"rule": "window", "lower": 1000, "upper": 2000}}}
    with pytest.raises(TrainingError, match="is one value; set"):
        train(path, tmp_path / "other", config=settings, device="cpu")


def test_a_finished_bundle_is_kept_unless_told_and_holds_what_it_learnt(squares, tmp_path):
    said: list[str] = []
    settings = copy.deepcopy(SETTINGS)
    settings["training"]["epochs"] = 1
    settings["bundle"] = {"calibration": {"temperature": 2.0}}
    folder = tmp_path / "out"
    rows = squares.read_text().splitlines()
    for index in (3, 5):  # beside their pictures
        rows[1 + index] = ",".join([*rows[1 + index].split(",")[:3], "90", "90", "16", "16"])
    squares.write_text("\n".join(rows))
    first = train(squares, folder, config=settings, device="cpu", say=said.append)
    assert first.input_check is not None  # 32 cases are enough for one
    assert any("no case is held out" in line and "--folds" in line for line in said)
    (unused,) = [line for line in said if line.startswith("masks and boxes")]
    assert "2 of 32" in unused
    assert "3.png" in unused
    bias = load_network(first).state_dict()["pooling.bias"]
    torch.testing.assert_close(bias, torch.full((2,), float(np.log(0.1 / 0.9))) / 2)  # the temperature is folded in
    with pytest.raises(TrainingError, match="a bundle is there already") as caught:
        train(squares, folder, config=settings, device="cpu")
    assert caught.value.code == "bad_argument"
    assert train(squares, folder, config=settings, device="cpu", resume=True).weights_sha256 == first.weights_sha256
    with pytest.raises(TrainingError, match="another training"):
        train(squares, folder, config=settings, device="cpu", resume=True, epochs=2)
    for change in ({"validation_fold": 1}, {"folds": 2}, {"data": swapped(squares)}):
        with pytest.raises(TrainingError, match="on other cases, or holds others out"):
            train(**{"data": squares, "output": folder, "config": settings, "device": "cpu", "resume": True} | change)
    metadata = folder / "configs" / "metadata.json"
    stored = json.loads(metadata.read_text())
    del stored["medattn"]["training"]["zoom_power"]  # as a version wrote it that had no such setting
    del stored["medattn"]["trained_on"]
    metadata.write_text(json.dumps(stored))
    assert train(squares, folder, config=settings, device="cpu", resume=True).weights_sha256 == first.weights_sha256
    again = train(squares, folder, config=settings, device="cpu", overwrite=True, seed=5)
    assert again.weights_sha256 != first.weights_sha256
    assert load(folder).weights_sha256 == again.weights_sha256


def test_a_missing_package_is_named_with_what_brings_it():
    with pytest.raises(
        TrainingError, match=r'training needs no_such_package: pip install "medattn\[train\]"'
    ) as caught:
        check_installed(("torch", "no_such_package"))
    assert caught.value.code == "missing_dependency"


def written(folder: Path, **sections: object) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps(sections))
    return path


def test_the_validation_list_is_held_out(tmp_path):
    for index in range(4):
        (tmp_path / f"{index}.png").touch()
    entry = [{"image": f"{i}.png", "label": "ab"[i % 2], "fold": i % 2} for i in range(4)]
    path = written(tmp_path, training=entry[:2], validation=entry[2:], test=entry[:1])
    said: list[str] = []
    asked = {"section": "training", "folds": None, "validation_fold": None, "seed": 0, "say": said.append}
    cases, masks, where = gather(path, **asked)
    assert [mask.tolist() for mask in masks] == [[False, False, True, True]]
    assert where == "the list 'validation'"
    assert len(cases) == 4
    cases, masks, where = gather(path, **{**asked, "validation_fold": 1})
    assert masks[0].tolist() == [False, True]
    assert any("is not used" in line for line in said)
    assert len(gather(path, **{**asked, "section": "test"})[0]) == 3
    path = written(tmp_path, training=entry[:3], validation=entry[2:])
    with pytest.raises(DataListError, match="an image is in 'training' and in 'validation'"):
        gather(path, **asked)
    with pytest.raises(DataListError, match="an image is in 'training' and in 'validation'"):
        datalists.check(path)
    path = written(tmp_path, training=entry[:2], validation=[{"image": "2.png"}])
    for look in (lambda: gather(path, **asked), lambda: datalists.check(path)):
        with pytest.raises(DataListError, match=r"2\.png in 'validation' has no label"):
            look()
    path = written(tmp_path, training=entry[:2], validation=[{"image": ["2.png", "3.png"], "label": "a"}])
    with pytest.raises(DataListError, match="'validation' has other channels than 'training'"):
        gather(path, **asked)


def test_an_unfinished_training_is_not_thrown_away(squares, tmp_path):
    """After a kill the same command without --resume used to begin anew in silence."""
    checkpoint = tmp_path / "out.training" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"epochs of work")
    with pytest.raises(TrainingError, match=r"an unfinished training is there; continue it \(--resume\)"):
        train(squares, tmp_path / "out", config=SETTINGS, device="cpu")
    assert checkpoint.read_bytes() == b"epochs of work"
    train(squares, tmp_path / "out", config=SETTINGS, device="cpu", overwrite=True)
    assert not checkpoint.parent.exists()


@pytest.mark.parametrize(("cases", "words"), [
    ([{"labels": ("a",)}, {"labels": ("a",)}], "every case has the label 'a'"),
    ([{"labels": ()}, {"labels": ()}], "no case shows a label"),
    ([{"value": 3.0}, {"value": 3.0}], "the same value"),
    ([{}, {}], "no column `label`"),
])  # fmt: skip
def test_a_list_with_nothing_to_learn_is_refused(cases, words):
    with pytest.raises(DataListError, match=words) as caught:
        check_truth(Path("l.csv"), [Case(image=Path(f"{i}.png"), **case) for i, case in enumerate(cases)], print)
    assert caught.value.code == "bad_datalist"


def test_one_label_with_its_places_can_be_learnt():
    said: list[str] = []
    check_truth(Path("l.csv"), [Case(image=Path("0.png"), label="a", box=(0, 0, 2, 2))], said.append)
    assert "outside the masks and boxes" in said[0]


def test_marks_where_no_label_is_true_are_told():
    """Of an empty mask, whose case is not located, nothing is said."""
    marked = [
        Case(image=Path(f"{i}.png"), labels=labels, box=(0, 0, 2, 2)) for i, labels in enumerate([("a",), (), ()])
    ]
    cases = [*marked, Case(image=Path("3.png"), labels=(), mask=Path("empty.png"))]
    said: list[str] = []
    say_unlabelled(cases, np.array([True, True, True, False]), said.append)
    (line,) = said
    assert "2 mark something where no label is true ('-'), the first that of 1.png" in line
    assert "name the label" in line
    for quiet in (cases[:1], cases[3:], [Case(image=Path("v.png"), value=2.0, box=(0, 0, 2, 2))]):
        said.clear()
        say_unlabelled(quiet, np.array([quiet[0].mask is None]), said.append)
        assert not said


def test_training_tells_of_them(squares, tmp_path):
    box = {"box": [4, 4, 8, 8]}
    cases = [{"image": str(squares.parent / f"{i}.png"), "label": "a" if i % 2 else "-", **box} for i in range(8)]
    settings = copy.deepcopy(SETTINGS)
    settings["training"]["epochs"] = 1
    said: list[str] = []
    train(written(tmp_path, training=cases), tmp_path / "out", config=settings, device="cpu", say=said.append)
    (line,) = [line for line in said if "mark something where no label is true" in line]
    assert line.startswith("masks and boxes: 4 ")


def test_each_process_has_its_own_gpu_and_its_own_way_to_speak(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("cuda") == "cuda:3"
    assert own_device("cpu") == "cpu"
    assert (backend("cuda:3"), backend("cpu")) == ("nccl", "gloo")
    with pytest.raises(
        TrainingError, match=r"'cuda:1' is one card, and several processes .* accepted: auto, cpu, cuda"
    ):
        own_device("cuda:1")


def test_train_json_takes_any_file_name_and_holds_the_watched_fold_out():
    from monai.bundle import ConfigParser

    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    recipe = Recipe(data_list="it's @b.csv", size=(64, 64), hold_out=1, section="fit", watched=True)
    config = train_config(task, {}, {"patience": 3}, recipe)
    parser = ConfigParser({name: config[name] for name in ("dataset_dir", "data_name", "data_list")})
    parser["dataset_dir"] = "/data"
    assert parser.get_parsed_content("data_list") == "/data/./it's @b.csv"
    assert config["train"]["held_out"]["only"] == 1
    assert config["train"]["held_out"]["section"] == "fit"
    assert config["train"]["trainer"]["validation"] == "@train::held_out"


def test_a_training_that_replaces_a_bundle_is_unfinished_before_its_first_checkpoint(squares, tmp_path):
    folder = tmp_path / "out"
    old = train(squares, folder, config=SETTINGS, device="cpu")

    def killed(done, count):
        raise KeyboardInterrupt

    def stopped(step, steps, losses):
        raise KeyboardInterrupt

    for moment in ({"progress": stopped}, {"reading": killed}):
        with pytest.raises(KeyboardInterrupt):
            train(squares, folder, config=SETTINGS, device="cpu", overwrite=True, seed=3, **moment)
        assert folder.with_name("out.training").is_dir()
    assert load(folder).weights_sha256 == old.weights_sha256
    with pytest.raises(KeyboardInterrupt):  # said with --resume, too, and after its images are read
        train(squares, folder, config=SETTINGS, device="cpu", overwrite=True, resume=True, seed=3, progress=stopped)
    new = train(squares, folder, config=SETTINGS, device="cpu", resume=True, seed=3)
    assert new.weights_sha256 != old.weights_sha256
    assert (
        train(squares, folder, config=SETTINGS, device="cpu", resume=True, seed=3).weights_sha256 == new.weights_sha256
    )

    (squares.parent / "1.png").write_bytes(b"no picture")  # the plan looks at others
    with pytest.raises(MedAttnError):
        train(squares, folder, config=SETTINGS, device="cpu", overwrite=True, seed=4)
    assert not folder.with_name("out.training").exists()  # nothing has begun


def test_train_json_obeys_what_is_overridden(squares, tmp_path):
    from monai.bundle import ConfigParser

    settings = copy.deepcopy(SETTINGS)
    settings["training"]["epochs"] = 2
    folder = train(squares, tmp_path / "out", config=settings, device="cpu").path
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "train.json"))
    parser["bundle_root"], parser["dataset_dir"] = str(folder), str(squares.parent)
    parser["training"]["epochs"], parser["training"]["seed"] = 1, 7
    first = torch.get_rng_state()
    try:
        parser.get_parsed_content("initialize")
        assert torch.initial_seed() == 7
        trainer = parser.get_parsed_content("train::trainer")
        assert trainer.state.max_epochs == 1
    finally:
        torch.set_rng_state(first)


@pytest.mark.parametrize(("asked", "fold", "scored", "watched"), [
    ({}, None, "validation", True),
    ({"validation_fold": 1}, 1, "training", True),
    ({"folds": 2}, None, "training", False),
])  # fmt: skip
def test_the_bundle_knows_which_cases_were_held_out(squares, tmp_path, asked, fold, scored, watched):
    cases = [{"image": row["image"], "label": row["label"], "fold": index // 8 % 2}
             for index, row in enumerate(csv.DictReader(squares.open()))]  # fmt: skip
    path = written(tmp_path, training=cases[:16], validation=cases[16:])
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"epochs": 1, "patience": 1}
    folder = train(path, tmp_path / "out", config=settings, device="cpu", **asked).path
    metrics = json.loads((folder / "configs" / "evaluate.json").read_text())["metrics"]
    assert (metrics["fold"], metrics["section"]) == (fold, scored)
    parts = json.loads((folder / "configs" / "train.json").read_text())["train"]
    assert (parts["dataset"]["hold_out"], "section" in parts["dataset"]) == (fold, False)
    assert ("held_out" in parts, "validation" in parts["trainer"]) == (watched, watched)
    if watched:
        assert (parts["held_out"]["only"], parts["held_out"].get("section", "training")) == (fold, scored)


def test_evaluate_json_names_no_list_where_there_is_one(squares, tmp_path):
    settings = copy.deepcopy(SETTINGS)
    settings["training"]["epochs"] = 1
    bundle = train(squares, tmp_path / "out", config=settings, device="cpu", validation_fold=1)
    assert "section" not in json.loads((bundle.path / "configs" / "evaluate.json").read_text())["metrics"]
