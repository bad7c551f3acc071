"""What is in a list and what is asked of it, and what goes wrong beside the numbers: empty masks, rare findings,
validation cases, options of the command, pictures."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from medattn_core import datalists
from medattn_core.cli import app
from medattn_core.datalists import Case
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate, examples, localisation, pictures
from medattn_core.evaluation.cases import check_apart, load_cases
from medattn_core.evaluation.run import run
from medattn_core.evaluation.saliency import Peers
from medattn_core.inference import Predictor
from tests.evaluation.conftest import other_map
from tests.squares import write_list

NUMBERS = Settings(compared_cases=0, bootstrap=0, examples=0)


def masked(folder: Path, squares: Path, indices: range | list[int]) -> list[dict[str, str]]:
    """Rows of squares; bright ones with their outline, dark ones with an empty mask."""
    listed = list(csv.DictReader(squares.open()))
    rows = []
    for index in indices:
        x, y = (int(listed[index][f"box_{axis}_px"]) for axis in "xy")
        mask = np.zeros((64, 64), np.uint8)
        mask[y : y + 16, x : x + 16] = 255 * (index % 2)
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / f"mask{index}.png"))
        rows.append({"image": str(squares.parent / f"{index}.png"), "label": listed[index]["label"],
                     "mask": f"mask{index}.png"})  # fmt: skip
    return rows


def broken(folder: Path, count: int) -> list[dict[str, str]]:
    for index in range(count):
        (folder / f"broken{index}.png").write_bytes(b"nothing")
    return [{"image": str(folder / f"broken{index}.png"), "label": "dark"} for index in range(count)]


def test_a_label_whose_masks_are_empty_is_no_lesion(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Its scans can raise false alarms only. What a drawn lesion without a label means is not known, nor what an empty
    mask of a lesion means: these scans are left out."""
    rows = masked(tmp_path, trained[1], range(10))
    rows[1]["label"] = "-"
    rows[3]["mask"] = rows[0]["mask"]
    sides = ("box_x_px", "box_y_px", "box_width_px", "box_height_px")
    rows[8] = {"image": rows[8]["image"], "label": "-", **dict.fromkeys(sides, "8")}
    data = write_list(tmp_path / "list.csv", rows)
    metrics = evaluate(trained[0], data, tmp_path / "out", settings=NUMBERS, device="cpu")
    froc = metrics["localisation"]["froc"]
    assert [froc[name] for name in ("lesions", "scans", "scans_without", "scans_undrawn")] == [3, 7, 4, 3]
    for entry, what in zip(metrics["place_errors"], ("mask1.png", "8.png: its box"), strict=True):
        assert entry["code"] == "bad_mask"
        assert f"{what} marks a finding, and no label is true of the case" in entry["message"]
    assert metrics["localisation"]["evidence"]["cases"] == 3


