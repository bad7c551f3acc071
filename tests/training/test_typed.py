"""Values of settings against the types that code states, however an annotation is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import pytest

from medattn_core.errors import TrainingError
from medattn_core.training.config import TrainingConfig
from medattn_core.training.typed import check_fields, fits, refuse_unknown


@pytest.mark.parametrize(("kind", "right", "wrong"), [
    (bool, [True, False], [0, 1, "true", None]),
    (str, ["", "x"], [1, None, b"x"]),
    (int, [0, -3, 8.0], [8.5, True, "8", None, float("nan"), float("inf"), 10**400]),
    (float, [0, 0.5], [True, "0.5", None, float("nan")]),
    (list[float], [[], [1, 0.5], (1,)], [0.5, ["a"], [True], None, "1"]),
    (tuple[float, ...] | None, [None, (), [1]], [1, [None]]),
    (Optional[dict], [None, {}], [[], "x", False]),  # noqa: UP045  as the networks write it
    (int | Sequence[int], [1, [0, 1], "for others to check"], []),
])  # fmt: skip
def test_values_of_a_type(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not fits(value, kind)] == []
    assert [value for value in wrong if fits(value, kind)] == []


def test_keys_that_there_are_not() -> None:
    refuse_unknown({"a": 1}, ("a", "b"), "settings")
    with pytest.raises(TrainingError, match="settings: unknown key 'c'; accepted: b, a"):
        refuse_unknown({"d": 1, "c": 1, "a": 1}, iter(("b", "a")), "settings")


@pytest.mark.parametrize("key", [1, 2.5, "08", "5e-3"])
def test_what_a_decimal_comma_leaves_is_said_to_be_one(key: Any) -> None:
    with pytest.raises(TrainingError) as caught:
        refuse_unknown({key: None, "a": 0}, ("a",), "settings")
    hint = "(a comma between digits? write the decimal point as '.')"
    assert caught.value.message == f"settings: unknown key {key!r} {hint}; accepted: a"


@pytest.mark.parametrize("key", [True, None, "x1", "1x", ""])
def test_other_keys_are_no_decimal_commas(key: Any) -> None:
    with pytest.raises(TrainingError, match=r"unknown key .*; accepted: a") as caught:
        refuse_unknown({key: None}, ("a",), "settings")
    assert "comma" not in caught.value.message


def test_a_fraction_is_no_whole_number_whoever_computed_it() -> None:
    with pytest.raises(TrainingError, match=r"epochs=.*a value of type int"):
        TrainingConfig.from_dict({"epochs": np.float64(0.5)})


def test_annotations_may_be_types_or_texts() -> None:
    @dataclass
    class Texts:
        count: int = 1

    kinds = Texts, type("Types", (), {"__annotations__": {"count": int}, "count": 1})
    for kind in (kinds[0], dataclass(kinds[1])):
        assert check_fields(kind, {"count": "8.0"}, "settings") == {"count": 8}
        with pytest.raises(TrainingError, match=r"count=8\.5; a value of type int"):
            check_fields(kind, {"count": 8.5}, "settings")
