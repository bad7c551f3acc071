"""The model card says which cases its figures are of, what they are worth, and which epoch was kept."""

from __future__ import annotations

import copy
import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core.bundles import Bundle
from medattn_core.training import train
from medattn_core.training.card_text import EACH_ON_ITS_OWN, NOT_MEASURED, STATED, evaluation_text
from medattn_core.training.reliability import HeldOut
from tests.squares import SETTINGS, write_list

ON_THE_SAME = "chosen on the same cases (patience): metrics and calibration are too optimistic for that reason"


def settings(**training: Any) -> dict[str, Any]:
    found = copy.deepcopy(SETTINGS)
    found["training"] |= training
    return found


def card_of(bundle: Bundle) -> str:
    return (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")


def named(squares: Path) -> Path:
    """The same list with patients: four cases each, so that each fold has four of them."""
    rows = list(csv.DictReader(squares.open()))
    return write_list(squares, [row | {"patient": f"Miller {i // 4}"} for i, row in enumerate(rows)])


def held(cases: int, first: int = 0, *, patients: bool = True) -> HeldOut:
    """So many cases, two a patient."""
    numbers = first + np.arange(cases) // 2 if patients else None
    return HeldOut(outputs=np.zeros((cases, 2)), targets=np.zeros((cases, 2)), patients=numbers, named=patients)


@pytest.mark.parametrize(("found", "said"), [
    ([held(6)], "On where: 6 cases of 3 patients."),
    ([held(2)], "On where: 2 cases of 1 patient."),
    ([held(1, patients=False)], "On where: 1 case (the list names no patients)."),
    ([held(6), held(6, 2)], f"On where: 12 cases of 5 patients. {EACH_ON_ITS_OWN}"),
])  # fmt: skip
def test_how_many_cases_of_how_many_patients(found: list[HeldOut], said: str) -> None:
    assert evaluation_text(found, "where", {"start": "beside"}, stated=False) == said


def test_remarks_of_the_calibration_are_sentences() -> None:
    calibration = {"kept": ["fold 1: epoch 3 is kept (x)", "fold 2: epoch 4 is kept (y)"], "epoch": "chosen on them",
                   "note": "few; no rule", "of": "of single networks"}  # fmt: skip
    text = evaluation_text([held(2), held(2, 1)], "where", calibration, stated=True)
    assert text.endswith(
        "Fold 1: epoch 3 is kept (x). Fold 2: epoch 4 is kept (y). The epochs are chosen on them. "
        "Calibration: few; no rule. Calibration: of single networks."
    )


@pytest.mark.parametrize(("about", "said", "limits"), [
    ({}, NOT_MEASURED, "Scans of another modality"),
    ({"metrics": {"auc": 0.9}}, STATED, "Not measured outside the data named above. Scans"),
])  # fmt: skip
def test_a_card_without_held_out_cases_says_so(squares: Path, tmp_path: Path, about: dict, said: str, limits: str):
    config = {**settings(epochs=1), "bundle": about}
    card = card_of(train(squares, tmp_path / "all", config=config, device="cpu"))
    assert f"## How well\n\n{said}\n\n" in card
    assert f"## Limits\n\n{limits}" in card


def test_a_list_that_is_held_out_is_named(squares: Path, tmp_path: Path) -> None:
    rows = [{"image": row["image"], "label": row["label"]} for row in csv.DictReader(squares.open())]
    path = squares.with_name("patient Miller.json")
    path.write_text(json.dumps({"training": rows[:20], "validation": rows[20:]}))
    card = card_of(train(path, tmp_path / "listed", config=settings(epochs=1), device="cpu"))
    assert (
        "## How well\n\nOn the list 'validation': 12 cases (the list names no patients). Calibration: only 12" in card
    )
    assert "Not measured outside the data named above." in card
    assert "Miller" not in card


def test_an_ensemble_says_which_epoch_each_kept(squares: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    changed = settings(epochs=4, patience=1, learning_rate=1e-9)
    bundle = train(named(squares), tmp_path / "two", config=changed, device="cpu", folds=2, say=heard.append)
    card = card_of(bundle)
    assert f"On the held-out folds of the cross-validation: 32 cases of 8 patients. {EACH_ON_ITS_OWN} Fold 1: " in card
    assert f"The epochs are {ON_THE_SAME}." in card
    kept = bundle.calibration["kept"]
    assert [text[:8] for text in kept] == ["fold 1: ", "fold 2: "]
    assert [text for text in heard if " is kept (" in text] == kept


def files_of(bundle: Bundle) -> dict[str, bytes]:
    return {str(path.relative_to(bundle.path)): path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()}


def test_early_stopping_is_said_and_a_resumed_run_says_the_same(squares: Path, tmp_path: Path) -> None:
    """Interrupted as it trains, and again when it has stopped and its bundle is not yet written."""
    path, heard = named(squares), []
    given: dict[str, Any] = {"config": settings(epochs=20, patience=2, learning_rate=1e-9), "device": "cpu",
                             "validation_fold": 1}  # fmt: skip
    whole = train(path, tmp_path / "whole" / "out", **given, say=heard.append)
    (line,) = [text for text in heard if " is kept (" in text]
    assert re.fullmatch(r"stopped after epoch \d+; epoch \d+ is kept \(validation macro AUC [\d.]+\)", line)
    assert whole.calibration["kept"] == [line]
    assert f"calibration: {ON_THE_SAME}" in heard
    said = f"On held-out fold 1 of the list: 16 cases of 4 patients. S{line[1:]}. The epoch is {ON_THE_SAME}."
    assert f"## How well\n\n{said} Calibration: " in card_of(whole)
    assert "Miller" not in card_of(whole)

    def stop_training(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    def stop_before_the_bundle(text: str) -> None:
        if text == line:
            raise KeyboardInterrupt

    again = tmp_path / "again" / "out"
    with pytest.raises(KeyboardInterrupt):
        train(path, again, **given, progress=stop_training)
    with pytest.raises(KeyboardInterrupt):
        train(path, again, **given, resume=True, say=stop_before_the_bundle)
    assert files_of(train(path, again, **given, resume=True)) == files_of(whole)
