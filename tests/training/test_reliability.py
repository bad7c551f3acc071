"""Temperature, conformal ranks, metrics of held-out cases; the input check whatever the order of the list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medattn_core.bundles.trust import Trust
from medattn_core.errors import BundleError
from medattn_core.interop.scores import scores
from medattn_core.metrics.calibration import expected_calibration_error
from medattn_core.metrics.ranking import macro_auc
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import (
    TEMPERATURES,
    at_a_bound,
    fit_conformal,
    fit_conformal_value,
    fit_scaling,
    fit_undecided,
)
from medattn_core.training.config import TrainingConfig
from medattn_core.training.early_stop import EarlyStop
from medattn_core.training.reliability import (
    FEW_PATIENTS,
    NEVER_ABSTAINS,
    OF_SINGLE_NETWORKS,
    UNRULED,
    HeldOut,
    assess,
)

TWO = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
FINDING = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=("a",), spatial_dims=2, spacing=(1, 1))


def separable(count: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.eye(2)[np.arange(count) % 2]
    return 3 * (truth - 0.5), truth


def test_few_cases_choose_no_temperature_and_separable_ones_no_extreme() -> None:
    assert fit_scaling(*separable(19), TWO)[0] == 1.0
    assert 0.3 < fit_scaling(*separable(40), TWO)[0] < 1.0
    assert TEMPERATURES == (0.25, 4.0)
    assert at_a_bound(fit_scaling(*separable(100_000), TWO)[0])
    assert not at_a_bound(1.0)


def test_a_temperature_at_its_bound_and_too_few_cases_are_said() -> None:
    wrong = separable(4000)[0] * 10, np.roll(separable(4000)[1], 1, axis=0)
    calibration = assess([HeldOut(outputs=wrong[0], targets=wrong[1])], TWO)[1]
    assert "at its bound" in calibration["note"]
    few = separable(12)
    calibration = assess([HeldOut(outputs=few[0], targets=few[1])], TWO)[1]
    assert "only 12 held-out cases" in calibration["note"]


def test_a_model_that_would_seldom_decide_gets_no_rule_to_abstain() -> None:
    """Right in 7 of 10 cases, however sure it is, but in its 40 surest: the errors halve there alone."""
    rng = np.random.default_rng(0)
    sure = rng.permutation(np.linspace(0.2, 3.0, 400))
    wrong = (rng.random(400) < 0.3) & (sure < np.sort(sure)[-40])
    truth = np.eye(2)[np.where(wrong, 1, 0)]
    outputs = np.stack([sure, -sure], axis=1)
    calibration = assess([HeldOut(outputs=outputs, targets=truth)], TWO)[1]
    assert "abstain" not in calibration
    assert calibration["note"] == NEVER_ABSTAINS
    calibration = assess([HeldOut(outputs=50 * outputs, targets=truth)], TWO)[1]
    assert "at its bound" in calibration["note"]
    assert calibration["note"].endswith(NEVER_ABSTAINS)
    wrong = (rng.random(400) < 0.6) & (sure < np.sort(sure)[100])
    calibration = assess([HeldOut(outputs=outputs, targets=np.eye(2)[np.where(wrong, 1, 0)])], TWO)[1]
    assert calibration["abstain"]["share"] > 0.5
    assert "note" not in calibration


def three(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three labels that are told apart in three cases of four, and the truth."""
    truth = np.eye(3)[rng.permutation(np.arange(count) % 3)]
    return 1.5 * (rng.normal(0, 1, (count, 3)) + 1.5 * truth), truth


def test_the_accuracy_that_a_rule_to_abstain_states_is_about_that_of_new_cases() -> None:
    """Mean over many draws of thirty: 0.03 too high where the cases that chose the threshold are asked."""
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    rng = np.random.default_rng(0)
    new, truth = three(rng, 20_000)
    right = new.argmax(axis=1) == truth.argmax(axis=1)
    gaps = []
    for _ in range(110):
        outputs, targets = three(rng, 30)
        calibration = assess([HeldOut(outputs=outputs, targets=targets)], task)[1]
        if "abstain" not in calibration:
            continue
        scaled = new / calibration["temperature"] + np.array(list(calibration["offset"].values()))
        decided = task.probabilities(scaled).max(axis=1) >= calibration["abstain"]["threshold"]
        gaps.append(calibration["abstain"]["accuracy"] - right[decided].mean())
    assert len(gaps) > 60
    assert abs(np.mean(gaps)) < 0.015, np.mean(gaps)


