"""Folds keep a patient together, however the list spells him."""

from __future__ import annotations

from pathlib import Path

import pytest
import sklearn

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


@pytest.mark.parametrize("kind", ["label", "value"])
def test_another_seed_is_another_split_and_the_same_seed_the_same(kind: str) -> None:
    if kind == "label" and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        pytest.skip("StratifiedGroupKFold of scikit-learn before 1.8 gives every seed the same split")
    known = [{"label": "ab"[i % 2]} if kind == "label" else {"value": float(i)} for i in range(40)]
    cases = [Case(image=Path(f"{i}.png"), patient=f"p{i // 2}", **one) for i, one in enumerate(known)]
    zero, one, again = (assign(cases, 2, seed) for seed in (0, 1, 0))
    assert zero.tolist() == again.tolist()
    assert 0.1 < (zero == one).mean() < 0.9  # other names of the same two would be no other split
