"""Lists, folds, values and paths of a data list that are nearly right."""

from __future__ import annotations

from typing import Any

import pytest

from medattn_core import datalists
from tests.conftest import Write
from tests.test_datalists import refused

A, B = {"image": "a.nii", "label": "x"}, {"image": "b.nii", "label": "y"}


@pytest.mark.parametrize(("data", "said"), [
    ({"Labels": ["x", "y"], "training": [A, B]}, "list 'Labels' is not known; is 'labels' meant"),
    ({"label": {"0": "x", "1": "y"}, "training": [A, B]}, "list 'label' is not known; is 'labels' meant"),
    ({"training": [A], "Validation": [B]}, "list 'Validation' is not known; is 'validation' meant"),
    ({"training": [A], "validaton": [B]}, "list 'validaton' is not known; is 'validation' meant"),
    ({"Training": [A, B]}, "list 'Training' is not known; is 'training' meant"),
])  # fmt: skip
def test_a_list_that_is_nearly_known_is_not_lost(write: Write, data: dict[str, Any], said: str) -> None:
    assert said in refused(write("list.json", data))


def test_other_keys_beside_the_lists_are_left_alone(write: Write) -> None:
    data = {
        "numTraining": 2, "numValidation": 0, "validation_ids": ["p"], "validation_info": {"by": "me"}, "label": "kind",
        "training": [A, B], "training_b": [A], "Training": [B],
    }  # fmt: skip
    assert len(datalists.load(write("list.json", data))) == 2
    assert len(datalists.load(write("list.json", {"training": [A, B], "validation_2": [A], "labels_de": ["x"]}))) == 2
    path = write("list.json", {"training_a": [A, B], "validation_2": [A], "validation": [B]})
    assert len(datalists.load(path, section="training_a")) == 2
    assert len(datalists.load(path, section="validation_2")) == 1


@pytest.mark.parametrize(
    "fold", ["train", "nan", "1,5", "1e300", "20231127", 10_000, pytest.param(10**400, id="huge"), True]
)
def test_a_fold_is_a_small_whole_number(write: Write, fold: Any) -> None:
    message = refused(write("list.json", [{"image": "a.nii", "fold": fold}]))
    assert f"training[0]: fold {fold!r}; give a whole number from 0, below 10000" in message


def test_the_last_fold(write: Write) -> None:
    (case,) = datalists.load(write("list.csv", "image,fold\na.nii,9999\n"))
    assert case.fold == 9999


@pytest.mark.parametrize("value", ["1e300", "-1.1e15", 2 * 10**15])
def test_a_value_that_training_cannot_count_with(write: Write, value: Any) -> None:
    message = refused(write("list.json", [{"image": "a.nii", "value": value}]))
    assert f"training[0]: value {value!r} is beyond 1e+15, the largest that is accepted; give it in another" in message


def test_an_integer_beyond_all_floats_is_no_value(write: Write) -> None:
    assert "is not a finite number" in refused(write("list.json", [{"image": "a.nii", "value": 10**400}]))


def test_the_largest_value(write: Write) -> None:
    first, second = datalists.load(write("list.csv", "image,value\na.nii,1e15\nb.nii,-1e15\n"))
    assert (first.value, second.value) == (1e15, -1e15)


def test_paths_of_windows_are_told_where_slashes_are_found(write: Write) -> None:
    path = write("list.csv", "image,label\nscans\\a.nii,x\n")
    assert "does not exist; paths are relative to the list" in refused(path)
    (path.parent / "scans").mkdir()
    (path.parent / "scans" / "a.nii").touch()
    assert "scans\\a.nii does not exist; write / for \\ in paths: it is found then" in refused(path)


@pytest.mark.parametrize("name", ["a\0.nii", "a\ud800.nii"])
@pytest.mark.parametrize("key", ["image", "mask"])
def test_a_path_that_no_system_has(write: Write, name: str, key: str) -> None:
    message = refused(write("list.json", [A, {**B, key: name}]))
    assert "training[1]: a path holds a character that no file name has" in message


def test_a_name_that_is_too_long_is_of_no_file(write: Write) -> None:
    assert "nii does not exist" in refused(write("list.csv", f"image,label\n{'a' * 5000}.nii,x\n"))


def test_objects_without_end(write: Write) -> None:
    path = write("list.json", [A])
    path.write_text('[{"image": "a.nii", "label": ' + "[" * 100_000, encoding="utf-8")
    assert "objects lie in objects hundreds of times" in refused(path)
