"""Labels by name and by number: no entry may mean another label than the one that was written."""

from __future__ import annotations

from typing import Any

import pytest

from medattn_core import datalists
from medattn_core.errors import DataListError
from tests.conftest import Write
from tests.test_datalists import refused


def entries(*labels: Any) -> list[dict[str, Any]]:
    return [{"image": f"{name}.nii", "label": label} for name, label in zip("abcm", labels, strict=False)]


def test_numbered_names_are_taken_by_their_numbers(write: Write) -> None:
    named = {str(number): f"label {number}" for number in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    path = write("list.json", {"labels": named, "training": entries(10, 0, 2)})
    assert [case.label for case in datalists.load(path)] == ["label 10", "label 0", "label 2"]
    assert datalists.listed_labels(path) == tuple(f"label {number}" for number in range(11))


@pytest.mark.parametrize("named", [
    {"1": "benign", "2": "malignant"},
    {"0": "benign", "2": "malignant"},
    {"0": "benign", "01": "malignant"},
    {"normal": "0", "tumour": "1"},
    {"benign": 0, "malignant": 1},
])  # fmt: skip
def test_other_keys_would_rename_labels(write: Write, named: dict[str, Any]) -> None:
    path = write("list.json", {"labels": named, "training": entries(1, 0)})
    first, second = map(repr, named)
    assert f"'labels' has the keys {first}, {second}; accepted: the numbers '0', '1' and so on" in refused(path)
    assert "or a list of the names in their order" in refused(path)


@pytest.mark.parametrize("given", [([0], [1], [0, 1]), ([1, 0], [0]), ([1, 1], [0])])
def test_numbers_in_one_entry_are_no_zeros_and_ones_in_another(write: Write, given: tuple[list[int], ...]) -> None:
    path = write("list.json", {"labels": ["cyst", "solid"], "training": entries(*given)})
    where = next(index for index, label in enumerate(given) if len(label) == 2)
    message = refused(path)
    assert f"training[{where}]: label {given[where]} may be numbers of 'labels', as " in message
    assert message.endswith("or a zero or one for each of them; write names")


def test_lists_of_one_meaning_are_taken(write: Write) -> None:
    path = write("list.json", {"labels": ["a", "b", "c"], "training": entries([0, 2], [1], [], [2])})
    assert [case.labels for case in datalists.load(path)] == [("a", "c"), ("b",), (), ("c",)]
    path = write("list.json", {"labels": ["a", "b", "c"], "training": entries([0, 1, 1], [0, 0, 0], [], 2)})
    assert [case.labels for case in datalists.load(path)] == [("b", "c"), (), (), ("c",)]


def test_a_segmentation_of_the_decathlon_is_told_from_a_label(write: Write) -> None:
    named = {"0": "background", "1": "liver"}
    path = write("list.json", {"labels": named, "training": [{"image": "./a.nii", "label": "./m.nii"}]})
    assert "training[0]: label './m.nii' is a file; list segmentations as 'mask'" in refused(path)


def test_a_number_in_two_spellings_is_one_label(write: Write) -> None:
    path = write("list.csv", "image,label\na.nii,1\nb.nii,1.0\n")
    assert "row 3: label '1.0', but '1' in row 2; write one of them" in refused(path)
    path = write("list.csv", "image,label\na.nii,1.1\nb.nii,1.10\n")
    assert datalists.label_names(datalists.load(path)) == ("1.1", "1.10")
    path = write("list.csv", "image,label\na.nii,1\nb.nii,2.0\nc.nii,NA\n")
    assert [case.label for case in datalists.load(path)] == ["1", "2.0", "NA"]


@pytest.mark.parametrize("word", ["nan", "NaN", "<NA>", "#N/A"])
def test_a_word_for_an_empty_cell_is_no_label(write: Write, word: str) -> None:
    """Unless the list says that it is one."""
    path = write("list.csv", f"image,label\na.nii,x\nb.nii,{word}\n")
    assert "row 3: no label, but row 2 has one" in refused(path)
    path = write("list.json", [{"image": "a.nii", "label": "x"}, {"image": "b.nii", "label": word}])
    assert "training[1]: no label, but training[0] has one" in refused(path)
    path = write("list.json", {"labels": ["x", word], "training": entries("x", word)})
    assert [case.label for case in datalists.load(path)] == ["x", word]
    cases = datalists.load(path)
    datalists.save(cases, path)
    assert datalists.load(path) == cases
    with pytest.raises(DataListError, match=r"would be read as an empty cell of CSV; rename it, or use \.json"):
        datalists.save(cases, path.with_suffix(".csv"))


def test_a_label_is_one_line(write: Write) -> None:
    path = write("list.csv", 'image,label\na.nii,x\nb.nii,"y\nz"\n')
    assert "label 'y\\nz', with a line break; write it in one line" in refused(path)
    path = write("list.json", {"labels": ["x", "y\nz"], "training": entries(0, 1)})
    assert "'labels' has 'y\\nz', with a line break" in refused(path)


@pytest.mark.parametrize("name", ["$__import__('os').getcwd()", "@home", "%cells", "5$ @ x"])
def test_a_label_is_no_code_of_a_monai_configuration(write: Write, name: str) -> None:
    wanted = (
        f"{name!r}, which would be code in the configurations of a MONAI bundle; write it without $, @ or % in front "
        "(percent for %), and without $ and @ together"
    )
    assert f"label {wanted}" in refused(write("list.csv", f"image,label\na.nii,x\nb.nii,{name}\n"))
    assert f"'labels' has {wanted}" in refused(write("list.json", {"labels": ["x", name], "training": entries(0, 1)}))


def test_accents_by_themselves_are_the_same_label(write: Write) -> None:
    """As file systems of macOS write names; of a bundle, in whose task they may be so, its own form is given."""
    one, two = "L\N{LATIN SMALL LETTER A WITH DIAERESIS}sion", "La\N{COMBINING DIAERESIS}sion"
    path = write("list.csv", f"image,label\na.nii,{one}\nb.nii,{two}\nc.nii,{two}|other\n")
    assert [case.labels for case in datalists.load(path)] == [(one,), (one,), (one, "other")]
    assert datalists.load(path, labels=(two, "other"))[0].labels == (two,)
    stated = write("list.json", {"labels": [two, "other"], "training": entries(one, two, 0, "other")})
    assert [case.label for case in datalists.load(stated)] == [one, one, one, "other"]


def test_spaces_make_no_other_label(write: Write) -> None:
    path = write("list.csv", "image,label\na.nii,low grade\nb.nii,low\N{NO-BREAK SPACE}grade\n")
    assert "label 'low\\xa0grade', but 'low grade' in row 2; write one of them" in refused(path)
    assert "but 'low grade'" in refused(write("list.csv", "image,label\na.nii,low grade\nb.nii,low  grade\n"))
