"""Arguments that are what they look like, and those that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core.arguments import path_of, several, shown, truth_value, whole, whole_number
from medattn_core.datalists import Case, load
from medattn_core.errors import MedAttnError, TrainingError
from medattn_core.ranges import Range
from tests.conftest import Write


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.uint8(3), np.float32(3), np.array(3), torch.tensor(3)])
def test_whole_numbers(value: Any) -> None:
    assert (whole(value), type(whole(value))) == (3, int)


@pytest.mark.parametrize("value", ["3", 3.5, True, np.True_, None, float("nan"), float("inf"), [3], np.array([1, 2])])
def test_no_whole_numbers(value: Any) -> None:
    assert whole(value) is None
    with pytest.raises(TrainingError, match=r"n=.*; a whole number is needed; accepted: 1 to 5") as caught:
        whole_number("n", value, Range(low=1, high=5), code="bad_config", kind=TrainingError)
    assert caught.value.code == "bad_config"


@pytest.mark.parametrize("value", [0, 6, 10**400])
def test_numbers_outside_of_their_range(value: int) -> None:
    with pytest.raises(MedAttnError, match=r"n=.*; accepted: 1 to 5") as caught:
        whole_number("n", value, Range(low=1, high=5))
    assert caught.value.code == "bad_argument"


@pytest.mark.parametrize("value", ["x", None, True, float("nan"), float("inf"), 10**400, [1]])
def test_what_lies_in_no_range(value: Any) -> None:
    assert value not in Range(low=0)


def test_truth_values() -> None:
    assert (truth_value("t", True), truth_value("t", False)) == (True, False)
    for value in ("no", 0, None):
        with pytest.raises(MedAttnError, match=r"t=.*; True or False is needed"):
            truth_value("t", value)


def test_paths_and_lists_of_one() -> None:
    assert path_of("p", "a/b") == path_of("p", Path("a/b")) == Path("a/b")
    assert several("l", "ab") == ("ab",)
    assert several("l", Path("ab")) == (Path("ab"),)
    assert several("l", iter(["a", "b"])) == ("a", "b")
    assert several("l", "ab", of="names") == ("ab",)
    for value, of in ((b"ab", "paths"), ({"a": 1}, "paths"), (5, "paths"), (None, "paths"), (Path("ab"), "names")):
        with pytest.raises(MedAttnError, match=f"l=.*; a list of {of} is needed"):
            several("l", value, of=of)
    for value, of, one in (([5], "paths", "path"), ([Path("ab")], "names", "name")):
        with pytest.raises(MedAttnError, match=f"l: .* is no {one}; a list of {of} is needed"):
            several("l", value, of=of)


def test_a_value_is_shown_on_one_line() -> None:
    assert shown(np.zeros((30, 30))).count("\n") == 0
    assert len(shown("x" * 1000)) == 100


def test_a_label_or_channel_is_a_list_of_one(write: Write) -> None:
    case = Case(image=Path("a.nii"), labels="no", channels="b.nii")  # type: ignore[arg-type]
    assert case == Case(image=Path("a.nii"), label="no", channels=(Path("b.nii"),))
    path = write("l.json", [{"image": "a.nii", "label": "no"}])
    assert load(path, labels="no") == load(path, labels=["no"])
