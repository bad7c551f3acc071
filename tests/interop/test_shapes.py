"""Sizes in a bundle's metadata: by MONAI's specification, and nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from medattn_core.interop.shapes import fitting_shape


@pytest.mark.parametrize(("stated", "wanted"), [
    ([], ()),
    ([96, 96, 64], (96, 96, 64)),
    ([8, 1], (8, 1)),  # what is stated as a number is so, however small
    (["*", "*"], (32, 32)),
    (["16", "4 * 5"], (16, 20)),
    (["32*n", "32 * n"], (32, 32)),
    (["16*n", 8], (32, 8)),
    (["2**p", "2 ** p"], (32, 32)),
    (["2**p*n", "*"], (64, 32)),  # of 2 x 1, 4 x 2, 8 x 3, 16 x 4 the first that is not below 32
    (["2**n*m"], (64,)),  # the specification's own example
    (["(n + 1) * 32 - 16"], (48,)),
    (["n // 4"], (32,)),
])  # fmt: skip
def test_a_shape_that_fits(stated: list[Any], wanted: tuple[int, ...]) -> None:
    assert fitting_shape(stated) == wanted


@pytest.mark.parametrize(("item", "said"), [
    (None, "has None; a number"),
    (True, "has True; a number"),
    (1.5, "has 1.5; a number"),
    ("", "no expression"),
    ("n n", "no expression"),
    ("n/2", "has n / 2; accepted"),
    ("size*2", "has size; accepted"),
    ("n.real", r"has n.real; accepted"),
    ("__import__('os').getcwd()", "accepted: numbers, letters"),
    ("(lambda: 32)()", "accepted: numbers, letters"),
    ("n**n**n**n", "accepted: 1 to 4096"),
    ("9**9**9", "out of range"),
    ("2**(1-n-n)", "out of range"),
    ("n//(n-n)", "divides by zero"),
    ("n-5000", "accepted: 1 to 4096"),
    (0, "accepted: 1 to 4096"),
    (-3, "accepted: 1 to 4096"),
    (10**9, "accepted: 1 to 4096"),
    ("n" * 1000, "a number"),
])  # fmt: skip
def test_what_is_no_size(item: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fitting_shape([item])
