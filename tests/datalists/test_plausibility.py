"""What the list alone tells: `medattn data check` and `medattn train` say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medattn_core.cli import app
from medattn_core.datalists import Case
from medattn_core.datalists.plausibility import slips
from medattn_core.training.held_out import check_truth, gather
from tests.squares import write_list, write_squares

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_words_that_may_be_an_empty_cell_stay_and_are_told() -> None:
    """`NA` may be a class, and somebody's initials, which are not said."""
    words = [("None", "a"), ("None", "b"), ("n/a", "NA"), ("x", "na"), ("x", "Nana")]
    cases = [Case(image=Path(f"{i}.png"), label=label, patient=who) for i, (label, who) in enumerate(words)]
    spelt, word = slips(cases)
    assert spelt.message.startswith("1 patient is spelt")
    assert word.code == "empty_word"
    assert word.message.startswith(
        "'None' is taken for a label, of 2 cases; 'n/a' is taken for a label, of 1 case; NA, None or"
    )
    assert (
        "who somebody is, in 2 cases: leave the cell empty where nothing is known; '-' says that no label is true"
        in word.message
    )
    assert slips([Case(image=Path("0.png"), label="x", patient="p"), Case(image=Path("1.png"), labels=())]) == []


def test_boxes_under_a_pixel_are_told_unless_a_mask_is_used() -> None:
    box = (0.5, 0.5, 0.25, 0.25)
    cases = [Case(image=Path("0.png"), box=box, mask=Path("m.png")), Case(image=Path("1.png"), box=box)]
    (notice,) = slips(cases)
    assert notice.code == "tiny_box"
    assert notice.message.startswith("1 box covers less than a pixel in width or height, such as that of 1.png: it")


def test_check_and_training_say_the_same(tmp_path: Path) -> None:
    """Fractions for boxes, patients as pandas wrote them, and a case without one."""
    write_squares(tmp_path)
    sides = ("box_x_px", "box_y_px", "box_width_px", "box_height_px")
    rows = [
        {"image": f"{i}.png", "label": "ab"[i % 2], "patient": f"{i // 2}{'.0' if i % 2 else ''}" if i < 31 else ""}
        | dict.fromkeys(sides, "0.25")
        for i in range(32)
    ]
    path = write_list(tmp_path / "mine.csv", rows)
    checked = CliRunner().invoke(app, ["data", "check", str(path)])
    assert checked.exit_code == 0
    assert "32 of 17 patients" in checked.stdout
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"network": {"width": -1}}))
    options = ["--data", str(path), "--output", str(tmp_path / "out"), "--config", str(settings), "--folds", "2"]
    trained = CliRunner().invoke(app, ["train", *options])
    assert trained.exit_code == 2  # of the settings, after the list
    for said in (
        "15 patients are spelt in several ways",
        "32 boxes cover less than a pixel in width or height",
        "without `patient`, as 1 of 32 cases are, images of one person may fall into several folds",
    ):
        assert said in checked.stderr.replace("\n", " "), said
        assert said in trained.stderr.replace("\n", " "), said


def test_the_example_of_the_documentation_trains_as_printed(tmp_path: Path) -> None:
    """As many folds as the command asks for, and in each of them all labels train."""
    page = DOCS.read_text(encoding="utf-8")
    command = re.search(r"medattn train --data list.csv .*--folds (\d+)", page)
    example = re.search(r"```\n(image,label.*?)```", page, re.DOTALL)
    assert command
    assert example
    path = tmp_path / "list.csv"
    path.write_text(example[1])
    for name in set(re.findall(r"[\w/]+\.nii\.gz", example[1])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cases, held_out, _ = gather(
        path, section="training", folds=int(command[1]), validation_fold=None, seed=0, say=pytest.fail
    )
    check_truth(path, cases, pytest.fail)
    for held in held_out:
        trained = {case.label for case, out in zip(cases, held, strict=True) if not out}
        assert trained == {case.label for case in cases}
    assert np.sum(held_out, axis=0).tolist() == [1] * len(cases)