def test_a_mask_that_is_not_used_draws_no_lesion(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """The mask of a dark one is all of its picture: it counts nowhere, and the dark one without a mask, of which no
    lesion is known, stays a scan on which the bright ones may be found wrongly."""
    rows = masked(tmp_path, trained[1], range(4))
    sitk.WriteImage(sitk.GetImageFromArray(np.full((64, 64), 255, np.uint8)), str(tmp_path / "mask0.png"))
    rows[2]["mask"] = ""
    predictor = Predictor.from_bundle(trained[0], device="cpu")
    seen = run(predictor, load_cases(write_list(tmp_path / "list.csv", rows), predictor.task))
    assert [entry["code"] for entry in seen.place_errors] == ["bad_mask"]
    assert (set(seen.maps.froc), seen.maps.undrawn) == ({1, 2, 3}, {0})


def test_what_is_smaller_than_a_voxel_does_not_lie_beside_the_scan(trained: tuple[Path, Path], tmp_path: Path) -> None:
    rows = []
    for index, (first, wide) in enumerate(((30.4, 0.6), (64, 9))):
        sides = {f"box_{side}_px": str(first) for side in "xy"} | {
            f"box_{side}_px": str(wide) for side in ("width", "height")
        }
        rows.append({"image": str(trained[1].parent / f"{index}.png"), "label": "bright", **sides})
    predictor = Predictor.from_bundle(trained[0], device="cpu")
    seen = run(predictor, load_cases(write_list(tmp_path / "list.csv", rows), predictor.task))
    small, beside = seen.place_errors
    assert small["code"] == beside["code"] == "empty_mask"
    assert "0.png: its box covers less than half of any voxel of the scan" in small["message"]
    assert "1.png: its box lies beside the scan" in beside["message"]


@pytest.mark.parametrize(("change", "message"), [
    ({"size": [48, 48]}, r"size \(48, 48\), where .* has None"),
    ({"spacing": [2.0, 2.0]}, r"spacing \(2.0, 2.0\), where"),
    ({"field_of_view": 80.0}, "field_of_view 80.0, where .* has 64.0"),
    ({"slice_spacing": 3.0}, "slice_spacing 3.0, where .* has 5.0"),
])  # fmt: skip
def test_maps_of_another_grid_are_not_compared_cell_by_cell(
    trained: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Refused before anything is predicted."""
    other = shutil.copytree(trained[0], tmp_path / "other")
    path = other / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["medattn"]["task"] |= change
    path.write_text(json.dumps(metadata))
    with pytest.raises(MedAttnError, match=message) as caught:
        evaluate(*trained, tmp_path / "out", repeat=(other,), settings=NUMBERS, device="cpu")
    assert caught.value.code == "bad_argument"
    assert "give bundles of the same task and model grid" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_repeat_that_fails_costs_the_repeat_alone(trained: tuple[Path, Path], folds: tuple[Path, Path]) -> None:
    def fails(images: object) -> None:
        raise RuntimeError("patient Anna")

    predictor = Predictor.from_bundle(trained[0], device="cpu")
    cases = load_cases(folds[1], predictor.task)[:2]
    seen = run(predictor, cases, compare=("gradcam",), compared_cases=2, others=(fails,))  # type: ignore[arg-type]
    assert [entry["code"] for entry in seen.map_errors] == ["internal", "internal"]
    assert (len(seen.maps.curves["gradcam"]), len(seen.maps.randomised)) == (2, 2)
    assert seen.maps.repeated == {}


def test_one_rule_for_where_the_strongest_evidence_is(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """A finding of the one voxel that is the strongest: the map points at it, and the lesion is found."""
    (row,) = masked(tmp_path, trained[1], [1])
    evidence = Predictor.from_bundle(trained[0], device="cpu")(row["image"]).evidence("bright").data
    x, y = np.argwhere(evidence[..., 0] == evidence.max())[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[y, x] = 255
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / row["mask"]))
    data = write_list(tmp_path / "list.csv", [row])
    place = evaluate(trained[0], data, tmp_path / "out", settings=NUMBERS, device="cpu")["localisation"]
    assert (place["evidence"]["pointing"], place["froc"]["sensitivity"][0]) == (1.0, 1.0)


def test_maps_are_compared_where_there_is_a_finding(trained: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [{"image": str(trained[1].parent / f"{i}.png"), "label": "bright" if i == 5 else "-"} for i in range(8)]
    data = write_list(tmp_path / "list.csv", rows)
    settings = replace(NUMBERS, compare=(), compared_cases=1)
    metrics = evaluate(trained[0], data, tmp_path / "out", settings=settings, device="cpu")
    assert metrics["fidelity"]["evidence"]["cases"] == 1
    data = write_list(tmp_path / "none.csv", rows[:5])
    metrics = evaluate(trained[0], data, tmp_path / "none", settings=settings, device="cpu")
    (entry,) = metrics["map_errors"]
    assert (entry["code"], entry["cases"]) == ("bad_argument", 5)
    assert "no case shows a label" in entry["message"]
    assert "no case shows a label" in (tmp_path / "none" / "summary.html").read_text()


def test_a_patient_in_other_letters_is_the_same() -> None:
    """Of two lists; nobody is named."""
    lists = [[Case(image=Path(f"{name}.nii"), labels=("a",), patient=name)] for name in ("P1", "p1", "p2")]
    check_apart(lists[0], lists[2], "val.csv", "test.csv")
    with pytest.raises(MedAttnError, match="1 patient of the validation list"):
        check_apart(lists[0], lists[1], "val.csv", "test.csv")


@pytest.mark.parametrize(("validation", "data", "shared"), [
    ("a1 a2", "b1 b2", 0),
    ("a1 atlas", "b1 atlas", 0),  # right for an atlas or a template
    ("a1 a2", "a1 b2", 1),
    ("a1 a2", "a2 a1", 2),  # the channels swapped
    ("a1 a2", "b1 a1", 1),
    ("b1 a1", "a1 a2", 1),
])  # fmt: skip
def test_a_scan_that_is_a_further_channel_of_the_other_list_is_the_same(
    validation: str, data: str, shared: int
) -> None:
    """What thresholds are chosen on and what is measured, as what trains and what is held out."""
    chosen_on, measured = (
        [Case(image=Path(f"{first}.nii"), channels=(Path(f"{further}.nii"),), labels=("a",))]
        for first, further in (validation.split(), data.split())
    )
    if not shared:
        check_apart(chosen_on, measured, "val.csv", "test.csv")
        datalists.check_apart(Path("list.json"), measured, chosen_on)
        return
    with pytest.raises(MedAttnError, match=rf"^val\.csv: {shared} images? of the validation list") as caught:
        check_apart(chosen_on, measured, "val.csv", "test.csv")
    assert caught.value.code == "bad_argument"
    with pytest.raises(MedAttnError, match="an image is in 'training' and in 'validation'"):
        datalists.check_apart(Path("list.json"), measured, chosen_on)


@pytest.mark.parametrize(("count", "chosen"), [(9, False), (10, True), (24, True)])
def test_validation_cases_that_fail_are_told(
    trained: tuple[Path, Path], tmp_path: Path, count: int, chosen: bool
) -> None:
    rows = masked(tmp_path, trained[1], range(4, 4 + count))
    rows[1]["mask"] = str(broken(tmp_path, 2)[0]["image"])
    validation = write_list(tmp_path / "validation.csv", rows + broken(tmp_path, 2))
    data = write_list(tmp_path / "list.csv", masked(tmp_path, trained[1], range(4)))
    options = ["--validation", str(validation), "--compared-cases", "0", "--bootstrap", "0", "--device", "cpu"]
    ran = CliRunner().invoke(
        app, ["evaluate", str(trained[0]), "--data", str(data), "--output", str(tmp_path / "out"), *options]
    )
    assert ran.exit_code == 0, ran.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    found, settings = metrics["validation"], metrics["settings"]
    assert (found["cases"], found["patients"], found["chosen"]) == (count, count, chosen)
    assert [len(found[kind]) for kind in ("errors", "place_errors")] == [2, 1]
    assert (settings["decision_threshold"] is not None) == chosen
    # Every second one has an outline, and one of these is broken: eleven maps choose, four do not.
    assert found["maps"] == {"evidence": count // 2 - 1}
    assert (metrics["localisation"]["iou_threshold"]["evidence"] is not None) == (count == 24)
    assert settings["chosen_on"] == ("validation.csv" if chosen else None)
    text = (tmp_path / "out" / "summary.html").read_text()
    assert "In validation.csv, not predicted: 2 cases" in text
    assert "In validation.csv, mask or box not used: 1 case" in text
    assert ("No threshold was chosen: 9 cases of validation.csv could be predicted, 10 are needed" in text) != chosen
    assert f"{count} images of {count} patients of validation.csv; 2 more could not be predicted" in text
    assert ran.stderr.count("validation, not predicted:") == 2
    said = f"chosen on {count} cases" if chosen else "none chosen on 9 cases"
    assert f"thresholds: {said} of validation.csv, 2 more could not be predicted" in ran.stderr


def test_the_overlap_of_each_map_is_at_its_own_threshold_of_the_validation_cases(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = replace(NUMBERS, compare=("gradcam",), compared_cases=16)
    metrics = evaluate(trained[0], folds[1], tmp_path / "out", validation=folds[0], settings=settings, device="cpu")
    predictor = Predictor.from_bundle(trained[0], device="cpu")
    peers = Peers(predictor.network, ("gradcam",))
    chosen: dict[str, list[np.ndarray]] = {"evidence": [], "gradcam": []}
    found: dict[str, list[np.ndarray]] = {"evidence": [], "gradcam": []}
    for fold, curves in zip(folds, (chosen, found), strict=True):
        for case in datalists.load(fold):
            prediction = predictor(case.image)
            inside = datalists.location_of(case, prediction.volume) >= 0.5
            for method, overlaps in curves.items():
                own = method == "evidence"
                of = prediction.evidence(case.label).data if own else other_map(peers, prediction, case.label, method)
                overlaps.append(localisation.overlaps(of, inside))
    place = metrics["localisation"]
    for method, overlaps in found.items():
        at = int(np.argmax(np.mean(chosen[method], axis=0)))
        assert place["iou_threshold"][method] == localisation.THRESHOLDS[at] != localisation.DEFAULT_THRESHOLD
        assert place[method]["iou"] == pytest.approx(np.mean(overlaps, axis=0)[at], abs=1e-3)
    assert place["iou_threshold"]["evidence"] != place["iou_threshold"]["gradcam"]
    assert "iou" in place["evidence_minus"]["gradcam"]
    page = (tmp_path / "out" / "summary.html").read_text()
    assert f"Grad-CAM {place['iou_threshold']['gradcam']:.2f}" in page
    assert metrics["validation"]["maps"] == {"evidence": 16, "gradcam": 16}


def test_every_option_of_the_command_reaches_the_evaluation(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """A broken image among them: the others are measured, and the exit status says so."""
    rows = list(csv.DictReader(trained[1].open()))[14:18]  # two of each fold
    rows = [row | {"image": str(trained[1].with_name(row["image"]))} for row in rows]
    rows[2]["image"] = broken(tmp_path, 1)[0]["image"]
    data = write_list(tmp_path / "list.csv", rows)
    options = {"--fold": 1, "--compare": "gradcam", "--compared-cases": 1, "--bootstrap": 7, "--seed": 5,
               "--repeat": trained[0], "--device": "cpu", "--output": tmp_path / "out"}  # fmt: skip
    parts = [str(part) for pair in options.items() for part in pair]
    ran = CliRunner().invoke(app, ["evaluate", str(trained[0]), "--data", str(data), *parts])
    assert ran.exit_code == 1, ran.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    settings = {name: metrics["settings"][name] for name in ("compare", "compared_cases", "bootstrap", "seed")}
    assert settings == {"compare": ["gradcam"], "compared_cases": 1, "bootstrap": 7, "seed": 5}
    assert (metrics["fold"], metrics["cases"], len(metrics["errors"])) == (1, 1, 1)
    assert metrics["fidelity"]["repeatability"]["rank_correlation"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", [2**32, -1, 1.5, True, "3"])
def test_a_seed_that_torch_does_not_take_is_refused(seed: Any) -> None:
    with pytest.raises(MedAttnError, match=r"seed=.*; accepted: 0 to 4294967295") as caught:
        Settings(seed=seed)
    assert caught.value.code == "bad_argument"


def test_numbers_outlive_pictures(trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is out while a picture is drawn costs the picture, at worst the page, and never the numbers."""
    rows = [{"image": str(trained[1].parent / f"{i}.png"), "label": "bright" if i % 2 else "dark"} for i in range(3)]
    data, output = write_list(tmp_path / "list.csv", rows), tmp_path / "out"
    settings = replace(NUMBERS, examples=1)
    evaluate(trained[0], data, output, settings=settings, device="cpu")
    assert (output / "example_worst_1.png").exists()

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    data = write_list(tmp_path / "list.csv", rows[:2])
    monkeypatch.setattr(examples.render, "overlay", full)
    evaluate(trained[0], data, output, settings=settings, device="cpu", overwrite=True)
    assert not (output / "example_worst_1.png").exists()
    assert "Evaluation" in (output / "summary.html").read_text()
    monkeypatch.setattr(pictures.plots, "reliability", full)
    data = write_list(tmp_path / "list.csv", rows[:1])
    with pytest.raises(MemoryError):
        evaluate(trained[0], data, output, settings=settings, device="cpu", overwrite=True)
    assert json.loads((output / "metrics.json").read_text())["cases"] == 1
    assert len(list(csv.DictReader((output / "cases.csv").open()))) == 1
    assert not (output / "summary.html").exists()
    assert not (output / "reliability.png").exists()
