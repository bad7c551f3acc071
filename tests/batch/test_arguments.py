"""What a batch is called with: paths may be texts, sizes as the command takes them, and a predictor is the bundle's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core.batch import Settings, predict_many
from medattn_core.batch.jobs import inputs_of, pairs_of
from medattn_core.inference.inputs import expand
from tests import checks
from tests.batch.checks import records, run

refused = partial(checks.refused, code="bad_argument")


def test_inputs_may_be_texts_and_without_channels(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    one, two = scans[:2]
    settings = Settings(bundle=str(tiny), device="cpu")
    forms: list[Any] = [str(one), one, [str(one)], [(str(one), ())], [(one, [])]]
    for number, given in enumerate(forms):
        folder = tmp_path / str(number)
        assert predict_many(given, str(folder), settings).failed == 0  # type: ignore[arg-type]
        assert [record["input"] for record in records(folder)] == [str(one)]
    assert pairs_of((str(one), two)) == [(one, ()), (two, ())]
    assert pairs_of([(one, str(two))]) == [(one, (two,))]


@pytest.mark.parametrize(("given", "said"), [
    (5, "inputs=5; a list of scans is needed"),
    ([5], "inputs: 5 is no path; each is a path, or a path and its further channels"),
    ([("a.nii", "b.nii", "c.nii")], "inputs: ('a.nii', 'b.nii', 'c.nii') is no path; each is a path"),
    ([("a.nii", [5])], "channels: 5 is no path"),
    ([("a.nii", None)], "channels=None; a list of paths is needed"),
    ([""], "inputs: a path is empty"),
])  # fmt: skip
def test_what_is_no_input(tiny: Path, tmp_path: Path, given: Any, said: str) -> None:
    settings = Settings(bundle=str(tiny), device="cpu")
    assert refused(predict_many, given, tmp_path / "out", settings).startswith(said)
    assert not (tmp_path / "out").exists()


def test_one_argument_is_a_list_of_one(scans: list[Path]) -> None:
    assert expand(str(scans[0])).inputs == expand(scans[0]).inputs == (scans[0],)
    assert inputs_of(str(scans[0]))[0] == [(scans[0], ())]


@pytest.mark.parametrize(("given", "said"), [
    ({"workers": "2"}, "workers='2'; a whole number is needed; accepted: 0 or more"),
    ({"batch_size": -1}, "batch_size=-1; accepted: 0 or more"),
    ({"memory": 1.5}, "memory=1.5; a whole number is needed"),
    ({"memory": "much"}, "memory 'much'; accepted: a size such as 4G or 800M, or auto"),
    ({"trust": "no"}, "trust='no'; True or False is needed"),
    ({"report": 1}, "report=1; True or False is needed"),
    ({"mask": 5}, "mask=5; a path is needed"),
    ({"mask": ""}, "mask: a path is empty"),
    ({"bundle": None}, "bundle=None; a path is needed"),
])  # fmt: skip
def test_settings_are_looked_at(given: dict[str, Any], said: str) -> None:
    assert said in refused(Settings, **({"bundle": "b"} | given))


def test_settings_as_they_are_meant() -> None:
    given = Settings(bundle="b", workers=np.int64(2), batch_size=4.0, memory="4G", mask="m.nii")  # type: ignore[arg-type]
    assert given == Settings(bundle="b", workers=2, batch_size=4, memory=4 << 30, mask=Path("m.nii"))
    assert Settings(bundle="b", memory="auto").memory == 0  # type: ignore[arg-type]


def test_a_mask_may_be_a_text(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    summary = run(scans[:1], tmp_path, tiny, mask=str(scans[0]))
    assert (summary.count, summary.failed) == (1, 0)
    assert run(scans[:1], tmp_path, tiny, mask=scans[0]).taken_over == 1


def test_a_predictor_of_another_bundle_is_refused(tiny: Path, other: Path, scans: list[Path], tmp_path: Path) -> None:
    """Its rows would be stored as those of the settings' bundle, and the next run take them over."""
    settings, wrong = Settings(bundle=str(tiny), device="cpu"), Settings(bundle=str(other), device="cpu")
    said = refused(predict_many, scans[:1], tmp_path / "out", settings, predictor=wrong.open())
    assert said == (
        f"predictor: it is of the bundle {other}, the settings name {tiny}, whose files are others; give the predictor "
        "of that bundle, such as settings.open(), or none"
    )
    assert not (tmp_path / "out").exists()
    assert predict_many(scans[:1], tmp_path / "out", settings, predictor=settings.open()).failed == 0  # type: ignore[arg-type]
