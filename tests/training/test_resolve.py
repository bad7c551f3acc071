"""What a bundle to start from brings, and what the new task keeps: network, grid, biases; and what is said of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core import datalists
from medattn_core.bundles import Bundle, load_network, save_bundle
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training import TrainingConfig
from medattn_core.training.data import prepare
from medattn_core.training.from_bundle import origin_of
from medattn_core.training.loop import build_trainer, trainer_of
from medattn_core.training.resolve import choose
from medattn_core.volumes import Volume
from medattn_core.volumes.write import write
from tests.squares import SETTINGS, write_list


def bundle_of(folder: Path, task: dict[str, Any], network: dict[str, Any] | None = None) -> Bundle:
    """An untrained bundle."""
    spec = TaskSpec.from_dict({**SETTINGS["task"], **task})
    settings = {"spatial_dims": spec.spatial_dims, "in_channels": len(spec.channels), "slicewise": spec.slicewise,
                "out_channels": len(spec.labels), **(network or {})}  # fmt: skip
    state = AttentionCNN(**settings).state_dict()
    return save_bundle(folder, task=spec, network_settings=settings, state_dict=state, description="x", version="1.0.0")


def chosen(
    squares: Path, start: Bundle | None, config: dict[str, Any] | None = None
) -> tuple[TaskSpec, tuple[int, ...], dict[str, Any], str]:
    lines: list[str] = []
    cases = datalists.load(squares)
    task, size, network, _ = choose(
        squares, cases, "new", config or {}, TrainingConfig(), start=start, held_out=np.zeros(len(cases), bool),
        say=lines.append,
    )  # fmt: skip
    return task, size, network, "\n".join(lines)


def relabelled(squares: Path, name: str, **columns: Any) -> Path:
    """The list with other columns: functions of the number of the case."""
    rows = [
        {"image": row["image"], **{key: str(value(number)) for key, value in columns.items()}}
        for number, row in enumerate(csv.DictReader(squares.open()))
    ]
    return write_list(squares.with_name(name), rows)


TUMOURS = {"kind": "multiclass", "labels": ["bright", "dark"], "spatial_dims": 2}


def test_a_small_list_keeps_the_network_of_a_large_one(squares: Path, tmp_path: Path) -> None:
    """Whose settings name no options, where those of a narrower one would be planned."""
    start = bundle_of(tmp_path / "large", TUMOURS)
    network = chosen(squares, start)[2]
    assert AttentionCNN(**network).encoder.channels == AttentionCNN(**start.network).encoder.channels
    assert chosen(squares, None)[2]["width"] == 64


def test_pictures_without_pixel_size_have_the_field_of_view_of_the_bundle(squares: Path, tmp_path: Path) -> None:
    start = bundle_of(
        tmp_path / "heads", {**TUMOURS, "spacing": [1.12, 1.12], "field_of_view": 250.88, "size": [224, 224]}
    )
    task, size, _, _ = chosen(squares, start)
    assert (task.spacing, task.field_of_view, size) == ((1.12, 1.12), 250.88, (224, 224))
    # The same where the settings say it, and not a bundle.
    task, size, _, _ = chosen(squares, None, {"task": {"field_of_view": 128.0}})
    assert (task.spacing, size) == ((2.0, 2.0), (64, 64))


def test_a_label_keeps_its_calibrated_bias_beside_a_new_one(squares: Path, tmp_path: Path) -> None:
    start = bundle_of(
        tmp_path / "finder", {"kind": "multilabel", "labels": ["bright"], "spatial_dims": 2}, {"bias": [-4.5]}
    )
    both = relabelled(squares, "both.csv", label=lambda n: ("bright", "round", "bright|round", "-")[n % 4])
    task, _, network, said = chosen(both, start)
    assert task.labels == ("bright", "round")
    assert network["bias"] == pytest.approx([-4.5, np.log(0.1 / 0.9)])
    assert "from chance, with its encoder: round (it knows bright)" in said
    assert chosen(both, start, {"network": {"bias": [-1.0, -2.0]}})[2]["bias"] == [-1.0, -2.0]


def test_a_finding_among_several_kinds_is_the_same_number(squares: Path, tmp_path: Path) -> None:
    """One against the rest: a list with cases that show nothing asks for several labels, and the logits still fit."""
    start = bundle_of(tmp_path / "kinds", {**TUMOURS, "activation": "sigmoid"}, {"bias": [-3.0, -3.5]})
    some = relabelled(squares, "some.csv", label=lambda n: ("bright", "dark", "-")[n % 3])
    task, _, network, said = chosen(some, start)
    assert task.kind == "multilabel"
    assert network["bias"] == [-3.0, -3.5]
    assert "from chance" not in said
    assert chosen(squares, start)[0].activation == "sigmoid"


def test_a_value_starts_with_the_encoder_of_a_classification(squares: Path, tmp_path: Path) -> None:
    """Predicting the mean of the values, as from chance."""
    start = bundle_of(tmp_path / "kinds", {**TUMOURS, "activation": "sigmoid"}, SETTINGS["network"])
    ages = relabelled(squares, "ages.csv", value=lambda n: 1000 + 10 * (n % 7))
    task, _, settings, said = chosen(ages, start)
    assert (task.kind, task.labels, task.unit) == ("regression", ("value",), "")
    assert "from chance, with its encoder: value (its numbers are others: sigmoid, here identity)" in said
    data = prepare(datalists.load(ages), task, (64, 64))
    for seed in range(3):
        torch.manual_seed(seed)
        network = AttentionCNN(**{**settings, "dropout": 0.0})
        build_trainer(network, data, task, TrainingConfig(), start=start)
        with torch.no_grad():
            standardised = network.train()(torch.from_numpy(data.images[::2]).float())
        # The head lifts it by 51 standard deviations; fitted to another encoder it would be off by one or two.
        assert abs(float(standardised.mean())) < 0.01


def test_a_sum_over_the_extent_is_of_volumes_only(squares: Path, tmp_path: Path) -> None:
    volume = {"kind": "regression", "activation": "identity", "labels": ["area"], "unit": "mm2", "spatial_dims": 2}
    start = bundle_of(tmp_path / "area", volume, {"null_score": 11.5})
    assert "null_score" not in chosen(squares, start, {"task": {"activation": "sigmoid"}})[2]
    areas = relabelled(squares, "areas.csv", value=lambda n: 5 + n)
    task, _, network, said = chosen(areas, start, {"task": {"unit": "mm2"}})
    assert (task.labels, network["null_score"]) == (("area",), 11.5)
    assert "from chance" not in said
    assert "identity in mm2, here identity" in chosen(areas, start)[3]  # who names no unit is told


def test_other_dimensions_are_refused_with_the_name_of_the_bundle(squares: Path, tmp_path: Path) -> None:
    start = bundle_of(tmp_path / "solid", {**TUMOURS, "spatial_dims": 3, "slicewise": False, "spacing": [1.0] * 3,
                                           "size": [32] * 3, "field_of_view": None})  # fmt: skip
    with pytest.raises(TrainingError, match=r"the list holds pictures.*\(of bundle solid, which it is to start from\)"):
        chosen(squares, start)
    with pytest.raises(TrainingError, match=r"spatial_dims is 2, but bundle solid, .* has 3; leave it out"):
        chosen(squares, start, {"task": {"spatial_dims": 2}})


def test_volumes_for_a_bundle_of_pictures(squares: Path, tmp_path: Path) -> None:
    start = bundle_of(tmp_path / "flat", {**TUMOURS, "slicewise": False})
    for number in range(2):
        data = np.random.default_rng(number).random((64, 64, 3)).astype(np.float32)
        write(Volume(data=data, affine=np.eye(4)), tmp_path / f"{number}.nii.gz")
    scans = write_list(
        tmp_path / "scans.csv", [{"image": f"{n}.nii.gz", "label": ("bright", "dark")[n]} for n in range(2)]
    )
    with pytest.raises(
        TrainingError, match=r"0\.nii\.gz has several slices; add `slicewise: true`.*\(of bundle flat, wh"
    ):
        chosen(scans, start)
    task, _, network, _ = chosen(scans, start, {"task": {"slicewise": True}})
    assert task.slicewise
    assert network["slicewise"]


def test_a_spacing_that_is_too_coarse_is_the_bundles_or_ones_own(squares: Path, tmp_path: Path) -> None:
    start = bundle_of(tmp_path / "coarse", {**TUMOURS, "spacing": [50.0, 50.0]})
    with pytest.raises(TrainingError, match=r"spacing \[50.0, 50.0\] is too coarse.*\(of bundle coarse, which"):
        chosen(squares, start)
    with pytest.raises(TrainingError, match=r"too coarse.*or leave it out$"):
        chosen(squares, start, {"task": {"spacing": [40, 40]}})


@pytest.mark.parametrize(("network", "said"), [
    ({"encoder_options": [1]}, r"encoder_options is \[1\]; an object of keys and values"),
    ({"encoder_options": "x"}, "encoder_options is 'x'; an object"),
    ({True: 1, "foo": 2}, "unknown key True; accepted"),
])  # fmt: skip
def test_network_settings_are_looked_at_first(squares: Path, network: dict[Any, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said) as caught:
        chosen(squares, None, {"network": network})
    assert caught.value.code == "bad_config"


def test_whole_numbers_of_the_network_may_have_a_point(squares: Path) -> None:
    network = chosen(squares, None, {"network": {"evidence_stride": 4.0, "width": 8.0}})[2]
    assert [(network[name], type(network[name])) for name in ("evidence_stride", "width")] == [(4, int), (8, int)]


def test_train_json_starts_from_those_weights_or_not_at_all(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names no folder: a bundle of that name where it is run is taken, if it is that bundle."""
    first = bundle_of(tmp_path / "here" / "kinds", {**TUMOURS, "activation": "sigmoid"}, SETTINGS["network"])
    other = bundle_of(tmp_path / "there" / "kinds", {**TUMOURS, "activation": "sigmoid"}, SETTINGS["network"])
    config = TrainingConfig(epochs=1, initial_weights="kinds").to_dict()
    data = prepare(datalists.load(squares), first.task, (64, 64))
    network = AttentionCNN(**first.network)
    for folder in (tmp_path, other.path.parent):
        monkeypatch.chdir(folder)
        with pytest.raises(TrainingError, match=r"no folder of that name|has other weights than kinds 1\.0\.0"):
            trainer_of(network, data, first.task.to_dict(), config, started_from=origin_of(first))
    monkeypatch.chdir(first.path.parent)
    trainer_of(network, data, first.task.to_dict(), config, started_from=origin_of(first))
    there = load_network(first).state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, there[name], msg=name)