def drawn(rng: np.random.Generator, count: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a rare finding, one case in five, and which cases show it."""
    present = np.arange(count) % 5 == 0
    return 1 / (1 + np.exp(-rng.normal(gap * (present - 0.5), 1.0))), present


@pytest.mark.parametrize("gap", [1.5, 2.5, 6.0])
def test_what_is_decided_is_right_as_often_as_stated_for_the_rare_kind_too(gap: float) -> None:
    """Mean over many draws: of new cases of each kind at most a tenth are decided wrongly."""
    rng = np.random.default_rng(0)
    wrong: dict[bool, list[float]] = {True: [], False: []}
    decided = []
    for _ in range(60):
        rule = fit_undecided(*drawn(rng, 300, gap), 0.5)
        if rule is None:
            continue
        p, present = drawn(rng, 300, gap)
        trust = Trust.from_calibration({"conformal": {"coverage": 0.9, "undecided": {"a": rule}}}, "here")
        side = np.array([{True: 1, False: -1, None: 0}[trust.undecided["a"].side(float(one), 0.5)] for one in p])
        for kind, other in ((True, -1), (False, 1)):
            wrong[kind].append(float((side[present == kind] == other).mean()))
        decided.append(float((side != 0).mean()))
    # Seldom half of the cases can be decided where the two kinds lie close together: no rule then. The draws that gave
    # one were lucky, so what they promise is kept a little less often.
    assert (len(decided) == 60) is (gap > 1.5)
    assert max(np.mean(wrong[True]), np.mean(wrong[False])) <= (0.1 if gap > 1.5 else 0.13)
    assert np.mean(decided) > (0.95 if gap == 6 else 0.5 if gap == 2.5 else 0.4)


def test_a_detection_says_what_it_cannot_decide() -> None:
    p, present = drawn(np.random.default_rng(1), 300, 2.0)
    outputs, targets = np.log(p / (1 - p))[:, None], present[:, None].astype(float)
    _, calibration = assess([HeldOut(outputs=outputs, targets=targets)], FINDING)
    rule = calibration["conformal"]["undecided"]["a"]
    assert (rule["present"], rule["absent"]) == (60, 240)
    side = Trust.from_calibration(calibration, "here").undecided["a"].side
    middle = (rule["present_from"] + rule["absent_to"]) / 2
    assert rule["present_from"] < middle < rule["absent_to"]
    assert side(rule["present_from"], middle) is None
    assert side(rule["absent_to"], middle) is None
    assert side(np.nextafter(rule["absent_to"], 1), middle) is True
    assert side(np.nextafter(rule["present_from"], 0), middle) is False
    assert side(0.89, 0.9) is None  # said from 0.9 on: below it nothing is decided to be there
    few = np.flatnonzero(present)[:19], np.flatnonzero(~present)
    some = np.concatenate(few)
    _, calibration = assess([HeldOut(outputs=outputs[some], targets=targets[some])], FINDING)
    assert "conformal" not in calibration
    assert calibration["note"] == UNRULED.format("a")


def test_a_rule_that_is_none_is_refused() -> None:
    ends = {"present_from": 0.4, "absent_to": 0.6}
    for rule in ({**ends, "absent_to": -0.1}, {**ends, "present_from": "x"}, {"absent_to": 0.6}, 3):
        with pytest.raises(BundleError, match="calibration"):
            Trust.from_calibration({"conformal": {"coverage": 0.9, "undecided": {"a": rule}}}, "here")
    with pytest.raises(BundleError, match="without the coverage"):
        Trust.from_calibration({"conformal": {"undecided": {"a": ends}}}, "here")


def test_the_calibration_error_of_one_fold_is_not_measured_where_the_temperature_was_fitted() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (400, 2))
    truth = np.eye(2)[[rng.choice(2, p=row) for row in TWO.probabilities(logits)]]
    half = np.isin(np.arange(400), np.random.default_rng(0).permutation(400)[::2])
    logits[half] *= 3.5  # one half is too sure: the other half's temperature does not help it
    metrics, _ = assess([HeldOut(outputs=logits, targets=truth)], TWO)
    assert metrics["ece"] > 0.08
    # Each picture twice, the second of the same patient, tells nothing new: it stays in the half of the first.
    twice = {"outputs": np.repeat(logits, 2, axis=0), "targets": np.repeat(truth, 2, axis=0)}
    same = assess([HeldOut(**twice, patients=np.repeat(np.arange(400), 2))], TWO)[0]
    assert same["ece"] == pytest.approx(metrics["ece"], abs=0.002)
    assert assess([HeldOut(**twice)], TWO)[0]["ece"] < metrics["ece"] - 0.02


def test_many_pictures_of_one_patient_are_halved_by_pictures() -> None:
    rng = np.random.default_rng(0)
    targets = np.eye(2)[rng.integers(0, 2, 60)]
    held = HeldOut(outputs=rng.normal(0, 1, (60, 2)) + targets, targets=targets, patients=np.zeros(60, int))
    assert np.isfinite(assess([held], TWO)[0]["ece"])


@pytest.mark.parametrize(("patients", "few"), [(1, True), (19, True), (20, False)])
def test_rules_from_few_patients_say_so(patients: int, few: bool) -> None:
    """Slices of one patient are alike: sixty of them are no sixty draws."""
    rng = np.random.default_rng(0)
    targets = np.eye(2)[rng.integers(0, 2, 60)]
    whose = np.arange(60) % patients + 100
    held = HeldOut(outputs=rng.normal(0, 1, (60, 2)) + 2 * targets, targets=targets, patients=whose, named=True)
    calibration = assess([held], TWO)[1]
    assert {calibration[rule]["patients"] for rule in ("confidence", "conformal", "abstain")} == {patients}
    said = FEW_PATIENTS.format(patients, "" if patients == 1 else "s")
    assert (said in calibration.get("note", "")) is few
    assert Trust.from_calibration(calibration, "here").coverage == 0.9
    # A patient of two folds is one; a list that names none has cases alone.
    both = [replace(held, outputs=held.outputs[half], targets=targets[half], patients=whose[half])
            for half in (slice(0, 30), slice(30, 60))]  # fmt: skip
    assert assess(both, TWO)[1]["conformal"]["patients"] == patients
    unnamed = assess([replace(held, named=False)], TWO)[1]
    assert "patients" not in unnamed["conformal"]
    assert "note" not in unnamed


def test_intervals_and_undecided_labels_from_few_patients_say_so() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (80, 1)).astype(float)
    held = HeldOut(outputs=rng.normal(4 * targets - 2, 1), targets=targets, patients=np.arange(80) // 16, named=True)
    value = TaskSpec(name="v", kind="regression", activation="identity", labels=("v",), unit="mm3")
    for task in (FINDING, value):
        calibration = assess([held], task)[1]
        assert calibration["conformal"]["patients"] == 5
        assert FEW_PATIENTS.format(5, "s") in calibration["note"]


def test_a_slicewise_model_says_of_how_many_slices_its_rules_are() -> None:
    outputs, targets = separable(40)
    held = [HeldOut(outputs=outputs, targets=targets)]
    assert "slices" not in assess(held, TWO)[1]
    assert assess(held, replace(TWO, slicewise=True))[1]["slices"] == 1


def test_the_calibration_error_is_of_all_cases_together() -> None:
    """Of a calibrated model it is chance alone: 0.20 as a mean of two halves, 0.135 of all eighty cases."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        logits = rng.normal(0, 1.5, (80, 1))
        present = rng.random((80, 1)) < 1 / (1 + np.exp(-logits))
        errors.append(assess([HeldOut(outputs=logits, targets=present.astype(float))], FINDING)[0]["ece"])
    assert np.mean(errors) < 0.16, np.mean(errors)


@pytest.mark.parametrize(("least", "low"), [(0.0, 0.0), (40.0, 0.0), (-5.0, -20.0)])
def test_an_interval_begins_below_zero_only_where_values_do(least: float, low: float) -> None:
    """Volumes and ages have none; differences have."""
    task = TaskSpec(name="v", kind="regression", activation="identity", labels=("v",), unit="mm3")
    targets = np.linspace(least, 100, 50)[:, None]
    _, record = assess([HeldOut(outputs=targets + 30.0, targets=targets)], task)
    trust = Trust.from_calibration(record, "here")
    assert trust.interval(10.0) == pytest.approx((low, 40.0))
    assert trust.interval(50.0) == pytest.approx((20.0, 80.0))
    assert trust.interval(-40.0) == pytest.approx((-70.0, -10.0))  # never beside the value itself


def test_several_networks_are_said_to_be_single_ones() -> None:
    outputs, targets = separable(40)
    one = HeldOut(outputs=outputs, targets=targets)
    assert assess([one, one], TWO)[1]["of"] == OF_SINGLE_NETWORKS
    assert "of" not in assess([one], TWO)[1]


def test_conformal_ranks_are_those_of_n_plus_one() -> None:
    # Of 20 scores the ceil(21 * 0.9) = 19th smallest; without the one it would be the 18th.
    for count, rank in ((19, 18), (20, 19), (30, 28), (9, 9), (5, 5)):
        assert fit_conformal_value(np.arange(1, count + 1) / 100)["half_width"] == pytest.approx(rank / 100)
        p = 1 - np.arange(1, count + 1) / 100
        found = fit_conformal(np.stack([p, 1 - p], axis=1), np.eye(2)[np.zeros(count, int)])
        assert found["quantile"] == pytest.approx(rank / 100)


def test_a_finding_or_none_is_measured_as_such() -> None:
    outputs, targets = np.array([[-1.0], [2.0], [1.0], [-2.0]] * 50), np.array([[0.0], [1.0], [0.0], [0.0]] * 50)
    metrics, calibration = assess([HeldOut(outputs=outputs, targets=targets)], FINDING)
    assert metrics["label_accuracy"] == 1.0  # the offset moves one half between those with it and those without
    assert calibration["offset"]["a"] < -0.5
    assert "accuracy" not in metrics
    assert not {"confidence", "abstain"} & set(calibration)


def test_a_rare_finding_that_was_drawn_as_often_as_the_rest_gets_its_probability_back() -> None:
    """One label in ten cases and one in two: the first is off by log 9, both are 1.5 times too sure."""
    task = replace(FINDING, labels=("rare", "common"))
    rng = np.random.default_rng(0)
    truth = rng.random((600, 2)) < (0.1, 0.5)
    outputs = rng.normal(2 * truth - 1.0, 1.0) * 2 * 1.5  # of two normals 2 apart: log-odds 2x, without the prior
    metrics, calibration = assess([HeldOut(outputs=outputs, targets=truth.astype(float))], task)
    assert calibration["temperature"] == pytest.approx(1.5, rel=0.25)
    assert calibration["offset"]["rare"] == pytest.approx(-np.log(9), abs=0.5)
    assert calibration["offset"]["common"] == pytest.approx(0, abs=0.4)
    raw = expected_calibration_error(task.probabilities(outputs).ravel(), truth.ravel())
    assert metrics["ece"] < 0.7 * raw
    assert metrics["label_accuracy"] > 0.87
    assert 0.5 < metrics["label_sensitivity"] < metrics["label_specificity"] < 1
    found = assess([HeldOut(outputs=outputs, targets=truth.astype(float))], replace(task, threshold=0.1))[0]
    assert found["label_sensitivity"] > metrics["label_sensitivity"] + 0.1


def test_an_auc_that_cannot_be_measured_is_no_half() -> None:
    outputs, targets = separable(20)
    metrics, _ = assess([HeldOut(outputs=outputs, targets=targets),
                         HeldOut(outputs=outputs[::2], targets=targets[::2])], TWO)  # fmt: skip
    assert metrics["auc"] == 1.0
    each = [HeldOut(outputs=outputs[i::2], targets=targets[i::2]) for i in (0, 1)]
    assert assess(each, TWO)[0]["auc"] == 1.0  # together they can show it
    assert "auc" not in assess(each[:1], TWO)[0]
    stop = EarlyStop(TrainingConfig(patience=1), None, TWO)
    assert stop.score(outputs[::2], targets[::2]) > stop.score(0.5 * outputs[::2], targets[::2])


def test_the_auc_of_a_softmax_is_that_of_its_probabilities() -> None:
    """One logit says nothing without the others: here the most probable label is always right."""
    outputs = np.array([[5.0, 6.0], [1.0, 0.0], [8.0, 9.0], [2.0, 1.5]])
    targets = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert TWO.activation == "softmax"
    found = assess([HeldOut(outputs=outputs, targets=targets)], TWO)[0]
    assert (found["auc"], found["accuracy"]) == (1.0, 1.0)
    assert EarlyStop(TrainingConfig(patience=1), None, TWO).score(outputs, targets) == 1.0
    assert scores(outputs, targets, TWO)["auc"] == 1.0
    each = replace(TWO, activation="sigmoid")
    assert EarlyStop(TrainingConfig(patience=1), None, each).score(outputs, targets) == 0.5


def test_an_r2_of_values_that_are_all_equal_is_left_out() -> None:
    task = TaskSpec(
        name="t", kind="regression", activation="identity", labels=("v",), unit="mm", spatial_dims=2, spacing=(1, 1)
    )
    values, truth = np.array([[3.1], [2.9]]), np.full((2, 1), np.float32(3.3))
    assert set(assess([HeldOut(outputs=values, targets=truth)], task)[0]) == {"mae"}
    assert set(scores(values, truth, task)) == {"mae"}
    assert set(scores(values, np.array([[3.0], [3.4]]), task)) == {"mae", "r2"}


def test_the_auc_of_unlike_folds_is_that_of_the_model_that_is_saved() -> None:
    """With an offset a softmax of three ranks the cases of one label otherwise than without."""
    rng = np.random.default_rng(0)
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    folds = []
    for shift in (0.0, 2.0):
        truth = np.eye(3)[rng.choice(3, 200, p=(0.8, 0.1, 0.1))]
        # As trained on classes that are drawn equally often: the rare ones stand too high, and unlike.
        logits = rng.normal(0, 1, (200, 3)) + 1.5 * truth + rng.normal(0, 2, (200, 1)) * [0, 1, 0] + [0, shift, shift]
        folds.append(HeldOut(outputs=logits, targets=truth))
    metrics, calibration = assess(folds, task)
    offset = np.array([calibration["offset"][label] for label in task.labels])
    saved = [task.probabilities(one.outputs / calibration["temperature"] + offset) for one in folds]
    counts = [macro_auc(p, one.targets) for p, one in zip(saved, folds, strict=True)]
    assert metrics["auc"] == pytest.approx(float(np.mean(counts)), abs=1e-9)
    assert metrics["auc"] != pytest.approx(
        float(np.mean([macro_auc(task.probabilities(one.outputs), one.targets) for one in folds])), abs=1e-4
    )


def test_a_label_that_nothing_is_known_of_is_said_and_the_model_not_called_calibrated() -> None:
    rng = np.random.default_rng(0)
    task = TaskSpec(
        name="t", kind="multilabel", activation="sigmoid", labels=("a", "b"), spatial_dims=2, spacing=(1, 1)
    )
    targets = np.stack([rng.random(200) < 0.4, np.ones(200)], axis=1).astype(float)
    outputs = rng.normal(3 * targets - 1.5, 1.0)
    calibration = assess([HeldOut(outputs=outputs, targets=targets)], task)[1]
    assert "not calibrated: b, which every held-out case has, or none" in calibration["note"]
    assert calibration["offset"]["b"] == 0.0 != calibration["offset"]["a"]
    assert not Trust.from_calibration(calibration, "here").calibrated
    targets[::2, 1] = 0
    calibration = assess([HeldOut(outputs=rng.normal(3 * targets - 1.5, 1.0), targets=targets)], task)[1]
    assert "not calibrated" not in calibration.get("note", "")
    assert Trust.from_calibration(calibration, "here").calibrated


def test_folds_of_other_labels_do_not_turn_right_decisions() -> None:
    """Each fold lacks one of three labels, as lists folded by site do; the accuracy is that of the model as it is."""
    task = TaskSpec(name="t", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1))
    rng = np.random.default_rng(0)
    folds = []
    for lacking in range(3):
        truth = np.eye(3)[rng.choice([k for k in range(3) if k != lacking], 400)]
        folds.append(HeldOut(outputs=0.7 * rng.normal(truth, 1.0), targets=truth))
    outputs, targets = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("outputs", "targets"))
    right = (outputs.argmax(axis=1) == targets.argmax(axis=1)).mean()
    metrics, calibration = assess(folds, task)
    assert right > 0.5
    assert metrics["accuracy"] == pytest.approx(right, abs=0.02)
    assert metrics["balanced_accuracy"] == pytest.approx(right, abs=0.02)
    assert metrics["ece"] < 0.05
    assert max(map(abs, calibration["offset"].values())) < 0.2
