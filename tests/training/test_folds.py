"""Folds keep a patient together, however the list spells him."""

from __future__ import annotations

from pathlib import Path

import pytest

from medattn_core.datalists import Case
from medattn_core.errors import TrainingError
from medattn_core.training.folds import assign


@pytest.mark.parametrize("spell", ["{0}.0", "P{0}"])
@pytest.mark.parametrize("seed", range(4))
def test_a_patient_in_two_spellings_is_in_one_fold(spell: str, seed: int) -> None:
    other = spell.replace(".0", "").lower()
    cases = [
        Case(image=Path(f"{i}.png"), label="ab"[i % 2], patient=(spell if i % 2 else other).format(i // 2))
        for i in range(32)
    ]
    number = assign(cases, 2, seed)
    assert number[::2].tolist() == number[1::2].tolist()


def test_spellings_make_no_more_patients() -> None:
    cases = [Case(image=Path(f"{i}.png"), label="a", patient=name) for i, name in enumerate(("1", "1.0", "2", "2.0"))]
    with pytest.raises(TrainingError, match="folds=3, but there are only 2 patients"):
        assign(cases, 3)
