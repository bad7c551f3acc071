"""Settings are refused before a training that they would end, and with words that say which."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st

from medattn_core.cli.shared import FAILED, WRONG_USAGE, reported
from medattn_core.errors import BundleError, MedAttnError, TaskError, TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.ranges import SEEDS
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig, check_about, read_config
from medattn_core.training.preflight import check_before, check_output, network_of, network_settings_of
from tests import checks

NETWORK: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "width": 8}
TASK = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


refused = partial(checks.refused, code="bad_config")


@pytest.mark.parametrize(("about", "said"), [
    ({"calibration": {"temperature": "x"}}, "temperature is 'x'; a number above 0"),
    ({"calibration": {"temperature": 0}}, "temperature is 0; a number above 0"),
    ({"calibration": {"temperature": float("nan")}}, "temperature is nan"),
    ({"calibration": {"temperature": True}}, "temperature is True"),
    ({"calibration": {"offset": [1, 2]}}, "offset is [1, 2]; an object of a number for each label"),
    ({"calibration": {"offset": {"a": "much"}}}, "offset is {'a': 'much'}"),
    ({"metrics": {"auc": "high"}}, "metrics, auc is 'high'; a finite number"),
    ({"metrics": {1: 2}}, "metrics, key 1; a text is needed, in quotes"),
    ({"calibration": {True: 2}}, "calibration, key True; a text is needed"),
    ({"calibration": {"temperature": 2, "conformal": 5}}, "bundle: calibration conformal is no object; mend it"),
    ({"calibration": {"conformal": {"coverage": 7}}}, "bundle: calibration coverage is 7; 0 to 1 is accepted"),
])  # fmt: skip
def test_numbers_of_the_bundle_part(about: dict[str, Any], said: str) -> None:
    assert said in refused(check_about, about)


def test_numbers_of_the_bundle_part_that_can_be() -> None:
    check_about({"calibration": {"temperature": 2, "offset": {"a": -0.5}}, "metrics": {"auc": 1}})


@pytest.mark.parametrize("seed", [-1, SEEDS + 1, 10**18, 10**400])
def test_seeds_that_nothing_takes(seed: int) -> None:
    assert "seed" in refused(TrainingConfig.from_dict, {"seed": seed})
    assert f"accepted: 0 to {SEEDS}" in refused(replace, TrainingConfig(), seed=seed)


def test_folds_and_offsets_are_known_before_training(tmp_path: Path) -> None:
    given = (tmp_path / "out", TASK, (32, 32), NETWORK)
    check_before(*given, TrainingConfig(seed=SEEDS), about={}, held_out=False)
    said = refused(check_before, *given, TrainingConfig(seed=SEEDS), about={}, held_out=True)
    assert "folds add their number to it, accepted: 0 to 4294901759" in said
    check_before(*given, TrainingConfig(seed=4294901759), about={}, held_out=True)
    about = {"calibration": {"offset": {"c": 1.0}}}
    said = refused(check_before, *given, TrainingConfig(), about=about, held_out=False)
    assert "offset has the unknown label 'c'; accepted: a, b" in said


@pytest.mark.parametrize("text", ["", "# epochs: 3\n#seed: 1\n", "---\n"])
def test_yaml_without_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert read_config(path) == {}


@pytest.mark.parametrize("name", ["s.json", "s.yaml"])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"training": {"epochs": 3}}', encoding="utf-8-sig")
    assert read_config(path) == {"training": {"epochs": 3}}


@pytest.mark.parametrize(("text", "said"), [
    ("[1]", "it is no object of settings; accepted parts: task"),
    ("{1: {}, trainng: {}}", "unknown parts [1, 'trainng']; accepted: task"),
    ("task: {spacing: [0, 1]}", "spacing [0, 1]; a list of positive numbers is needed"),
    ("task: {spacing: [a, 1]}", "spacing ['a', 1]; a list of positive numbers"),
    ("task: {size: [40.7, 40]}", "size [40.7, 40]; a list of positive whole numbers"),
    ("task: {field_of_view: 0}", "field_of_view 0; a positive number of mm"),
    ("task: {spacing: null}", "spacing None; a list is needed, one number an axis"),
    ("training: &a {losses: *a}", "an alias (*) stands inside of what it names"),
    ("training: {seed: 1, epochs: 3, seed: 2}", "key 'seed' stands twice in one object; keep one of them"),
    ("task: {}\ntask: {}\n", "key 'task' stands twice"),
])  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert said in refused(read_config, path)


@pytest.mark.parametrize(("text", "said"), [
    ('{"training": {"seed": 1, "seed": 2}}', "key 'seed' stands twice in one object; keep one of them"),
    ('{"training": ' + "[" * 100_000 + "]" * 100_000 + "}", "cannot be read as JSON (maximum recursion"),
])  # fmt: skip
def test_json_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    assert said in refused(read_config, path)


@pytest.mark.parametrize("part", [
    "{learning_rate: 0,001}",
    "{losses: {location: 0,3}}",
    "{weight_decay: 0,05, seed: 1}",
    "{learning_rate: 0,5, weight_decay: 0,5}",
])  # fmt: skip
def test_a_decimal_comma_in_yaml(tmp_path: Path, part: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"training: {part}")
    said = refused(lambda: TrainingConfig.from_dict(read_config(path)["training"]))
    assert "(a comma between digits? write the decimal point as '.'); " in said


@pytest.mark.parametrize(("lines", "key"), [
    ("training:\n  learning_rate: 0,001", "learning_rate='0,001'"),
    ("training:\n  warmup_epochs: ',5'", "warmup_epochs=',5'"),
    ("training:\n  epochs: 1,5", "epochs='1,5'"),
    ("training:\n  class_weights:\n  - 1,5\n  - 2", "class_weights=['1,5', 2]"),
    ("training:\n  losses:\n    location: 0,3", "location='0,3'"),
    ("network:\n  dropout: 0,1", "dropout is '0,1'"),
    ("task:\n  field_of_view: 240,5", "field_of_view '240,5'"),
    ("task:\n  spacing:\n  - 0,5\n  - 0,5", "spacing ['0,5', '0,5']"),
    ("task:\n  threshold: 0,5", "threshold '0,5'"),
    ("task:\n  slice_spacing: 2,5e0", "slice_spacing '2,5e0'"),
    ("task:\n  intensity:\n    rule: window\n    lower: -0,5", "intensity lower '-0,5'"),
    ("bundle:\n  metrics:\n    auc: 0,9", "auc is '0,9'"),
    ("bundle:\n  calibration:\n    temperature: 1,5", "temperature is '1,5'"),
])  # fmt: skip
def test_a_decimal_comma_on_a_line_of_its_own(tmp_path: Path, lines: str, key: str) -> None:
    """Of which YAML makes a text, not two keys."""
    path = tmp_path / "s.yaml"
    path.write_text(lines)

    def used() -> None:
        parts = {"training": {}, "network": {}, "bundle": {}, "task": {}} | read_config(path)
        TrainingConfig.from_dict(parts["training"])
        network_settings_of(parts["network"])
        check_about(parts["bundle"])
        TaskSpec(**{"name": "t", "labels": ("a", "b"), "spatial_dims": 2, "spacing": (1, 1), **parts["task"]})

    with pytest.raises(MedAttnError) as caught:
        used()
    assert key in caught.value.message
    assert "(a comma between digits? write the decimal point as '.')" in caught.value.message


def test_what_is_no_comma_between_digits_is_not_said_to_be_one() -> None:
    for value in ("fast", "1.000,5", "a,5", True, "0.5x", "1;5", -1):
        with pytest.raises(TrainingError) as caught:
            TrainingConfig.from_dict({"learning_rate": value})
        assert "comma" not in caught.value.message


def test_what_yaml_merges_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("task: &a {name: x}\nbundle: &b {<<: *a, name: y}\nnetwork: {<<: *b, name: z}\n")
    assert read_config(path)["network"] == {"name": "z"}


@pytest.mark.parametrize(("setting", "said"), [
    ({"null_token": "no"}, "null_token is 'no'; true or false (without quotes) is needed"),
    ({"mixing": "yes"}, "mixing is 'yes'; true or false"),
    ({"bias": 0.3}, "bias is 0.3; a list of numbers, one an output, is needed"),
    ({"bias": ["a", 1]}, "bias is ['a', 1]; a list of numbers"),
    ({"width": 8.5}, "width is 8.5; a whole number"),
    ({"width": True}, "width is True; a whole number"),
    ({"dropout": "0.1"}, "dropout is '0.1'; a number"),
    ({"pooling": 1}, "pooling is 1; a text"),
    ({"encoder_options": [1]}, "encoder_options is [1]; an object"),
    ({"encoder_options": "x"}, "encoder_options is 'x'; an object"),
    ({"width": 0}, "width is 0; a whole number above 0"),
    ({True: 1, "foo": 2}, "unknown key True; accepted: spatial_dims"),  # YAML reads `on` as true
    ({"encoder_options": {"foo": 1}}, "unknown key 'foo'; accepted: widths, blocks, stem_stride"),
    ({"encoder_options": {1: 1}}, "unknown key 1; accepted: widths"),
    ({"encoder_options": {"in_channels": 1}}, "unknown key 'in_channels'; accepted: widths"),
    ({"encoder": "vgg", "encoder_options": {}}, "unknown encoder 'vgg'; accepted: "),
    ({"encoder": "resnet18", "encoder_options": {"shortcut_type": "Z"}}, "network settings: "),
])  # fmt: skip
def test_types_of_the_network_part(setting: dict[str, Any], said: str) -> None:
    assert said in refused(network_of, {**NETWORK, **setting})


def test_types_of_the_network_part_that_can_be() -> None:
    more = {
        "bias": [0, 0.5],
        "dropout": 0,
        "mirror": [0, 1],
        "encoder_options": None,
        "null_token": False,
        "evidence_stride": 8.0,
        "width": 8.0,
    }
    network = network_of({**NETWORK, **more})
    assert isinstance(network, AttentionCNN)
    assert network.eval()(torch.zeros(1, 1, 30, 30)).shape == (1, 2)  # which is padded to a multiple of the strides
    given = network_settings_of({"width": 8.0, "dropout": 0.0})
    assert [type(value) for value in given.values()] == [int, float]


@pytest.mark.parametrize(("setting", "said"), [
    ({"in_channels": 2}, "in_channels is 2, but the task asks for 1; leave it out, it follows the list"),
    ({"out_channels": 3}, "out_channels is 3, but the task asks for 2; leave it out"),
    ({"spatial_dims": 3}, "spatial_dims is 3, but the task asks for 2; leave it out"),
    ({"slicewise": True}, "slicewise is True, but the task asks for False; leave it out"),
])  # fmt: skip
def test_network_settings_that_follow_the_task(tmp_path: Path, setting: dict[str, Any], said: str) -> None:
    given = (tmp_path / "out", TASK, (32, 32), {**NETWORK, **setting}, TrainingConfig())
    assert said in refused(check_before, *given, about={}, held_out=False)


def test_a_trial_bundle_is_of_the_settings(tmp_path: Path) -> None:
    """Nothing lies at the output: no file of it can be what is wrong."""
    about = {"calibration": {"temperature": 2, "conformal": 5}}
    said = refused(
        check_before, tmp_path / "out", TASK, (32, 32), NETWORK, TrainingConfig(), about=about, held_out=False
    )
    assert str(tmp_path) not in said
    assert "conformal" in said


@pytest.mark.parametrize("beside", ["out.training", "out.logs"])
def test_what_a_training_writes_beside_its_bundle(tmp_path: Path, beside: str) -> None:
    (tmp_path / beside).mkdir()
    check_output(tmp_path / "out")
    assert not any((tmp_path / beside).iterdir())
    (tmp_path / beside).rmdir()
    (tmp_path / beside).write_text("of somebody else")
    said = refused(check_output, tmp_path / "out", code="unwritable")
    assert said.startswith(f"{tmp_path / beside}: exists and is no folder")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which even root cannot write is Linux's /proc")
def test_a_folder_beside_the_bundle_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.logs").symlink_to("/proc/self", target_is_directory=True)
    said = refused(check_output, tmp_path / "out", code="unwritable")
    assert said.startswith(f"{tmp_path / 'out.logs'}: ")
    assert "make it writable, or choose another name" in said


def test_the_rule_of_names_is_said(tmp_path: Path) -> None:
    said = refused(check_output, tmp_path / "_m", code="bad_argument")
    assert "accepted: a letter or digit, then up to 99 of letters" in said


@pytest.mark.parametrize(("error", "status"), [
    (TaskError("bad_task", "of the settings"), WRONG_USAGE),
    (TrainingError("bad_config", "of the settings"), WRONG_USAGE),
    (BundleError("bad_bundle", "damaged, its task too"), FAILED),
])  # fmt: skip
def test_wrong_settings_are_wrong_usage(error: MedAttnError, status: int) -> None:
    import typer

    with pytest.raises(typer.Exit) as caught, reported(verbose=False):
        raise error
    assert caught.value.exit_code == status


@drawn(
    start=st.floats(0.05, 1.0), epochs=st.integers(1, 60), coarsest=st.sampled_from([8, 16, 32]),
    evidence=st.sampled_from([4, 8]), size=st.lists(st.integers(8, 256), min_size=2, max_size=3),
)  # fmt: skip
def test_images_grow_to_their_size_and_never_shrink(
    start: float, epochs: int, coarsest: int, evidence: int, size: list[int]
) -> None:
    config = TrainingConfig(epochs=epochs, start_size=start)
    grown = np.array([config.size_at(epoch, tuple(size), coarsest, evidence) for epoch in range(epochs + 1)])
    assert (np.diff(grown, axis=0) >= 0).all()
    assert tuple(grown[-1]) == tuple(size)
    smaller = grown[grown != np.array(size)]
    assert (smaller % 8 == 0).all()
    assert (smaller >= 3 * coarsest).all()
    # None is squeezed but for the rounding to eight pixels, four up or down of any two axes.
    shares = grown / np.array(size)
    assert (shares.max(axis=1) - shares.min(axis=1) <= 8 / min(size) + 1e-9).all()
    first = config.full_size_from(tuple(size), coarsest, evidence)
    assert (grown[first:] == np.array(size)).all()
    assert first == 0 or (grown[first - 1] != np.array(size)).any()


def test_images_of_unlike_sides_keep_their_shape_and_squares_their_steps() -> None:
    config = TrainingConfig(epochs=40, start_size=0.5)
    assert config.size_at(0, (96, 56, 56), 16, 8) == (88, 48, 48)
    assert "88 x 48 x 48 at first, 96 x 56 x 56 from epoch " in config.growth((96, 56, 56), 16, 8)
    assert "48 x 48 from the first epoch" in config.growth((48, 48), 16, 8)
    said = TrainingConfig(epochs=2, start_size=0.5).growth((64, 64), 8, 8)
    assert said == "images: 32 x 32 at first, 56 x 56 at the end (start_size 0.5): too few epochs for 64 x 64"
    assert TrainingConfig(start_size=0.6).size_at(0, (224, 128), 32, 8) == (168, 96)
    steps = [config.size_at(epoch, (224, 224), 32, 8)[0] for epoch in range(40)]
    assert sorted(set(steps)) == [128, 160, 192, 224]
    assert config.full_size_from((64, 64), 32, 8) == 0  # three cells of the stride are more than there is


def test_a_start_size_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"start_size=0; accepted: above 0, up to 1"):
        TrainingConfig(start_size=0)
