"""Words and pictures as a reader meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medattn_core.evaluation import page, page_maps, page_scores, pictures, plots
from medattn_core.evaluation.measure import Stated, measured
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
        "Over 1 case the predicted age was off by 198 on average; always predicting the mean would be off by 20."
    )


def test_images_of_patients() -> None:
    metrics = {"cases": 12, "patients": 4, "without_patient": 0, "fold": None}
    assert page._cases(metrics) == "12 images of 4 patients"
    one, some = (page._cases({**metrics, "without_patient": count}) for count in (1, 3))
    assert one == "12 images of 4 patients; 1 names no patient and counts as one of its own"
    assert some == "12 images of 4 patients; 3 name no patient, and each of them counts as one of its own"
    assert "names no patients" in page._cases({**metrics, "without_patient": 12})


def test_the_page_names_files_without_their_folders() -> None:
    """It is passed on; archives lay scans into folders that are named after patients."""
    entry = {"input": "/a/DOE_JANE/t1.nii", "code": "empty_file", "message": "/a/DOE_JANE/t1.nii: no bytes"}
    text = page._banner("could not be predicted", [entry, {**entry, "input": None, "message": "no case"}])
    assert "t1.nii: no bytes" in text
    assert "DOE_JANE" not in text


def test_a_threshold_that_could_not_be_chosen_is_not_said_to_be() -> None:
    settings = {"task_threshold": None, "chosen_on": "val.csv", "label_thresholds": {"a": 0.3, "b": 0.7}}
    metrics = {"settings": settings, "task": {"kind": "multilabel", "labels": ["a", "b"]}}
    assert page._threshold(metrics) == (
        "Each label is reported from its own threshold, chosen on val.csv; "
        "if none reaches its threshold, none is reported."
    )
    settings["label_thresholds"]["b"] = None
    assert "or from 0.5 where the cases there do not determine one" in page._threshold(metrics)


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
        assert drawn["predicted probability"][0] == shown
        assert drawn["false positives per scan"][1] == 0
    tasks = [{"kind": task.kind, "labels": task.labels} for task in (EACH, ONE)]
    each, one = (page._caption("reliability", task) for task in tasks)
    assert each.endswith("share of cases that have it (number of answers, one per label and case)")
    assert "how often it was right" in one
    assert "of cases that have it (number of cases)" in page._caption("reliability", {**tasks[0], "labels": ("a",)})


def test_words_of_several_labels() -> None:
    scores = {"accuracy": {"value": 0.5}, "accuracy_when_decided": {"value": 0.75}}
    rows = {
        task.kind: page_scores.scores_table(scores, {"kind": task.kind, "labels": task.labels, "unit": ""})
        for task in (EACH, ONE)
    }
    assert "<td>all labels right</td>" in rows["multilabel"]
    assert "right label" not in rows["multilabel"]
    assert "<td>right label</td>" in rows["multiclass"]


def test_one_patient_and_an_entry_that_stands_for_several() -> None:
    metrics = {"intervals": {"given": False, "patients": 1, "fewest_patients": 10}, "settings": {"bootstrap": 9}}
    assert page._intervals(metrics).startswith("No intervals: 1 patient is too few to estimate the spread; ")
    one, same, other = ({"input": name, "code": code} for name, code in (("a", "x"), ("a", "y"), ("b", "x")))
    assert page._not_compared([one, same]).endswith("in all other scores: 1 case")
    assert page._not_compared([one, same, other]).endswith("in all other scores: 2 cases")
    assert "1" not in page._not_compared([one, {"input": "c", "code": "bad_argument", "cases": 3}])


def test_a_value_has_no_true_label() -> None:
    row = {**dict.fromkeys(page_maps.MEASURES, 0.5), "intervals": {}, "cases": 3}
    texts = [
        "".join(page_maps.place({"evidence": row, "iou_threshold": {"evidence": None}}, {}, 0, value))
        for value in (False, True)
    ]
    assert ["true label" in text for text in texts] == [True, False]


EITHER = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", spatial_dims=2, spacing=(1, 1))


def scored(task: TaskSpec, targets: np.ndarray) -> dict[str, Any]:
    """What the page needs of cases that are all said to be ``a``, one of four not decided."""
    outputs, count = np.tile([2.0, -2.0], (len(targets), 1)), len(targets)
    stated = [Stated(label_set=("a",), abstained=i % 4 == 1, confidence=0.9) for i in range(count)]
    found = measured(outputs, targets, stated, ["p"] * count, task, samples=0)
    about = {"kind": task.kind, "labels": list(task.labels), "unit": ""}
    return {**found, "cases": count, "task": about, "localisation": {}}


def test_shares_of_cases_with_a_label_say_so() -> None:
    """Of eight cases half have a label, of which one is not decided and the others are right; the rest is all wrong."""
    metrics = scored(EITHER, np.array([[1, 0]] * 4 + [[0, 0]] * 4, float))
    text = page._short(metrics, metrics["classification"])
    assert text.startswith("4 of 8 cases were labelled correctly")
    assert text.endswith("Of the 4 cases with a label, 25.0 % are left undecided; of the others, 100.0 % are right.")
    rows = page_scores.scores_table(metrics["classification"], metrics["task"], page._without_label(metrics))
    for name in ("truth not excluded", "labels in a set, mean", "not decided", "right label where decided",
                 "calibration error of the confidence"):  # fmt: skip
        assert f"<td>{name}, of cases with a label</td>" in rows
    assert "<td>right label</td>" in rows
    metrics = scored(EITHER, np.array([[1, 0]] * 8, float))
    assert "In 25.0 % of the cases the model is not sure" in page._short(metrics, metrics["classification"])
    assert "of cases with a label" not in page_scores.scores_table(
        metrics["classification"], metrics["task"], page._without_label(metrics)
    )


def test_a_threshold_of_two_labels_says_what_it_is_of() -> None:
    """And that what is stated of the most probable label may not be about the one that is said."""
    settings = {"task_threshold": None, "chosen_on": "val.csv", "decision_threshold": 0.4184, "none_below": 0.499}
    metrics = {"settings": settings, "task": {"kind": "multiclass", "labels": ["a<", "b"]}}
    of_the_most_probable = (
        "Calibration, confidence, label sets and undecided answers refer to the most probable label, which may differ "
        "from the reported one."
    )
    share = (
        "b is reported where its share of the two probabilities is 0.418 or more, chosen on val.csv, otherwise a&lt;"
    )
    assert page._threshold(metrics) == f"{share}; none of the labels if both are below 0.499. {of_the_most_probable}"
    settings["none_below"] = None
    assert page._threshold(metrics) == f"{share}. {of_the_most_probable}"
    settings["decision_threshold"] = None
    assert page._threshold(metrics) == "The most probable label is reported."
    settings["task_threshold"] = 0.5
    assert page._threshold(metrics) == "The most probable label is reported; none of the labels if it is below 0.5."


def test_none_of_the_labels_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table of labels, in the picture and, with underscores, in the scores."""
    task = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", threshold=0.5, spatial_dims=2, spacing=(1, 1))
    metrics = scored(task, np.array([[1, 0]] * 4 + [[0, 0]] * 4, float))
    assert metrics["classification"]["specificity_none_of_the_labels"]["value"] == 1.0
    assert not any(name.endswith("_-") for name in metrics["classification"])
    (_, rows) = page_scores.labels_tables(metrics["classification"], metrics["task"], {"label_thresholds": None})
    assert "<td>none of the labels</td>" in rows
    names: list[list[str]] = []
    confusion = plots.confusion

    def kept(path: Path, matrix: np.ndarray, labels: list[str]) -> Path:
        names.append(labels)
        return confusion(path, matrix, labels)

    monkeypatch.setattr(plots, "confusion", kept)
    pictures.draw(tmp_path, {**metrics, "fidelity": {}}, np.zeros((8, 2)), np.eye(8, 2), task)
    assert names == [["a", "b", "none of the labels"]]


