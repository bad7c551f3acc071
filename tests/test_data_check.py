"""`medattn data check`, and train and evaluate from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from medattn_core import datalists
from medattn_core.cli import app
from medattn_core.errors import DataListError, MedAttnError
from medattn_core.training import train
from medattn_core.volumes import write
from tests.squares import SETTINGS, write_squares
from tests.two import smooth


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_good_list_is_summed_up(tmp_path: Path) -> None:
    squares = write_squares(tmp_path)
    found = datalists.check(squares)
    assert (found.cases, found.patients, found.boxes, found.masks) == (32, 32, 32, 0)
    assert found.classes == {"bright": {0: 8, 1: 8}, "dark": {0: 8, 1: 8}}
    assert found.geometry["longest side_voxels"] == (64, 64, 64)
    assert found.dimensions == {"2D": 32}
    assert not found.errors
    ran = invoke("data", "check", squares)
    assert ran.exit_code == 0
    assert "bright" in ran.stdout
    assert "ready for training" in ran.stderr
    as_json = json.loads(invoke("data", "check", squares, "--json").stdout)
    assert as_json["classes"]["dark"] == {"0": 8, "1": 8}


def test_channels_that_do_not_lie_on_the_first_are_named(tmp_path: Path) -> None:
    far, half = np.eye(4), np.eye(4)
    far[0, 3], half[0, 3] = 900.0, 10.0
    rows = []
    for number, affine in enumerate((np.eye(4), half, far)):
        for name, where in (("ct", np.eye(4)), ("pet", affine)):
            write(smooth(where, (16, 16, 16)), tmp_path / f"{name}{number}.nii.gz")
        rows.append({"image": [f"ct{number}.nii.gz", f"pet{number}.nii.gz"], "label": "ab"[number % 2]})
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": rows}))
    found = datalists.check(path)
    assert [(Path(one.input).name, one.code) for one in found.errors] == [("pet2.nii.gz", "channel_elsewhere")]
    (warning,) = [text for text in map(str, found.warnings) if "channel" in text]
    assert warning.startswith("[channel_elsewhere]")
    assert "pet1.nii.gz: channel 2 covers 38% of the first image" in warning


def test_every_bad_image_is_named(tmp_path: Path) -> None:
    squares = write_squares(tmp_path)
    for index in (3, 7):
        (tmp_path / f"{index}.png").write_bytes(b"broken")
    ran = invoke("data", "check", squares)
    assert ran.exit_code == 1
    assert ran.stderr.count("error [not_an_image]") == 2
    assert "ready" not in ran.stderr


@pytest.mark.parametrize(("text", "said"), [
    ("image,label\ngone.png,a\n", "does not exist"),
    ("image,label,fold,patient\n0.png,a,0,p\n1.png,b,1,p\n", "the same patient in fold 0"),
])  # fmt: skip
def test_what_makes_a_list_unusable(tmp_path: Path, text: str, said: str) -> None:
    write_squares(tmp_path)
    path = tmp_path / "bad.csv"
    path.write_text(text)
    ran = invoke("data", "check", path)
    assert ran.exit_code == 1
    assert said in ran.stderr


def test_what_is_probably_not_meant(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 6), np.float32)
    volume[1] = 1
    for name, data in (("a", volume), ("b", volume), ("empty", volume * 0)):
        sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / f"{name}.nii.gz"))
    path = tmp_path / "list.csv"
    path.write_text("image,label,mask\na.nii.gz,x,empty.nii.gz\nb.nii.gz,x,a.nii.gz\n")
    codes = " ".join(map(str, datalists.check(path).warnings))
    for code in ("one_label", "few_cases", "empty_mask", "no_patient"):
        assert f"[{code}]" in codes


BOX = {"box": [4, 4, 8, 8]}
OUTSIDE = {"box": [64, 4, 8, 8]}


def told(*labels: object, **more: object) -> list[dict[str, object]]:
    return [{"label": label, **more} for label in labels]


@pytest.mark.parametrize(("train_on", "held", "said"), [
    (told("a", "b"), [], None),
    (told("a", "a"), [], "every case has the label 'a': nothing to learn"),
    (told("-", []), [], "no case shows a label"),
    ([{"value": 3}, {"value": 3}], [], "every case has the same value"),
    (told("a", "a", **BOX), [], None),
    (told("a", "a", **OUTSIDE), [], "every case of 'training' has the label 'a'"),
    (told("a", ["a", "b"]), [], "every case of 'training' has the label 'a'"),
    (told("a", "a"), told("-"), "every case of 'training' has the label 'a'"),
    (told("a", "b"), told("c"), "label 'c' is in 'validation' alone"),
    (told("a", "b"), told(["a", "b"]), None),
    ([{"value": 3}, {"value": 3}], [{"value": 4}], None),
])  # fmt: skip
def test_ready_is_what_training_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_on: list, held: list, said: str | None
) -> None:
    write_squares(tmp_path)
    entries = [{"image": f"{index}.png", **entry} for index, entry in enumerate([*train_on, *held])]
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": entries[: len(train_on)], "validation": entries[len(train_on) :]}))
    ran = invoke("data", "check", path)
    assert ran.exit_code == (0 if said is None else 1)
    assert ("ready for training" in ran.stderr) == (said is None)
    assert said is None or (f"error [bad_datalist] {path}: " in ran.stderr and said in ran.stderr)

    def begin(*_: object) -> None:
        raise RuntimeError("training begins")

    monkeypatch.setattr(sys.modules["medattn_core.training.train"], "_train_one", begin)
    refusal = "nothing to learn|would be trained without a case"
    with pytest.raises(RuntimeError if said is None else MedAttnError, match=refusal if said else "training begins"):
        train(path, tmp_path / "model", device="cpu")


def test_the_held_out_list_has_its_say(tmp_path: Path) -> None:
    write_squares(tmp_path)
    path = tmp_path / "list.json"

    def checked(*held: object) -> datalists.Checked:
        entries = [{"image": f"{i}.png", "label": label} for i, label in enumerate(("Yes", "no", *held))]
        path.write_text(json.dumps({"training": entries[:2], "validation": entries[2:]}))
        return datalists.check(path)

    found = checked("no")
    assert (found.kind, found.held_out, sorted(found.classes)) == ("multiclass", 1, ["Yes", "no"])
    assert checked(["Yes", "no"]).kind == "multilabel"
    assert checked("-").kind == "multilabel"
    with pytest.raises(DataListError, match="label 'yes' in 'validation', but 'Yes' in 'training'; write one of them"):
        checked("yes")


def test_a_list_without_truth_can_be_predicted_and_not_trained_on(tmp_path: Path) -> None:
    write_squares(tmp_path)
    path = tmp_path / "list.csv"
    path.write_text("image\n0.png\n1.png\n")
    (error,) = datalists.check(path).errors
    assert "no column `label`" in error.message
    assert error.message.endswith("`medattn predict` takes the list as it is")
    ran = invoke("data", "check", path)
    assert ran.exit_code == 1
    assert "ready" not in ran.stderr
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"test": [{"image": "0.png"}], "training": [{"image": "1.png"}]}))
    found = datalists.check(listed, section="test")
    assert not found.errors
    assert any(line.startswith("[no_truth]") for line in map(str, found.warnings))


def test_a_truth_by_another_name_is_pointed_at(tmp_path: Path) -> None:
    """By the check and by training, in the same words."""
    write_squares(tmp_path)
    path = tmp_path / "list.csv"
    path.write_text("image,site,class\n0.png,here,a\n1.png,there,b\n")
    (error,) = datalists.check(path).errors
    assert "is 'class' the label? Call the column `label`, or `value` if it is a quantity" in error.message
    ran = invoke("train", "--data", path, "--output", tmp_path / "model")
    assert ran.exit_code == 1
    assert "is 'class' the label?" in ran.stderr
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([{"image": "0.png", "Diagnosis": "a"}]))
    assert "is 'Diagnosis' the label?" in datalists.check(listed).errors[0].message


def test_a_box_beside_the_picture_is_noticed(tmp_path: Path) -> None:
    write_squares(tmp_path)
    path = tmp_path / "boxes.csv"
    path.write_text(
        "image,label,box_x_px,box_y_px,box_width_px,box_height_px\n0.png,a,60,60,10,10\n1.png,b,0,0,64,64\n"
    )
    (warning,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[box_outside]")]
    assert "0.png: the box leaves" in warning
    path.write_text(path.read_text().replace("60,60", "64,60"))
    (warning,) = [line for line in map(str, datalists.check(path).warnings) if line.startswith("[box_outside]")]
    assert "0.png: the box covers nothing" in warning


def volume_file(path: Path, *, at: float = 0.0, empty: bool = False, spacing: float = 1.0) -> None:
    """A cube of ones in a volume, moved by ``at`` mm."""
    data = np.zeros((12, 12, 12), np.uint8)
    data[4:8, 4:8, 4:8] = not empty
    image = sitk.GetImageFromArray(data)
    image.SetOrigin((at, 0.0, 0.0))
    image.SetSpacing((spacing,) * 3)
    sitk.WriteImage(image, str(path))


def test_a_box_on_a_volume_is_an_error_before_training_finds_it(tmp_path: Path) -> None:
    volume_file(tmp_path / "scan.nii.gz")
    path = tmp_path / "boxes.csv"
    path.write_text("image,label,box_x_px,box_y_px,box_width_px,box_height_px\nscan.nii.gz,a,2,2,4,4\n")
    (error,) = datalists.check(path).errors
    assert error.code == "bad_datalist"
    assert "12 slices; give a mask" in error.message
    assert invoke("data", "check", path).exit_code == 1


def test_a_mask_that_covers_nothing_of_its_scan_is_noticed(tmp_path: Path) -> None:
    rows = ["image,label,mask"]
    masks: dict[str, dict[str, float]] = {
        "on": {}, "coarse": {"spacing": 1.5}, "off": {"at": 500.0}, "off_and_coarse": {"at": 500.0, "spacing": 1.5},
        "empty": {"empty": True}, "healthy": {"empty": True},
    }  # fmt: skip
    for name, options in masks.items():
        volume_file(tmp_path / f"{name}.nii.gz")
        volume_file(tmp_path / f"{name}_mask.nii.gz", **options)
        rows.append(f"{name}.nii.gz,{'-' if name == 'healthy' else 'a'},{name}_mask.nii.gz")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows))
    found = datalists.check(path)
    assert not found.errors
    noticed = [line for line in map(str, found.warnings) if "_mask.nii.gz" in line]
    assert [line.split("]")[0] for line in noticed] == ["[empty_mask", "[mask_outside"]
    assert all(f"{name}_mask" in line for name, line in zip(("empty", "off"), noticed, strict=True))
    assert "(2 in all, this is the first)" in noticed[1]


def test_a_mask_that_is_none_is_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = {"soft": rng.random((12, 12, 12)), "all": np.ones((12, 12, 12)), "two": 2.0 * (rng.random((12,) * 3) > 0.8)}
    rows = ["image,label,mask"]
    for name, data in masks.items():
        volume_file(tmp_path / f"{name}.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(data.astype(np.float32)), str(tmp_path / f"{name}_mask.nii.gz"))
        rows.append(f"{name}.nii.gz,a,{name}_mask.nii.gz")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows))
    noticed = [line for line in map(str, datalists.check(path).warnings) if "_mask.nii.gz" in line]
    assert [line.split("]")[0] for line in noticed] == ["[odd_mask", "[odd_mask"]
    assert "no whole numbers" in noticed[0]
    assert "marks 100% of its voxels" in noticed[1]


def test_labels_joined_by_another_sign_are_noticed(tmp_path: Path) -> None:
    write_squares(tmp_path)
    path = tmp_path / "list.csv"
    path.write_text("image,label\n0.png,sq\n1.png,hole\n2.png,sq;hole\n3.png,a/b\n")
    (line,) = [one for one in map(str, datalists.check(path).warnings) if "joined_labels" in one]
    assert "'sq;hole' is a label of its own" in line
    path.write_text("")
    with pytest.raises(DataListError, match="it is empty; the first line names the columns: image"):
        datalists.check(path)


def test_channels_in_both_formats(tmp_path: Path) -> None:
    write_squares(tmp_path)
    case = datalists.Case(image=tmp_path / "0.png", channels=(tmp_path / "1.png",), label="a")
    for name in ("list.json", "list.csv"):
        datalists.save([case], tmp_path / name)
        assert datalists.load(tmp_path / name) == [case]
    path = tmp_path / "uneven.csv"
    path.write_text("image,label\n0.png|1.png,a\n2.png,b\n")
    with pytest.raises(Exception, match=r"row 3: 1 image\(s\), but row 2 has 2 channels"):
        datalists.load(path)


def test_train_and_evaluate_commands(tmp_path: Path) -> None:
    squares = write_squares(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({**SETTINGS, "training": {**SETTINGS["training"], "epochs": 1}}))  # JSON is YAML
    ran = invoke(
        "train", "--data", squares, "--output", tmp_path / "model", "--config", config, "--folds", 2, "--device", "cpu"
    )
    assert ran.exit_code == 0, ran.stderr
    for said in ("task: multiclass (sigmoid) of bright, dark", "grid: 64 x 64", "fold 1 of 2", "auc"):
        assert said in ran.stderr
    ran = invoke(
        "evaluate", tmp_path / "model", "--data", squares, "--output", tmp_path / "scores", "--compare", "none",
        "--compared-cases", 0, "--bootstrap", 10, "--device", "cpu",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    assert "accuracy" in ran.stdout
    assert (tmp_path / "scores" / "summary.html").is_file()
    ran = invoke(
        "train", "--data", squares, "--output", tmp_path / "next", "--start-from", tmp_path / "model", "--epochs", 1,
        "--device", "cpu",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    assert "start: the weights of bundle model 0.1.0" in ran.stderr
    ran = invoke("evaluate", tmp_path / "model", "--data", squares, "--output", tmp_path / "x", "--compare", "magic")
    assert ran.exit_code == 2
    assert "accepted: gradcam" in ran.stderr
