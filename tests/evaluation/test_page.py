"""Words and pictures as a reader meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medattn_core.evaluation import page, page_maps, pictures, plots
from medattn_core.tasks import TaskSpec

MINUS = "\N{MINUS SIGN}"


def test_small_numbers_say_how_small() -> None:
    assert page_maps.figure(4e-10) == "< 0.001"
    assert page_maps.figure(-4e-10) == f"> {MINUS}0.001"
    assert page_maps.figure(0.0) == "0.000"
    assert page_maps.figure(-0.25) == f"{MINUS}0.250"
    assert page_maps.figure(None) == "not measurable"


def test_a_value_without_a_unit() -> None:
    metrics = {"cases": 1, "task": {"kind": "regression", "labels": ["age"], "unit": ""}, "localisation": {}}
    text = page._short(metrics, {"mae": {"value": 198.0}, "mae_of_the_mean": {"value": 20.0}})
    assert text == (
        "Over 1 case the predicted age was off by 198 on average; always saying the mean would be off by 20."
    )


def test_images_of_patients() -> None:
    metrics = {"cases": 12, "patients": 4, "without_patient": 0, "fold": None}
    assert page._cases(metrics) == "12 images of 4 patients"
    one, some = (page._cases({**metrics, "without_patient": count}) for count in (1, 3))
    assert one == "12 images of 4 patients; 1 names no patient and counts as one of its own"
    assert some == "12 images of 4 patients; 3 name no patient, and each of them counts as one of its own"
    assert "names no patients" in page._cases({**metrics, "without_patient": 12})


def test_a_threshold_that_could_not_be_chosen_is_not_said_to_be() -> None:
    settings = {"task_threshold": None, "chosen_on": "val.csv", "label_thresholds": {"a": 0.3, "b": 0.7}}
    metrics = {"settings": settings, "task": {"kind": "multilabel", "labels": ["a", "b"]}}
    assert page._threshold(metrics) == (
        "Each label is said from its own threshold, chosen on val.csv; if none reaches it, none is said."
    )
    settings["label_thresholds"]["b"] = None
    assert "or from 0.5 where the cases there do not tell" in page._threshold(metrics)


def test_names_are_written_as_they_are() -> None:
    """A dollar is no mathematics, and no label is missing in a legend."""
    assert plots.words("T1$_w$") == r"T1\$_w\$"
    _, axes = plots._figure()
    axes.plot([0, 1], [0, 1], label=plots._shown("_normal"))
    assert [name.lstrip("\N{ZERO WIDTH SPACE}") for name in axes.get_legend_handles_labels()[1]] == ["_normal"]


def test_many_long_labels_do_not_overlap(tmp_path: Path) -> None:
    """Names under the matrix stand upright: the picture is higher than the matrix by their length."""
    short = plots.confusion(tmp_path / "short.png", np.eye(8, dtype=int), list("abcdefgh"))
    long = plots.confusion(tmp_path / "long.png", np.eye(8, dtype=int), ["glioblastoma wild-type"] * 8)
    assert Image.open(long).height > Image.open(short).height + 100


def test_a_dot_in_the_corner_is_whole(tmp_path: Path) -> None:
    """All right at certainty: the dot at (1, 1) is as wide as one in the middle."""
    widths = []
    for name, reported in (("corner", 1.0), ("middle", 0.55)):
        path = plots.reliability(tmp_path / f"{name}.png", np.full(9, reported), np.ones(9, bool))
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        blue = (picture[..., 2] - picture[..., 0] > 40).any(axis=0)
        widths.append(int(blue.sum()))
    assert abs(widths[0] - widths[1]) <= 2


EACH = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
ONE = TaskSpec(name="t", kind="multiclass", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


def test_curves_say_what_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of labels that are judged by themselves nothing is right: a case has the label or not. No scan has less than no
    false positive."""
    drawn: dict[str, tuple[str, float]] = {}
    finish = plots._finish

    def kept(figure: object, axes: Any, path: Path, x: str, y: str, **more: Any) -> Path:
        drawn[x] = y, axes.get_xlim()[0]
        return finish(figure, axes, path, x, y, **more)

    monkeypatch.setattr(plots, "_finish", kept)
    froc = {"false_positives_a_case": [2.0, 1.0, 0.0], "sensitivity": [1.0, 0.5, 0.0]}
    outputs, targets = np.array([[2.0, -1.0], [-2.0, 1.0]]), np.eye(2)
    for task, shown in ((EACH, "share of cases that have the label"), (ONE, "share that was right")):
        pictures.draw(tmp_path, {"fidelity": {}, "localisation": {"froc": froc}}, outputs, targets, task)
        assert drawn["probability that was given"][0] == shown
        assert drawn["false positives a scan"][1] == 0
    tasks = [{"kind": task.kind, "labels": task.labels} for task in (EACH, ONE)]
    each, one = (page._caption("reliability", task) for task in tasks)
    assert each.endswith("share of cases that have it (number of answers, one a label and case)")
    assert "how often it was right" in one
    assert "of cases that have it (number of cases)" in page._caption("reliability", {**tasks[0], "labels": ("a",)})


def test_words_of_several_labels() -> None:
    scores = {"accuracy": {"value": 0.5}, "accuracy_when_decided": {"value": 0.75}}
    rows = {
        task.kind: page._scores(scores, {"kind": task.kind, "labels": task.labels, "unit": ""}) for task in (EACH, ONE)
    }
    assert "<td>all labels right</td>" in rows["multilabel"]
    assert "right label" not in rows["multilabel"]
    assert "<td>right label</td>" in rows["multiclass"]


def test_one_patient_and_an_entry_that_stands_for_several() -> None:
    metrics = {"intervals": {"given": False, "patients": 1, "fewest_patients": 10}, "settings": {"bootstrap": 9}}
    assert page._intervals(metrics).startswith("No intervals: 1 patient says too little of the spread")
    assert page._not_compared([{"code": "internal"}]).endswith("in the rest: 1 case")
    assert "1" not in page._not_compared([{"code": "internal"}, {"code": "bad_argument", "cases": 3}])


def test_a_value_has_no_true_label() -> None:
    row = {**dict.fromkeys(page_maps.MEASURES, 0.5), "intervals": {}, "cases": 3}
    texts = [
        "".join(page_maps.place({"evidence": row, "iou_threshold": None}, {}, 0, value)) for value in (False, True)
    ]
    assert ["true label" in text for text in texts] == [True, False]
