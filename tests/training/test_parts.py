"""Folds, early stopping, units, losses of regression, focal and weighted losses, the input check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.bundles.trust import InputCheck, Trust
from medattn_core.datalists import Case
from medattn_core.errors import BundleError, DataListError, TrainingError
from medattn_core.metrics.calibration import expected_calibration_error
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import (
    fit_abstain,
    fit_confidence,
    fit_conformal,
    fit_conformal_value,
)
from medattn_core.training.config import TrainingConfig, read_config
from medattn_core.training.data import TrainingData
from medattn_core.training.early_stop import EarlyStop
from medattn_core.training.folds import assign
from medattn_core.training.held_out import check_labels, gather
from medattn_core.training.input_check import fit_input_check
from medattn_core.training.losses import classification_loss, regression_map_loss
from medattn_core.training.objective import Objective
from medattn_core.training.processes import Processes
from medattn_core.training.reliability import HeldOut, assess
from medattn_core.training.units import Units, start_at_mean
from medattn_core.transforms.augment import Augmentation


def cases(patients: list[str | None], labels: list[str]) -> list[Case]:
    return [
        Case(image=Path(f"{i}.nii"), label=label, patient=p)
        for i, (p, label) in enumerate(zip(patients, labels, strict=True))
    ]


@given(st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_images_of_a_patient_share_a_fold_and_classes_are_spread(folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = [f"p{i // 3}" for i in range(90)]
    labels = [["a", "b"][int(rng.integers(2)) if i % 3 == 0 else 0] for i in range(90)]
    number = assign(cases(patients, labels), folds, seed)
    assert set(number.tolist()) == set(range(folds))
    for patient in set(patients):
        assert len({int(n) for n, p in zip(number, patients, strict=True) if p == patient}) == 1
    assert np.ptp(np.bincount(number)) <= 90 // folds


def test_folds_of_the_list_win_and_a_wrong_number_is_an_error() -> None:
    listed = [Case(image=Path(f"{i}.nii"), label="a", fold=3 + i % 2) for i in range(6)]
    assert assign(listed, 2).tolist() == [3, 4, 3, 4, 3, 4]
    for folds, given_cases, text in (
        (3, listed, "the list names 2"),
        (1, listed, "at least 2"),
        (4, cases(["p", "p", "q"], ["a"] * 3), "only 2 patients"),
    ):
        with pytest.raises(TrainingError, match=text):
            assign(given_cases, folds)


class Answers(torch.nn.Module):
    """A network that says what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.flatten(1)[:, :2]


def data(images: np.ndarray, targets: np.ndarray) -> TrainingData:
    count = len(images)
    return TrainingData(
        images=images, targets=targets, masks=np.zeros((count, 4, 4), np.uint8), located=np.zeros(count, bool),
        folds=np.zeros(count, int),
    )  # fmt: skip


def test_early_stop_keeps_the_best_epoch_and_survives_a_checkpoint() -> None:
    truth = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    images = np.zeros((4, 1, 4, 4), np.float16)
    images[:, 0, 0, :2] = truth
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    network = Answers()
    stop = EarlyStop(TrainingConfig(patience=2), data(images, truth), task)
    assert not stop.after(network, 1)  # right: scale 1
    network.scale.data.fill_(-1.0)
    assert not stop.after(network, 2)
    again = EarlyStop(TrainingConfig(patience=2), data(images, truth), task)
    again.load_state_dict(stop.state_dict())
    assert again.after(network, 3)
    again.keep(network)
    assert float(network.scale) == 1.0
    assert again.best_epoch == 1
    never = EarlyStop(TrainingConfig(patience=0), data(images, truth), task)
    assert not any(never.after(network, epoch) for epoch in range(50))


