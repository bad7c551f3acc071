"""Data lists: MONAI's JSON and CSV, what is accepted and what is refused with the row named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core import datalists
from medattn_core.datalists import Case
from medattn_core.errors import DataListError
from medattn_core.volumes import Volume
from tests.conftest import Write

HEADER = "image,label,value,mask,box_x_px,box_y_px,box_width_px,box_height_px,fold,patient\n"


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataListError) as caught:
        datalists.load(path, **options)
    assert caught.value.code == "bad_datalist"
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def test_csv_with_everything(write: Write) -> None:
    path = write(
        "list.csv", HEADER + "a.nii,cyst,,m.nii,1.5,2,30,4e1,2,P7\nb.nii,solid|cyst,,,,,,,0,\nc.nii,-,,,,,,,1,\n"
    )
    a, b, c = datalists.load(path)
    assert a == Case(
        image=path.parent / "a.nii",
        label="cyst",
        mask=path.parent / "m.nii",
        box=(1.5, 2.0, 30.0, 40.0),
        fold=2,
        patient="P7",
    )
    assert a.labels == ("cyst",)
    assert (b.labels, b.label, b.patient) == (("solid", "cyst"), None, None)
    assert (c.labels, c.label) == ((), None)
    assert datalists.label_names([a, b, c]) == ("cyst", "solid")


@pytest.mark.parametrize(
    "text",
    ["\ufeffimage;value;age\r\na.nii;7.5;40\r\n\r\n", "image\tvalue\na.nii\t7.5\n", ' image , value \n"a.nii", 7.5\n'],
)
def test_csv_as_spreadsheets_write_it(write: Write, text: str) -> None:
    (case,) = datalists.load(write("list.csv", text))
    assert (case.image.name, case.value, case.labels) == ("a.nii", 7.5, None)


def test_json_of_monai(write: Write) -> None:
    data = {
        "name": "a Decathlon file has more keys",
        "labels": {"0": "none", "1": "cyst", "2": "solid"},
        "training": [{"image": "a.nii", "label": 1, "fold": 0}, {"image": "b.nii", "label": [0, 1, 1], "fold": 1}],
        "validation": [{"image": "c.nii", "label": "solid"}],
    }
    path = write("list.json", data)
    assert [case.labels for case in datalists.load(path)] == [("cyst",), ("cyst", "solid")]
    assert [case.label for case in datalists.load(path, section="validation")] == ["solid"]


def test_json_bare_list(write: Write) -> None:
    path = write("list.json", [{"image": "a.nii", "label": [], "box": [0, 0, 2, 3]}, {"image": "b.nii", "label": 3}])
    first, second = datalists.load(path)
    assert (first.labels, first.box) == ((), (0.0, 0.0, 2.0, 3.0))
    assert second.label == "3"


def test_text_of_json_is_stripped_as_that_of_csv(write: Write) -> None:
    entries = [
        {"image": "a.nii", "label": "yes ", "patient": "anna", "fold": " 1 "},
        {"image": "b.nii", "label": [" no"], "patient": "anna ", "fold": 1},
        {"image": "c.nii", "label": " - ", "patient": 7, "fold": 0},
    ]
    cases = datalists.load(write("list.json", entries))
    assert [case.labels for case in cases] == [("yes",), ("no",), ()]
    assert [case.patient for case in cases] == ["anna", "anna", "7"]
    assert [case.fold for case in cases] == [1, 1, 0]
    listed = {"labels": ["no ", "yes"], "training": [{"image": "a.nii", "label": 0}, {"image": "b.nii", "label": "no"}]}
    path = write("listed.json", listed)
    assert [case.label for case in datalists.load(path)] == ["no", "no"]
    assert datalists.listed_labels(path) == ("no", "yes")
    entries[1]["fold"] = 0
    message = refused(write("list.json", entries))
    assert "training[1]: fold 0, but training[0] is the same patient in fold 1" in message
    assert "anna" not in message


@pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
def test_an_empty_value_of_json_is_an_empty_cell(write: Write, empty: Any) -> None:
    others = {name: empty for name in datalists.COLUMNS if name != "image"}
    entries = [{"image": "a.nii", **others}, {"image": "b.nii", "box": empty, "patient": empty}]
    path = write("list.json", [*entries, {"image": "c.nii", "box": [empty] * 4}])
    assert datalists.load(path) == [Case(image=path.parent / f"{name}.nii") for name in "abc"]
    # Folds of theirs do not matter to each other: those without a patient are no one person.
    folds = [{"image": f"{name}.nii", "fold": fold, "patient": empty} for fold, name in enumerate("abc")]
    assert [case.patient for case in datalists.load(write("list.json", folds))] == [None] * 3
    assert "training[1]: no value" in refused(
        write("list.json", [{"image": "a.nii", "value": 2}, {"image": "b.nii", "value": empty}])
    )


def test_what_pandas_writes_of_a_csv_is_the_same_list(write: Write) -> None:
    """Columns of the box by themselves, and numbers of patients as floats since some have none."""
    text = HEADER + "a.nii,cyst,,,1,2,3,4,0,7\nb.nii,solid,,,,,,,1,\n"
    columns = HEADER.strip().split(",")
    nan = float("nan")
    rows = [
        ["a.nii", "cyst", nan, nan, 1.0, 2.0, 3.0, 4.0, 0, 7.0],
        ["b.nii", "solid", nan, nan, nan, nan, nan, nan, 1, nan],
    ]
    written = write("list.json", [dict(zip(columns, row, strict=True)) for row in rows])
    assert datalists.load(written) == datalists.load(write("list.csv", text))


def test_other_keys_of_json_are_left_alone(write: Write) -> None:
    entry = {"image": "a.nii", "patient": "p", "patient_id": "q", "image_meta_dict": {}, "age": 40, "pred": "x.nii"}
    (case,) = datalists.load(write("list.json", [entry]))
    assert case == Case(image=case.image, patient="p")
    path = write("other.json", [{"image": "a.nii", "volume_mm3": 3, "x": 1, "y": 2, "w": 3, "h": 4}])
    columns = {"value": "volume_mm3", **dict(zip(datalists.BOX_COLUMNS, "xywh", strict=True))}
    (case,) = datalists.load(path, columns=columns)
    assert (case.value, case.box) == (3.0, (1.0, 2.0, 3.0, 4.0))
    path = write("other.json", [{"image": "a.nii", "Volume_mm3": 3}])
    assert "key 'Volume_mm3' is not known; is 'volume_mm3' meant" in refused(path, columns={"value": "volume_mm3"})


def test_other_column_names(write: Write) -> None:
    path = write("list.csv", "scan,value,volume_mm3\na.nii,1,2948\n")
    (case,) = datalists.load(path, columns={"image": "scan", "value": "volume_mm3"})
    assert (case.image.name, case.value) == ("a.nii", 2948.0)
    with pytest.raises(DataListError, match="lable") as caught:
        datalists.load(path, columns={"lable": "x"})
    assert caught.value.code == "bad_argument"


def test_a_column_that_another_stands_in_for_is_not_read_wherever_it_is(write: Write) -> None:
    path = write("list.csv", "scan,volume_mm3,value\na.nii,2948,1\n")
    (case,) = datalists.load(path, columns={"image": "scan", "value": "volume_mm3"})
    assert case.value == 2948.0


def test_several_labels_of_a_column_by_another_name(write: Write) -> None:
    path = write("list.csv", "image,finding\na.nii,a|b\nb.nii,-\n")
    first, second = datalists.load(path, columns={"label": "finding"})
    assert (first.labels, second.labels) == (("a", "b"), ())


def test_channels_keep_the_order_of_the_list(write: Write) -> None:
    write("z.nii", "")
    names = ["b.nii", "z.nii", "a.nii", "c.nii"]
    for path in (write("list.csv", f"image,label\n{'|'.join(names)},x\n"),
                 write("list.json", [{"image": names, "label": "x"}])):  # fmt: skip
        (case,) = datalists.load(path)
        assert [file.name for file in case.images] == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty; the first line names the columns: image"),
        ("picture,label\na.nii,x\n", "no column 'image'"),
        ("image,label\n", "lists no case"),
        ("image,lable\na.nii,x\n", "'lable' is not known; is 'label' meant"),
        ("image,label,patient_id\na.nii,x,1\n", "is 'patient' meant"),
        ("image,label,label\na.nii,x,y\n", "repeats the column 'label'"),
        ("image,label\na.nii,x\nb.nii\n", "row 3: 1 cells, but the header has 2"),
        ("image,label\n,x\n", "row 2: no image"),
        ("image,label\na.nii,x\nb.nii,\n", "row 3: no label, but row 2 has one"),
        ("image,value\na.nii,heavy\n", "row 2: value 'heavy' is not a finite number"),
        ("image,value\na.nii,nan\n", "row 2: value 'nan' is not a finite number"),
        ("image,label,value\na.nii,x,1\n", "row 2: both label and value"),
        ("image,label\na.nii,x|x\n", "row 2: label 'x' twice"),
        ("image,label\na.nii,x|\n", "row 2: label ''"),
        ("image,label\na.nii,x|-\n", "row 2: label '-' beside others; it says that none is true"),
        ("image,label\na.nii,Cyst\nb.nii,cyst\n", "row 3: label 'cyst', but 'Cyst' in row 2"),
        ("image,label,fold\na.nii,x,1.5\n", "row 2: fold '1.5'"),
        ("image,label,fold\na.nii,x,-1\n", "row 2: fold '-1'"),
        ("image,label,fold\na.nii,x,1\nb.nii,x,\n", "row 3: no fold"),
        (
            "image,label,box_x_px,box_y_px,box_width_px,box_height_px\na.nii,x,1,2,3,\n",
            "row 2: the box has no box_height_px",
        ),
        ("image,label,box_x_px,box_y_px,box_width_px,box_height_px\na.nii,x,1,2,0,5\n", "row 2: box 0 x 5 px is empty"),
        ("image,label,box_x_px,box_y_px,box_width_px,box_height_px\na.nii,x,1,2,w,5\n", "row 2: box_width_px 'w'"),
        ("image,label\na.nii,x\n./a.nii,x\n", "row 3: image a.nii is already in row 2"),
        ("image,label\na.nii,x\ngone.nii,x\nlost.nii,x\n", "gone.nii does not exist and 1 more"),
        ("image,label,mask\na.nii,x,gone.nii\n", "gone.nii does not exist"),
        ("image,label\na.nii,m.nii\n", "list segmentations as 'mask'"),
    ],
)
def test_csv_refused_with_the_row(write: Write, text: str, said: str) -> None:
    assert said in refused(write("list.csv", text))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "not valid JSON"),
        ("3", "must be a list"),
        ({"test": []}, "no list 'training'; lists found: test"),
        ({"training": {"image": "a.nii"}}, "must be a list"),
        ({"training": []}, "lists no case"),
        ({"training": ["a.nii"]}, "training[0]: must be an object"),
        ({"training": [{"label": "x"}]}, "training[0]: no image"),
        ({"labels": 3, "training": []}, "'labels' must be a list of names"),
        (
            {"labels": ["x", "y"], "training": [{"image": "a.nii", "label": 2}]},
            "training[0]: label 2; 'labels' has the",
        ),
        (
            {"labels": ["x", "y"], "training": [{"image": "a.nii", "label": "z"}]},
            "label 'z' is not known; accepted: x, y",
        ),
        ({"training": [{"image": "a.nii", "label": 1.5}]}, "training[0]: label 1.5"),
        ({"training": [{"image": "a.nii", "label": True}]}, "training[0]: label True"),
        ({"training": [{"image": "a.nii", "mask": 1}]}, "training[0]: mask 1"),
        ({"training": [{"image": "a.nii", "box": [1, 2, 3, 4, 5, 6]}]}, "volumes take a mask"),
        ({"training": [{"image": "a.nii", "fold": "one"}]}, "fold 'one'"),
        ({"training": [{"Image": "a.nii"}]}, "training[0]: key 'Image' is not known; is 'image' meant"),
        ({"training": [{"image": "a.nii", "patient_id": "p"}]}, "key 'patient_id' is not known; is 'patient' meant"),
        ({"training": [{"image": "a.nii", "Patient": "p"}]}, "key 'Patient' is not known; is 'patient' meant"),
        ({"training": [{"image": "a.nii", "labels": ["x"]}]}, "key 'labels' is not known; is 'label' meant"),
        ({"training": [{"image": "a.nii"}, {"image": "b.nii", "Fold": 1}]}, "training[1]: key 'Fold' is not known"),
        ({"training": [{"image": "a.nii", "bbox": [1, 2, 3, 4]}]}, "key 'bbox' is not known; is 'box' meant"),
        ({"training": [{"image": "a.nii", "box": [1, 2, 3, 4], "box_x_px": 1}]}, "both box and box_x_px"),
        ({"training": [{"image": "a.nii", "box_x_px": 1}]}, "training[0]: the box has no box_y_px"),
        ({"training": [{"image": "a.nii", "label": ["x", "-"]}]}, "training[0]: label '-' beside others"),
        ({"training": [{"image": "a.nii", "label": ["x", " x"]}]}, "training[0]: label 'x' twice"),
        ({"training": [{"image": " "}]}, "training[0]: no image"),
        ({"training": [{"image": "a.nii", "patient": ["anna"]}]}, "patient is of the kind list; give text"),
        ({"labels": ["x", "-"], "training": []}, "'labels' has '-', which is none of the labels"),
        ({"labels": ["x", "x "], "training": []}, "'labels' has 'x' twice"),
    ],
)
def test_json_refused_with_the_entry(write: Write, data: Any, said: str) -> None:
    assert said in refused(write("list.json", data))


def test_a_patient_stays_in_one_fold_and_is_not_named(write: Write) -> None:
    path = write("list.csv", "image,label,fold,patient\na.nii,x,0,Erika\nb.nii,x,0,Max\nc.nii,x,1,Erika\n")
    message = refused(path)
    assert "row 4: fold 1, but row 2 is the same patient in fold 0" in message
    assert "Erika" not in message


def test_refused_files(tmp_path: Path, write: Write) -> None:
    assert "no such file" in refused(tmp_path / "gone.csv")
    assert "use .json or .csv" in refused(write("list.yaml", "x"))
    (tmp_path / "old.csv").write_bytes("image,label\nstraße.nii,x\n".encode("latin-1"))
    assert "not UTF-8" in refused(tmp_path / "old.csv")


def test_a_section_of_csv_is_refused(write: Write) -> None:
    """A typing error would train on all rows, those of the test among them."""
    path = write("list.csv", "image,label\na.png,x\n")
    with pytest.raises(DataListError, match="section 'test' is for JSON lists"):
        datalists.check(path, section="test")
    # The evaluate.json of a bundle may name one, whatever list it is given.
    assert len(datalists.load(path, section="validation", check_files=False)) == 1


def test_a_background_below_zero_is_no_finding_on_any_grid(tmp_path: Path) -> None:
    data = np.full((8, 8, 8), -1.0, np.float32)
    data[2:4, 2:4, 2:4] = 1.0
    case = Case(image=tmp_path / "scan.nrrd", mask=tmp_path / "mask.nrrd")
    mask = Volume(data=data, affine=np.eye(4))
    twice = Volume(data=np.zeros((16, 16, 16), np.float32), affine=np.diag([0.5, 0.5, 0.5, 1.0]))
    own, other = (datalists.location_of(case, volume, mask) for volume in (mask, twice))
    assert own.sum() == 8
    assert other.sum() == 64


def test_labels_of_the_task_are_demanded(write: Write) -> None:
    path = write("list.csv", "image,label\na.nii,x\nb.nii,y\n")
    assert len(datalists.load(path, labels=("x", "y"))) == 2
    assert "row 3: label 'y' is not known; accepted: x, z" in refused(path, labels=("x", "z"))


def test_files_need_not_exist_when_not_asked(write: Write) -> None:
    assert datalists.load(write("list.csv", "image\ngone.nii\n"), check_files=False)[0].label is None


NAMES = st.text("abcdefghij ,;'\"äö-", min_size=2, max_size=12).map(str.strip).filter(lambda name: len(name) > 1)
TRUTHS = st.one_of(
    st.builds(lambda labels: {"labels": labels}, st.lists(NAMES, max_size=3, unique=True).map(tuple)),
    st.builds(lambda value: {"value": value}, st.floats(-1e15, 1e15)),
    st.just({}),
)
BOXES = st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(0.01, 500)] * 2)


@given(
    truth=TRUTHS,
    box=st.none() | BOXES,
    fold=st.none() | st.integers(0, 9),
    patient=st.none() | NAMES,
    suffix=st.sampled_from([".json", ".csv"]),
)
@settings(max_examples=100, deadline=None)
def test_what_is_saved_is_loaded(
    tmp_path_factory: Any, truth: Any, box: Any, fold: Any, patient: Any, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    image, mask = folder / "scans" / "a b,c.nii", folder / "masks" / "a.nii"
    case = Case(image=image, mask=mask, box=box, fold=fold, patient=patient, **truth)
    datalists.save([case], folder / f"list{suffix}")
    assert datalists.load(folder / f"list{suffix}", check_files=False) == [case]
    assert sorted(path.name for path in folder.iterdir()) == [f"list{suffix}"]


def test_saving_is_refused_with_a_reason(tmp_path: Path) -> None:
    case = Case(image=tmp_path / "a.nii", label="this|that")
    with pytest.raises(DataListError, match=r"use \.json") as caught:
        datalists.save([case], tmp_path / "list.csv")
    assert caught.value.code == "bad_datalist"
    for name in ("list.json", "list.csv"):
        with pytest.raises(DataListError, match="label '-' would be read as none of the labels"):
            datalists.save([Case(image=tmp_path / "a.nii", labels=("a", "-"))], tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(DataListError) as caught:
        datalists.save([case], tmp_path / "file" / "list.json")
    assert caught.value.code == "unwritable"
    assert "list.json" in caught.value.message


def test_the_brain_tumour_list_loads_as_it_is(shared_data: Path) -> None:
    cases = datalists.load(shared_data / "brain_tumor_t1ce" / "labels.csv")
    assert len(cases) == 2400
    assert datalists.label_names(cases) == ("glioma", "meningioma", "pituitary")
    assert {case.fold for case in cases} == {1, 2, 3, 4}
    assert cases[0].box == (266.2, 176.6, 112.6, 76.8)


def test_the_hippocampus_list_is_a_regression(shared_data: Path) -> None:
    cases = datalists.load(shared_data / "hippocampus" / "labels.csv", columns={"value": "volume_mm3"})
    assert len(cases) == 260
    assert cases[0].value == 2948.0
    assert all(case.mask is not None for case in cases)


def test_sections_and_listed_labels_of_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_text('{"labels": ["z", "a"], "training": [{"image": "x"}], "validation": [{"image": "y"}], "note": "n"}')
    assert datalists.sections(path) == datalists.sections(path, objects=True) == ("training", "validation")
    assert datalists.listed_labels(path) == ("z", "a")
    assert (datalists.sections(tmp_path / "l.csv"), datalists.listed_labels(tmp_path / "l.csv")) == ((), None)


def test_lists_of_objects_with_an_image_may_be_asked_for_alone(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    lists = {"spacing": [1, 1], "training": [{"image": "x"}], "test": ["y"], "odd": [{"image": "z"}, {"scan": "z"}]}
    path.write_text(json.dumps(lists))
    assert datalists.sections(path) == ("spacing", "training", "test", "odd")
    assert datalists.sections(path, objects=True) == ("training",)


@pytest.mark.parametrize(("text", "said"), [
    ("Image,label\na.png,x", "column 'Image' is not known; is 'image' meant"),
    ("image,Label\na.png,x", "column 'Label' is not known; is 'label' meant"),
    ("image;value\na.png;1,5", "'1,5' is not a finite number; write the decimal point as '.'"),
])  # fmt: skip
def test_slips_of_spreadsheets_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(DataListError) as caught:
        datalists.load(path, check_files=False)
    assert said in str(caught.value)
