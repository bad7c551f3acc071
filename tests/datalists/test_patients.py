"""One patient in several spellings: together in folds, counts and intervals, and never on both sides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.datalists.patients import patients_of, people_of, spelt_alike, unnamed
from medattn_core.errors import DataListError, MedAttnError
from medattn_core.evaluation.cases import check_apart, patient_of
from medattn_core.training.data import patient_numbers
from tests.conftest import Write
from tests.test_datalists import refused


def of(*patients: str | None) -> list[Case]:
    return [Case(image=Path(f"{i}.nii"), labels=("a",), patient=name) for i, name in enumerate(patients)]


@pytest.mark.parametrize(("patients", "count"), [
    (("1", "1.0", "1.", "1.00"), 1), (("P1", "p1", " P1"), 1), (("-3", "-3.0"), 1),
    (("007", "7"), 2), (("007", "007.0"), 1), (("1.1", "1.10"), 2), (("1", "10"), 2), ((None, None, ""), 3),
    (("J\N{LATIN SMALL LETTER A WITH DIAERESIS}ger", "Ja\N{COMBINING DIAERESIS}ger"), 1),
    (("e", "e\N{COMBINING ACUTE ACCENT}"), 2),
    (("a b", "a  b", "a\N{NO-BREAK SPACE}b", "A b"), 1), (("ab", "a b"), 2),
])  # fmt: skip
def test_spellings_of_one_patient_are_one_person_everywhere(patients: tuple[str | None, ...], count: int) -> None:
    cases = of(*patients)
    assert len(set(people_of(cases))) == count
    assert len(set(patient_numbers(cases).tolist())) == count  # what training holds out, calibrates and counts
    assert len({patient_of(case, i) for i, case in enumerate(cases)}) == count  # what the bootstrap draws
    assert len(patients_of(cases)) == (0 if None in patients else count)


def test_a_column_that_pandas_has_read_with_a_gap(write: Write) -> None:
    """`1.0` beside `1` in another fold, list or file is the same person; the identifier is not said."""
    rows = "image,label,fold,patient\na.nii,x,0,4711\nb.nii,y,{fold},4711.0\n"
    message = refused(write("list.csv", rows.format(fold=1)))
    assert "row 3: the same patient in two spellings (small and capital letters, spaces, accents, or 1" in message
    assert "4711" not in message
    path = write("list.csv", rows.format(fold=0))
    found = datalists.check(path)
    assert found.patients == 1
    (line,) = [line for line in map(str, found.warnings) if line.startswith("[patient_spelling]")]
    assert "1 patient is spelt in several ways" in line
    assert "4711" not in line
    first, second = of("4711"), of("4711.0")
    with pytest.raises(DataListError, match="in 'training' and in 'validation', in another spelling") as said:
        datalists.check_apart(path, first, [Case(image=Path("z.nii"), labels=("a",), patient="4711.0")])
    assert "4711" not in said.value.message
    with pytest.raises(MedAttnError, match="1 patient of the validation list"):
        check_apart(first, [Case(image=Path("z.nii"), labels=("a",), patient=second[0].patient)], "val.csv", "test.csv")


def test_lists_of_one_file_share_a_patient_in_another_spelling(write: Write) -> None:
    lists = {"training": [{"image": "a.nii", "label": "x", "patient": "1"}],
             "test": [{"image": "b.nii", "label": "x", "patient": "1.0"}]}  # fmt: skip
    path = write("list.json", lists)
    found = datalists.check(path).warnings
    assert any("the lists 'training' and 'test' share 1 patient:" in one.message for one in found)


def test_nothing_is_said_of_patients_that_are_spelt_once() -> None:
    assert spelt_alike(of("a", "a", "b", None)) is None
    text = spelt_alike(of("a", "A", "1", "1.0", "c"))
    assert text is not None
    assert text.startswith("2 patients are spelt in several ways")


def test_cases_without_a_patient_are_counted() -> None:
    assert unnamed(of("a", "b")) is None
    assert unnamed(of(None)) is None
    assert unnamed(of(None, None)) == "without `patient` images of one person may fall into several folds"
    assert str(unnamed(of("a", None, None))).startswith("without `patient`, as 2 of 3 cases are, images of one person")


@pytest.mark.parametrize("word", ["nan", "NaN", "<NA>", "NaT", "#N/A"])
def test_a_word_for_an_empty_cell_is_nobody(write: Write, word: str) -> None:
    path = write("list.csv", f"image,label,patient\na.nii,x,{word}\nb.nii,y,{word}\nc.nii,y,p\n")
    assert [case.patient for case in datalists.load(path)] == [None, None, "p"]
    with pytest.raises(DataListError, match="a patient has one of the names of an empty cell"):
        datalists.save(of(word), path)
    assert os.fspath(path) in refused(write("list.csv", f"image,label,fold,patient\na.nii,x,{word},p\n"))