def test_units_start_at_the_mean_and_restore_the_sum() -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((16, 1, 32, 32), np.float32).astype(np.float16)
    targets = np.random.default_rng(1).normal(3000, 400, (16, 1)).astype(np.float32)
    training = data(images, targets)
    network = AttentionCNN(
        spatial_dims=2, in_channels=1, out_channels=1, width=16, null_score=5.0,
        encoder_options={"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    )  # fmt: skip
    units = Units.of(training)
    standardised = units.standardised(training)
    assert abs(float(standardised.targets.mean())) < 1e-3
    start_at_mean(network, standardised, units.mean, units.spread)
    with torch.no_grad():
        value = network.train()(torch.from_numpy(images.astype(np.float32)))
    assert float(value.mean().abs()) < 0.5  # standard deviations
    units.restore(network.eval())
    with torch.no_grad():
        out = network.attend(torch.from_numpy(images[:2].astype(np.float32)))
    assert float(network.pooling.bias) == pytest.approx(0.0, abs=1e-2)  # the evidence counts from zero
    torch.testing.assert_close(out.logits, network.pooling.bias + out.contributions.flatten(2).sum(2))


@given(st.floats(100, 5000), st.floats(0.2, 5))
@settings(max_examples=20, deadline=None)
def test_a_zoomed_value_is_its_multiple(value: float, factor: float) -> None:
    units = Units(mean=3000.0, spread=400.0)
    standard = torch.tensor([[(value - units.mean) / units.spread]], dtype=torch.float64)
    zoomed = units.zoomed(standard, torch.tensor([[factor]], dtype=torch.float64))
    assert float(zoomed) * units.spread + units.mean == pytest.approx(value * factor)


@pytest.mark.parametrize("size", [(32, 32), (16, 16), (16, 32)], ids=str)
@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_training_asks_for_the_value_of_the_zoomed_image(power: int, size: tuple[int, int]) -> None:
    """The loss of a network that says the mean is that of the values after the zoom that was drawn.

    Images that are still growing are smaller by as much again.
    """
    images = np.ones((4, 1, 32, 32), np.float16)
    targets = np.array([[100.0], [200.0], [300.0], [400.0]], np.float32)
    units = Units.of(data(images, targets))
    standard = units.standardised(data(images, targets))
    network = AttentionCNN(
        spatial_dims=2, in_channels=1, out_channels=1, width=8,
        encoder_options={"widths": [8, 8], "blocks": [1, 1]}, pooling="average", evidence_stride=4,
    )  # fmt: skip
    torch.nn.init.zeros_(network.pooling.value.weight)  # says the bias, zero: the mean, in standard deviations
    task = TaskSpec(
        name="t", kind="regression", activation="identity", labels=("v",), spatial_dims=2, spacing=(1.0, 1.0)
    )
    config = TrainingConfig(batch_size=4, zoom_power=power, precision="fp32", augmentation=Augmentation(scale=2.0))
    images32 = torch.from_numpy(images.astype(np.float32))
    longer = config.augmentation(images32, torch.zeros_like(images32), torch.Generator().manual_seed(3))[2].numpy()
    longer = longer * np.sqrt(size[0] * size[1] / 32**2)
    objective = Objective(
        network=network, data=standard, task=task, config=config, processes=Processes("cpu"), units=units
    )
    losses = objective.losses(np.arange(4), size, torch.Generator().manual_seed(3))
    away = np.abs((targets[:, 0] * longer**power - units.mean) / units.spread)
    assert float(losses["value"]) == pytest.approx(np.where(away < 1, away**2 / 2, away - 0.5).mean(), rel=1e-4)


def test_a_large_null_score_makes_the_sum_grow_with_the_extent() -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 4, 8, 8).expand(1, 4, 8, 8)
    from medattn_core.networks.attention import EvidencePooling

    for null_score, expected in ((0.0, 1.0), (20.0, 2.0)):
        pooling = EvidencePooling(4, 1, null_score=null_score)
        one = pooling(features).contributions.sum()
        two = pooling(torch.cat([features, features], dim=3)).contributions.sum()
        ratio = float(two / one)
        assert ratio == pytest.approx(expected, abs=0.05)


def test_map_loss_of_regression_is_lowest_where_the_value_lies_evenly_in_the_mask() -> None:
    inside = torch.zeros(2, 4, 4)
    inside[:, 1:3, 1:3] = 1.0
    located, total = torch.tensor([True, False]), torch.tensor([-8.0, 5.0])
    right = inside.unsqueeze(1) * -2.0
    best = float(regression_map_loss(right, inside, total, located))
    assert best == pytest.approx(np.log(4), abs=1e-3)  # the entropy of four even regions
    assert float(regression_map_loss(1.5 * right, inside, total, located)) == pytest.approx(best + 0.5, abs=1e-3)
    assert float(regression_map_loss(-0.5 * torch.ones(2, 1, 4, 4), inside, total, located)) > best + 1
    wrong_elsewhere = right.clone()
    wrong_elsewhere[1] = 5.0  # an item without a mask
    assert float(regression_map_loss(wrong_elsewhere, inside, total, located)) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_focal_and_weighted_losses(activation: str) -> None:
    logits = torch.tensor([[3.0, -3.0], [-1.0, 1.0]])
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # an easy one and a wrong one
    plain = classification_loss(logits, target, activation)
    focal = classification_loss(logits, target, activation, focal=2.0)
    assert float(focal[0] / plain[0]) < 0.05
    assert float(focal[1] / plain[1]) > 0.5
    torch.testing.assert_close(classification_loss(logits, target, activation, weights=torch.ones(2)), plain)
    assert float(classification_loss(logits, target, activation, weights=torch.tensor([3.0, 1.0]))[1]) > float(plain[1])


def test_conformal_sets_cover_what_they_promise() -> None:
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(0, 2, (count, 3))
        p = task.probabilities(logits)
        truth = np.array([rng.choice(3, p=row) for row in p])
        return p, np.eye(3)[truth]

    p, truth = draw(400)
    trust = Trust.from_calibration({"conformal": fit_conformal(p, truth, 0.9)}, "here")
    p, truth = draw(4000)
    sets = [trust.label_set(dict(zip(task.labels, row, strict=True))) for row in p]
    held = np.mean([task.labels[t] in s for s, t in zip(sets, truth.argmax(1), strict=True)])
    assert 0.87 <= held <= 0.93
    residuals = rng.normal(0, 50, 400)
    half = fit_conformal_value(residuals)["half_width"]
    assert 0.86 <= np.mean(np.abs(rng.normal(0, 50, 4000)) <= half) <= 0.94
    low, high = Trust.from_calibration({"conformal": fit_conformal_value(residuals)}, "here").interval(1000.0)
    assert (low, high) == (1000.0 - half, 1000.0 + half)


def test_confidence_is_how_often_the_named_label_is_right() -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(-2, 2, (count, 3))
        top = logits.argmax(1)
        right = rng.random(count) < 1 / (1 + np.exp(-(0.5 * logits.max(1) + 2)))
        return 1 / (1 + np.exp(-logits)), np.eye(3)[np.where(right, top, (top + 1) % 3)]

    rule = fit_confidence(*draw(2000), "abc")
    trust = Trust.from_calibration({"confidence": rule}, "here")
    assert trust.confidence_scale == pytest.approx(0.5, abs=0.15)
    p, truth = draw(4000)
    given = np.array([trust.confidence(x.max(), "abc"[x.argmax()]) for x in p])
    assert expected_calibration_error(given, p.argmax(1) == truth.argmax(1)) < 0.03
    assert Trust().confidence(0.9, "a") is None
    certain = fit_confidence(np.eye(2), np.eye(2), "ab")  # two cases, both right: not certain for that
    assert Trust.from_calibration({"confidence": certain}, "here").confidence(1.0, "a") < 0.9


def test_confidence_in_a_rare_label_is_that_of_the_rare_label() -> None:
    """One against the rest, drawn as often as the common one: as probable, it is wrong more often."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        rare = (rng.random(count) < 0.1).astype(int)
        logits = rng.normal((rare * 2 - 1.0) * 2, 2)
        return 1 / (1 + np.exp(-np.stack([-logits, logits], axis=1))), np.eye(2)[rare]

    trust = Trust.from_calibration({"confidence": fit_confidence(*draw(2000), ("common", "rare"))}, "here")
    assert trust.confidence(0.9, "rare") < trust.confidence(0.9, "common") - 0.3
    p, truth = draw(4000)
    for index, label in enumerate(("common", "rare")):
        said = p.argmax(1) == index
        given = np.array([trust.confidence(x, label) for x in p[said].max(1)])
        assert given.mean() == pytest.approx(truth[said, index].mean(), abs=0.05)
    for wrong in ({"labels": {"a": "much"}}, {"labels": [1]}):
        with pytest.raises(BundleError, match="calibration"):
            Trust.from_calibration({"confidence": {"scale": 1.0, "offset": 0.0, **wrong}}, "here")


def test_abstaining_reaches_the_accuracy_it_promises_where_it_can() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    truth = np.eye(2)[[0, 0, 1, 0]]
    rule = fit_abstain(p, truth, accuracy=1.0)
    assert rule == {"threshold": 0.8, "accuracy": 1.0, "share": 0.5, "cases": 4}
    assert fit_abstain(p, np.eye(2)[[1, 1, 1, 1]], accuracy=1.0) is None
    assert fit_abstain(p, truth, accuracy=1.0, share=0.6) is None
    trust = Trust.from_calibration({"abstain": rule}, "here")
    assert trust.abstains(0.79)
    assert not trust.abstains(0.8)


@pytest.mark.parametrize("calibration", [
    {"conformal": 3}, {"conformal": {"coverage": 0.9, "quantile": 1.5}}, {"abstain": {"threshold": "high"}},
])  # fmt: skip
def test_rules_that_make_no_sense_are_refused(calibration: dict) -> None:
    with pytest.raises(BundleError, match="calibration"):
        Trust.from_calibration(calibration, "metadata.json")


def test_input_check_knows_its_own_and_notices_strangers() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    features = rng.normal(size=(200, 8)) @ mixing
    numbers = [{"mean intensity": 1 + 0.1 * rng.random(), "spread of intensity": 0.3} for _ in features]
    check = fit_input_check(features, numbers)
    check = InputCheck.from_dict(check.to_dict(), "here")  # five digits must do
    own = [check.notice(f, n) for f, n in zip(rng.normal(size=(200, 8)) @ mixing, numbers, strict=True)]
    assert np.mean([notice is not None for notice in own]) < 0.05
    stranger = check.notice(20 * np.ones(8) @ mixing, numbers[0])
    assert stranger is not None
    assert stranger.code == "unlike_training"
    bright = check.notice(features.mean(0), {"mean intensity": 9.0, "spread of intensity": 0.3})
    assert bright is not None
    assert "mean intensity is 9" in bright.message
    # Of binary shapes: a range of nothing but zero, met but for the rounding of a resampling.
    flat = fit_input_check(features, [{"spread of intensity": 0.0} for _ in features])
    assert flat.notice(features.mean(0), {"spread of intensity": 1.2e-8}) is None
    assert flat.notice(features.mean(0), {"spread of intensity": 0.01}) is not None


def test_assess_measures_each_fold_with_the_temperature_of_the_others() -> None:
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(3):
        logits = rng.normal(0, 1, (60, 2))
        truth = np.array([rng.choice(2, p=row) for row in task.probabilities(logits)])
        found.append(HeldOut(outputs=4 * logits, targets=np.eye(2)[truth]))  # four times too sure
    metrics, calibration = assess(found, task)
    assert 2.5 < calibration["temperature"] < 6.5
    assert metrics["ece"] < 0.15
    assert set(calibration["conformal"]) == {"coverage", "quantile", "cases"}
    values = [HeldOut(outputs=np.array([[1.0], [2.0], [3.0]]), targets=np.array([[1.5], [2.0], [2.5]]))]
    metrics, calibration = assess(values, TaskSpec(name="r", kind="regression", activation="identity", labels=("v",)))
    assert metrics["mae"] == pytest.approx(1 / 3)
    assert calibration == {}  # three cases promise nothing


def test_a_section_of_csv_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,label\na.png,x\n", encoding="utf-8")
    with pytest.raises(DataListError, match="section 'train' is for JSON lists"):
        gather(path, section="train", folds=None, validation_fold=None, seed=0, say=lambda line: None)


def test_yaml_settings_are_json_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("training:\n  epochs: 3\n  learning_rate: 0.01\n")
    assert read_config(path) == {"training": {"epochs": 3, "learning_rate": 0.01}}
    path.write_text("training: [\n")
    with pytest.raises(TrainingError, match="cannot be read as YAML"):
        read_config(path)
    with pytest.raises(TrainingError, match="no such configuration") as caught:
        read_config(tmp_path / "none.yaml")
    assert caught.value.code == "not_found"


def test_an_input_check_of_another_width_is_silent_and_a_wrong_limit_refused() -> None:
    check = InputCheck(mean=np.zeros(3), precision=np.eye(3), limit=1.0, ranges={}, quantile=0.99)
    assert check.notice(np.full(3, 9.0), {}) is not None
    assert check.notice(np.full(4, 9.0), {}) is None
    for limit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BundleError, match="positive limit"):
            InputCheck.from_dict({**check.to_dict(), "limit": limit}, "here")


def test_more_folds_than_cases_of_a_label_are_refused() -> None:
    cases = [Case(image=Path(f"{i}.png"), labels=("ab"[i % 2],), patient=f"p{i}") for i in range(6)]
    with pytest.raises(TrainingError, match="folds=5, but no label has that many cases; at most 3"):
        assign(cases, 5)
    assert sorted(set(assign(cases, 3).tolist())) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_no_fold_is_empty(seed: int) -> None:
    """With as many patients as folds, StratifiedGroupKFold leaves one of these empty."""
    few = cases(["p0", "p0", "p0", "p0", "p1", "p2", "p2", "p3", "p3"], list("aabbbaaaa"))
    assert set(assign(few, 4, seed).tolist()) == {0, 1, 2, 3}


def test_places_of_held_out_cases_teach_no_absence() -> None:
    """Every case has the label; boxes say what it is not, if they are those of cases that train."""
    task = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=("a",), spatial_dims=2, spacing=(1, 1))
    empty, held_out = np.zeros((6, 1)), np.arange(6) < 3
    for located in (held_out, ~held_out):
        data = TrainingData(
            images=empty, targets=np.ones((6, 1)), masks=empty, located=located, folds=empty[:, 0],
        )  # fmt: skip
        if located is held_out:
            with pytest.raises(TrainingError, match="without a case that is not 'a'"):
                check_labels(data, [held_out], task)
        else:
            check_labels(data, [held_out], task)
