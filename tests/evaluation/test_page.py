"""Words and pictures as a reader meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medattn_core.evaluation import page, page_maps, plots

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
