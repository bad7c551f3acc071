"""What is chosen from the list and the images: kind of task, intensity, modality, network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core.datalists import Case, check
from medattn_core.errors import TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import prepare
from medattn_core.training.plan import describe, plan_growth, plan_task, plan_zoom_power
from medattn_core.training.plan_intensity import plan_channels, plan_intensity, plan_modality
from medattn_core.training.plan_network import plan_network
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume, read
from medattn_core.volumes.write import write


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "0.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(4096).reshape(64, 64).astype(np.uint8)), str(path))
    return path


def listed(picture: Path, *labels: str) -> list[Case]:
    return [Case(image=picture, labels=tuple(name.split("|")) if name else ()) for name in labels]


@pytest.mark.parametrize(
    ("labels", "kind", "activation"),
    [
        (("a", "b"), "multiclass", "softmax"),
        (("a", ""), "multilabel", "sigmoid"),
        (("a", "b", ""), "multilabel", "sigmoid"),
        (("a", "a|b"), "multilabel", "sigmoid"),
    ],
)
def test_a_label_that_may_be_absent_is_a_question_by_itself(picture, tmp_path, labels, kind, activation):
    task, _ = plan_task(listed(picture, *labels), {}, "t")
    assert (task.kind, task.activation) == (kind, activation)
    rows = []
    for index, label in enumerate(labels):  # and `data check` says the same
        other = tmp_path / f"copy{index}.png"
        other.write_bytes(picture.read_bytes())
        rows.append(f"{other.name},{label or '-'}")
    path = tmp_path / "list.csv"
    path.write_text("image,label\n" + "\n".join(rows))
    assert check(path).kind == kind


@pytest.mark.parametrize(("labels", "why"), [(("a", "b", ""), "cases without a label"), (("a", ""), "a single label")])
def test_multiclass_without_a_choice_is_refused(picture, labels, why):
    with pytest.raises(TrainingError, match=f"the list has {why}; use kind 'multilabel'") as caught:
        plan_task(listed(picture, *labels), {"kind": "multiclass"}, "t")
    assert caught.value.code == "bad_config"


def test_labels_keep_their_order_and_unused_ones_are_named(picture):
    said: list[str] = []
    names = ("normal", "tumour", "aneurysm")
    task, _ = plan_task(listed(picture, "normal", "aneurysm"), {}, "t", labels=names, say=said.append)
    assert task.labels == ("normal", "aneurysm")
    assert "label without a case, left out: tumour" in said


def volume(data: np.ndarray, **more: str) -> Volume:
    return Volume(data=data.astype(np.float32), affine=np.eye(4), **more)


def test_intensity_follows_the_numbers():
    rng = np.random.default_rng(0)
    body = rng.normal(40, 20, (16, 16, 16))
    body[:8] = -1024
    ct = volume(body)
    rule, why = plan_intensity([ct])
    assert rule.rule == "window"
    assert -100 < rule.lower < 0 < rule.upper < 150
    assert "Hounsfield" in why
    assert plan_intensity([volume(body + 1024, modality="CT")], ["CT"])[0].rule == "window"
    assert plan_intensity([volume(rng.normal(size=(8, 8, 8)))])[0].rule == "percentile"
    assert plan_intensity([volume(rng.random((8, 8, 8)) * 900)])[0].rule == "foreground_mean"
    eight = Volume(data=np.arange(256, dtype=np.float32).reshape(16, 16, 1), affine=np.eye(4), format="png")
    assert (plan_intensity([eight])[0].rule, plan_intensity([eight])[0].upper) == ("window", 255)
    assert plan_modality([ct]) == ()
    assert plan_modality([volume(body, modality="MR")]) == ("MR",)
    assert plan_modality([volume(body, modality="MR"), volume(body, modality="CT")]) == ()


def test_one_rule_for_channels_of_one_kind_and_each_its_own_for_two(tmp_path):
    """CT and PET: the window of the CT would leave nothing of the PET, whose values are far above it."""
    rng = np.random.default_rng(0)
    body = rng.normal(40, 20, (16, 16, 16))
    body[:8] = -1024
    ct, late, pet = volume(body), volume(body + 60), volume(rng.random((16, 16, 16)) * 9000)
    first = plan_intensity([ct])[0]
    both, why = plan_channels([[ct], [late]])
    assert both.rule == "window"
    assert both.upper > first.upper  # what the second channel shows is in it
    rules, why = plan_channels([[ct], [pet]])
    assert rules == (first, plan_intensity([pet])[0])
    assert [rule.rule for rule in rules] == ["window", "foreground_mean"]
    assert "HU hold 98 % of the tissue; foreground_mean" in why
    assert plan_channels([[ct]])[0] == first
    cases = []
    for number in range(4):
        for name, image in (("ct", ct), ("pet", pet)):
            write(image, tmp_path / f"{name}{number}.nii.gz")
        cases.append(Case(image=tmp_path / f"ct{number}.nii.gz", channels=(tmp_path / f"pet{number}.nii.gz",),
                          labels=("a",) if number % 2 else ("b",)))  # fmt: skip
    said: list[str] = []
    task, _ = plan_task(cases, {}, "t", say=said.append)
    assert [rule.rule for rule in task.intensities] == ["window", "foreground_mean"]
    assert any(line.startswith("intensity: window") and "; foreground_mean" in line for line in said)
    for name, values in zip(task.channels, conform(read(cases[0].image), task, [read(cases[0].channels[0])]).image,
                            strict=True):  # fmt: skip
        assert values.std() > 0.1, name  # the window of the CT would leave the PET nearly white
    mixed, _ = plan_channels([[ct], [late], [pet]], ("CT", "PT"))
    assert mixed == (both, both, rules[1])  # both CTs share a window, whatever stands beside them
    with pytest.raises(TrainingError, match=r"channels are ct, pet, x, but a case of the list has 2 image\(s\)"):
        plan_task(cases, {"channels": ["ct", "pet", "x"]}, "t")
    windows = [{"rule": "window", "lower": 0, "upper": 80}, {"rule": "window", "lower": -9, "upper": -1}]
    swapped, size = plan_task(cases, {"intensity": windows}, "t")
    with pytest.raises(TrainingError, match=r"pet3.nii.gz: after intensity rule window -9 to -1 99 % of it"):
        prepare(cases, swapped, size)
    one = {"rule": "percentile", "lower": 0.5, "upper": 99.5}
    task, _ = plan_task(cases, {"intensity": one}, "t")
    assert [rule.rule for rule in task.intensities] == ["percentile"] * 2


def test_a_given_intensity_stays(picture):
    given = {"rule": "foreground_mean", "lower": 0.1, "upper": 5.0}
    task, _ = plan_task(listed(picture, "a", "b"), {"intensity": given}, "t")
    assert task.intensity.rule == "foreground_mean"


def test_images_that_a_rule_makes_flat_are_refused(tmp_path):
    cases = []
    for index in range(2):
        path = tmp_path / f"{index}.nii.gz"
        data = -5 - np.random.default_rng(index).random((16, 16, 16), np.float32)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
        cases.append(Case(image=path, label="ab"[index]))
    task, size = plan_task(cases, {"intensity": {"rule": "foreground_mean", "lower": 0.1, "upper": 5.0}}, "t")
    with pytest.raises(TrainingError, match=r"is one value; set task\.intensity") as caught:
        prepare(cases, task, size)
    assert caught.value.code == "bad_config"
    task, size = plan_task(cases, {}, "t")
    assert prepare(cases, task, size).images.std() > 0.1


def quantity(unit, **changed):
    settings = {"kind": "regression", "activation": "identity", "labels": ("v",), "spatial_dims": 2, "spacing": (1, 1)}
    return TaskSpec(name="t", unit=unit, **(settings | changed))


@pytest.mark.parametrize(("unit", "power"), [
    ("mm3", 3), ("mL", 3), (" mm³ ", 3), ("mm^3", 3), ("mm**3", 3), ("mm 3", 3), ("cc", 3), ("µl", 3), ("Litre", 3),
    ("cm²", 2), ("mm", 1), ("years", 0), ("", 0), (None, 0), ("mm/s", 0), ("HU", 0),
])  # fmt: skip
def test_the_unit_says_how_a_value_grows(unit, power):
    task = quantity(unit)
    assert plan_zoom_power(task) == power
    settings = plan_growth(TrainingConfig(), task, {})
    assert settings.zoom_power == power
    plain = TrainingConfig().augmentation
    assert (settings.augmentation.scale == 1.0) == (power > 0)
    assert settings.augmentation == (replace(plain, scale=1.0, stretch=1.0) if power else plain)
    (line,) = [t for t in describe(task, (32, 32), plan_network(task, {}), settings) if "v in" in t]
    assert (f"f^{power}" in line) if power else ("no size" in line)


def test_what_is_given_about_growth_stays():
    given = {"zoom_power": 0, "augmentation": {"scale": 1.5}}
    settings = plan_growth(TrainingConfig.from_dict(given), quantity("mm3"), given)
    assert settings.zoom_power == 0
    assert (settings.augmentation.scale, settings.augmentation.stretch) == (1.5, 1.0)


def test_settings_that_a_kind_of_task_cannot_obey_are_refused(picture):
    labels, _size = plan_task(listed(picture, "a", "b"), {"unit": "mm3"}, "t")
    assert plan_growth(TrainingConfig(), labels, {}) == TrainingConfig()  # a label has no unit to grow with
    for task, given, words in (
        (labels, {"zoom_power": 3}, "a label does not grow"),
        (quantity("mm3"), {"losses": {"spread": 0.1}}, "spread is of labels"),
        (quantity("mm3"), {"focal_gamma": 2}, "focal_gamma=2: a regression has no classes; leave it out"),
        (quantity(""), {"class_weights": [2]}, r"class_weights=\[2.0\]: a regression has no classes"),
        (quantity(""), {"losses": {"smoothing": 0.1}}, "losses: smoothing=0.1: a regression has no classes"),
    ):
        with pytest.raises(TrainingError, match=words) as caught:
            plan_growth(TrainingConfig.from_dict(given), task, given)
        assert caught.value.code == "bad_config"


def test_what_changes_nothing_in_a_regression_may_be_said():
    given = {
        "focal_gamma": 0,
        "class_weights": [],
        "balanced": True,
        "losses": {"smoothing": 0},
    }  # balanced: as every bundle states it
    plan_growth(TrainingConfig.from_dict(given), quantity("mm3"), given)


@pytest.mark.parametrize(("given", "words"), [
    ({"spatial_dims": 3}, "holds pictures"), ({"intensity": "window"}, "an object of rule, lower and upper"),
    ({"name": 3}, "name must be a text"), ({"intensity": {"lower": "low"}}, "a number is needed"),
    ({"intensity": {"rule": "window", "low": 5}}, "unknown key 'low'; accepted: rule, lower, upper"),
    ({"spacing": [1]}, r"spacing \[1\]; 2 values are needed"), ({"size": [8] * 3}, r"size \[8, 8, 8\]; 2 values"),
    ({"spacing": [1, 1, 1]}, r"spacing \[1, 1, 1\]; 2 values"), ({"spacing": None}, "spacing None; a list is needed"),
    ({"modality": 5}, "modality 5; a list of texts"), ({"modality": None}, "modality None; a list of texts"),
    ({"channels": 5}, "channels 5; a list of texts"), ({"labels": 5}, "labels 5; a list of texts"),
    ({"spacing": [100, 100]}, r"spacing \[100, 100\] is too coarse: of images of 64 x 64 pixels it leaves 0.64 x 0.64"),
    ({"spacing": [10, 10], "field_of_view": 64}, "images of 64 x 64 mm it leaves 6.4 x 6.4 pixels; at least 8 are"),
])  # fmt: skip
def test_task_settings_of_the_wrong_kind(picture, given, words):
    with pytest.raises(Exception, match=words) as caught:
        plan_task(listed(picture, "a", "b"), given, "t")
    assert caught.value.code in ("bad_config", "bad_task")


def test_small_images_may_stay_small(tmp_path):
    for number in range(2):
        path = tmp_path / f"{number}.png"
        sitk.WriteImage(sitk.GetImageFromArray(np.arange(20, dtype=np.uint8).reshape(4, 5)), str(path))
    plan_task(listed(path, "a", "b"), {"spacing": [1, 1]}, "t")
    assert plan_task(listed(path, "a", "b"), {"spatial_dims": 2.0}, "t")[0].spatial_dims == 2


def test_one_modality_may_be_a_text(picture):
    assert plan_task(listed(picture, "a", "b"), {"modality": "CT"}, "t")[0].modality == ("CT",)