def test_units_are_shown_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"kind": "regression", "labels": ["v"], "unit": "mm3"}
    rows = page_scores.scores_table({"mae": {"value": 2.0}}, task)
    assert '<td class="n">2 mm\u00b3</td>' in rows
    text = page._short({"cases": 1, "task": task, "localisation": {}}, {"mae": {"value": 2.0},
                                                                       "mae_of_the_mean": {"value": 3.0}})  # fmt: skip
    assert text.count(" mm\u00b3") == 2
    axes: list[str] = []
    finish = plots._finish

    def kept(figure: object, drawn: object, path: Path, x: str, y: str, **more: Any) -> Path:
        axes.extend((x, y))
        return finish(figure, drawn, path, x, y, **more)

    monkeypatch.setattr(plots, "_finish", kept)
    spec = TaskSpec(name="t", kind="regression", activation="identity", labels=("v",), unit="mm3", spatial_dims=2,
                    spacing=(1, 1))  # fmt: skip
    pictures.draw(tmp_path, {"fidelity": {}, "localisation": {}}, np.ones((3, 1)), np.ones((3, 1)), spec)
    assert axes == ["true, mm\u00b3", "predicted, mm\u00b3"]


def test_the_sample_is_called_one() -> None:
    row = {**dict.fromkeys(page_maps.MEASURES, 0.5), "intervals": {}, "cases": 3}
    text = "".join(
        page_maps.place({"evidence": row, "evidence_on_sample": row, "iou_threshold": {"evidence": None}}, {}, 0)
    )
    assert "<td>evidence, on the sample</td>" in text
    assert "on the sample: cases drawn at random for the comparison" in text
    assert "sample" not in "".join(page_maps.place({"evidence": row, "iou_threshold": {"evidence": None}}, {}, 0))


def test_the_sign_of_a_mean_error_is_explained() -> None:
    rows = page_scores.scores_table(
        {"mean_error": {"value": 2.0}}, {"kind": "regression", "labels": ["v"], "unit": "mm3"}
    )
    assert "mean error (above zero: overestimated)" in rows


def test_curves_rank_what_is_equal_as_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of 40 to 59 all have the probability one."""
    names: list[str] = []
    finish = plots._finish

    def kept(figure: object, axes: Any, *rest: Any, **more: Any) -> Path:
        names.extend(axes.get_legend_handles_labels()[1])
        return finish(figure, axes, *rest, **more)

    monkeypatch.setattr(plots, "_finish", kept)
    task = TaskSpec(name="t", labels=("a",), activation="sigmoid", spatial_dims=2, spacing=(1, 1))
    outputs, targets = np.arange(40.0, 60.0)[:, None], (np.arange(20) >= 10)[:, None].astype(float)
    pictures.draw(tmp_path, {"fidelity": {}, "localisation": {}}, outputs, targets, task)
    assert names == ["a, AUC 1.000", "a, 1.000"]
    found = measured(outputs, targets, [Stated()] * 20, ["p"] * 20, task, samples=0)["classification"]
    assert [found[name]["value"] for name in ("auc", "average_precision")] == pytest.approx([1.0, 1.0])
