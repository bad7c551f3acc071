"""From a trained bundle and a list to metrics.json, pictures and a page."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from medattn_core import datalists
from medattn_core.bundles import load, load_network
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate, fidelity, localisation, saliency
from medattn_core.evaluation.maps import RANDOM_NETWORKS
from medattn_core.evaluation.saliency import PEERS, Peers
from medattn_core.inference import Predictor
from medattn_core.outputs import render
from medattn_core.training import train
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume, read, write
from tests.evaluation.conftest import other_map
from tests.squares import SETTINGS, write_list, write_squares


@pytest.fixture(scope="module")
def other(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same task with another seed."""
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"seed": 1}
    output = tmp_path_factory.mktemp("other") / "squares"
    train(trained[1], output, config=settings, device="cpu", validation_fold=1)
    return output


@pytest.fixture(scope="module")
def measured(
    trained: tuple[Path, Path], folds: tuple[Path, Path], other: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, Path]:
    output = tmp_path_factory.mktemp("measured") / "here"
    settings = Settings(compared_cases=3, bootstrap=50)
    seen: list[tuple[int, int]] = []
    metrics = evaluate(
        trained[0], trained[1], output, fold=1, validation=folds[0], repeat=(other,), settings=settings, device="cpu",
        progress=lambda done, count: seen.append((done, count)),
    )  # fmt: skip
    assert seen[-1] == (32, 32)  # of the validation list, too
    assert seen == sorted(seen)
    return metrics, output


def test_metrics_and_files(measured: tuple[dict, Path]) -> None:
    metrics, output = measured
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert metrics["cases"] == 16
    accuracy = metrics["classification"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] >= 0.85
    assert np.array(metrics["confusion_matrix"]).shape == (3, 3)  # bright, dark, none of them
    assert np.array(metrics["confusion_matrix"]).sum() == 16
    assert metrics["place_errors"] == metrics["map_errors"] == []
    place = metrics["localisation"]
    assert place["evidence"]["cases"] == 16
    assert place["evidence"]["pointing"] >= 0.7
    assert 0.01 <= place["iou_threshold"]["evidence"] <= 0.95
    # Three maps choose nothing, and one at half of its peak is not compared with one at its best threshold.
    assert {place["iou_threshold"][method] for method in PEERS} == {None}
    assert all("iou" not in gaps and "auprc" in gaps for gaps in place["evidence_minus"].values())
    assert set(PEERS) <= set(place)
    assert place["gradcam"]["cases"] == 3
    faith = metrics["fidelity"]
    for method in ("evidence", *PEERS):
        assert len(faith[method]["deletion"]) == len(faith["shares"])
        # All deleted: nothing is left of the image; none: the image itself, whatever the map.
        assert faith[method]["deletion"][0] == pytest.approx(faith["evidence"]["deletion"][0], abs=1e-5)
        assert faith[method]["insertion"][-1] == pytest.approx(faith["evidence"]["deletion"][0], abs=1e-5)
    # One random network may agree by chance; over networks and cases nothing may be left of it.
    assert faith["weight_randomisation"]["networks"] == RANDOM_NETWORKS
    assert faith["weight_randomisation"]["limit"] == 0.2
    for name in ("roc", "precision_recall", "reliability", "confusion", "deletion", "insertion"):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((output / "cases.csv").open()))
    assert len(rows) == 16
    assert {"case", "true", "said", "right", "probability_bright", "map_pointing"} <= set(rows[0])
    threshold, none = metrics["settings"]["decision_threshold"], metrics["settings"]["none_below"]
    assert none is None  # no case of the validation list has none of the labels
    for row in rows:
        bright, dark = (float(row[f"probability_{label}"]) for label in ("bright", "dark"))
        said = "dark" if dark / (bright + dark) >= threshold else "bright"
        assert row["said"] == (said if max(bright, dark) >= 0.5 else "-")
    assert sum(row["right"] == "True" for row in rows) == round(16 * accuracy["value"])
    assert len(list(output.glob("example_*.png"))) == 6
    assert not [p for p in output.iterdir() if p.name.startswith(".")]


def test_repeatability_is_that_of_the_other_model(
    trained: tuple[Path, Path], other: Path, folds: tuple[Path, Path], measured: tuple[dict, Path]
) -> None:
    first, second = (Predictor.from_bundle(bundle, device="cpu") for bundle in (trained[0], other))
    rho = []
    for case in datalists.load(folds[1]):
        maps = [predictor(case.image).contributions(case.label) for predictor in (first, second)]
        rho.append(fidelity.rank_correlation(*maps))
    found = measured[0]["fidelity"]["repeatability"]
    assert found["rank_correlation"] == pytest.approx(np.mean(rho), abs=1e-6)
    assert found["rank_correlation"] < 0.99


def test_other_methods_are_scored_as_they_are(
    trained: tuple[Path, Path], folds: tuple[Path, Path], measured: tuple[dict, Path]
) -> None:
    """The numbers of occlusion, again by hand on the three cases that were drawn."""
    predictor = Predictor.from_bundle(trained[0], device="cpu")
    peers = Peers(predictor.network, ("occlusion",))
    cases, place = datalists.load(folds[1]), measured[0]["localisation"]
    found = []
    for index in np.random.default_rng(0).permutation(16)[:3]:
        case = cases[index]
        prediction = predictor(case.image)
        inside = datalists.location_of(case, prediction.volume) >= 0.5
        occlusion = other_map(peers, prediction, case.label, "occlusion")
        found.append(localisation.scores(occlusion, inside, place["iou_threshold"]["occlusion"]))
    for name, error in (("pointing", 1e-6), ("energy", 1e-4), ("iou", 1e-3), ("auprc", 1e-3)):
        assert place["occlusion"][name] == pytest.approx(np.mean([one[name] for one in found]), abs=error), name
    assert place["evidence_on_sample"]["cases"] == 3


def test_random_networks_have_no_common_map(trained: tuple[Path, Path], folds: tuple[Path, Path]) -> None:
    """A single random network may resemble the map (it sees the same edges); many of them have no direction."""
    predictor = Predictor.from_bundle(trained[0], device="cpu")
    random = [fidelity.randomised(predictor.network, seed) for seed in range(24)]
    rho = []
    for case in datalists.load(folds[1])[:6]:
        prediction = predictor(case.image)
        image = conform(prediction.volume, predictor.task, ()).image[..., 0]
        cells = prediction.contributions(case.label).ravel()
        index, allowed = predictor.task.index(case.label), prediction.head.allowed[..., 0]
        drawn = [fidelity.random_contributions(network, image, index, allowed) for network in random]
        rho += [fidelity.rank_correlation(cells, other) for other in drawn]
    assert abs(np.mean(rho)) < 0.2


def test_examples_outline_the_marked_finding(measured: tuple[dict, Path]) -> None:
    """All cases have a box: each picture has its line, and the same colour beside the word."""
    for path in sorted(measured[1].glob("example_*.png")):
        line = (np.asarray(Image.open(path).convert("RGB")) == render.OUTLINE).all(axis=2)
        assert line[:-190].sum() > 50, path.name
        assert 20 < line[-190:].sum() < 200, path.name


def test_an_example_without_a_usable_finding_is_drawn_all_the_same(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"nothing")
    image = str(trained[1].parent / "{}.png")
    rows = [{"image": image.format(i), "label": ("dark", "bright")[i], "mask": "mask.png"} for i in range(2)]
    path = write_list(tmp_path / "list.csv", rows)
    settings = Settings(compared_cases=0, bootstrap=0, examples=1)
    metrics = evaluate(trained[0], path, tmp_path / "out", settings=settings, device="cpu")
    assert len(metrics["place_errors"]) == 2
    drawn = sorted((tmp_path / "out").glob("example_*.png"))
    assert [one.name for one in drawn] == ["example_best_1.png", "example_worst_1.png"]
    for one in drawn:
        assert not (np.asarray(Image.open(one).convert("RGB")) == render.OUTLINE).all(axis=2).any()


def test_page_is_for_a_reader(measured: tuple[dict, Path]) -> None:
    page = (measured[1] / "summary.html").read_text()
    assert "of 16 cases were labelled correctly" in page
    assert "and have no interval; with few cases they are too large by chance." in page
    assert "Grad-CAM++" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "Research use only" in page


def test_a_bad_image_is_an_error_of_its_own(trained: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, squares = trained
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    lines = [
        "image,label",
        f"{broken},bright",
        *(f"{squares.parent / f'{i}.png'},{'bright' if i % 2 else 'dark'}" for i in range(6)),
    ]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines))
    metrics = evaluate(bundle, path, tmp_path / "out", settings=Settings(compared_cases=0, bootstrap=0), device="cpu")
    assert metrics["cases"] == 6
    assert [error["code"] for error in metrics["errors"]] == ["not_an_image"]
    assert metrics["localisation"] == {}
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "No intervals were requested" in page
    assert "Not predicted and not counted" in (tmp_path / "out" / "summary.html").read_text()
    path.write_text(f"image,label\n{broken},bright\n")
    with pytest.raises(MedAttnError, match="none of 1 cases"):
        evaluate(bundle, path, tmp_path / "none", device="cpu")
    assert not (tmp_path / "none").exists()


def test_what_is_known_before_the_work(trained: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, squares = trained
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MedAttnError) as caught:
            evaluate(bundle, squares, output, device="cpu")
        assert caught.value.code == "unwritable"
    path = tmp_path / "values.csv"
    path.write_text(f"image,value\n{squares.parent / '0.png'},3\n")
    with pytest.raises(MedAttnError, match="a value, where a label is needed; accepted: bright, dark"):
        evaluate(bundle, path, tmp_path / "out", device="cpu")


def test_a_wrong_place_costs_the_place_alone(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """A mask that is no image and a box beside the picture: both cases count, and both are said."""
    bundle, squares = trained
    (tmp_path / "mask.png").write_bytes(b"nothing")
    image = squares.parent / "{}.png"
    rows = [
        {"image": str(image).format(0), "label": "dark", "mask": "mask.png"},
        {"image": str(image).format(1), "label": "bright", "box_x_px": "900", "box_y_px": "900", "box_width_px": "9",
         "box_height_px": "9"},
        {"image": str(image).format(2), "label": "dark", "box_x_px": "0", "box_y_px": "0", "box_width_px": "64",
         "box_height_px": "64"},
        {"image": str(image).format(3), "label": "bright"},
    ]  # fmt: skip
    data = write_list(tmp_path / "list.csv", rows)
    metrics = evaluate(bundle, data, tmp_path / "out", settings=Settings(compared_cases=0, bootstrap=0), device="cpu")
    assert metrics["cases"] == 4
    assert metrics["errors"] == []
    assert [error["code"] for error in metrics["place_errors"]] == ["not_an_image", "empty_mask", "bad_mask"]
    assert "1.png" in metrics["place_errors"][1]["message"]
    assert "3 masks or boxes could not be used" in (tmp_path / "out" / "summary.html").read_text()


def test_a_comparison_that_fails_costs_the_comparison_alone(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(network: object) -> object:
        def explain(x: object, label: int) -> np.ndarray:
            raise RuntimeError("patient Anna")

        return explain

    monkeypatch.setitem(PEERS, "occlusion", fails)
    settings = Settings(compare=("gradcam", "occlusion"), compared_cases=2, bootstrap=0, examples=0)
    metrics = evaluate(trained[0], folds[1], tmp_path / "out", settings=settings, device="cpu")
    assert metrics["cases"] == metrics["localisation"]["evidence"]["cases"] == 16
    assert [error["code"] for error in metrics["map_errors"]] == ["internal", "internal"]
    assert "Anna" not in json.dumps(metrics)
    assert "gradcam" not in metrics["localisation"]  # no half case


def test_a_method_that_the_encoder_does_not_allow(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the usual ones it is left out; where it was asked for, that is an error."""
    monkeypatch.setattr(saliency, "STAGES", ("elsewhere",))
    usual = Settings(compared_cases=1, bootstrap=0, examples=0)
    metrics = evaluate(trained[0], folds[1], tmp_path / "out", settings=usual, device="cpu")
    (entry,) = metrics["map_errors"]
    assert entry["code"] == "bad_argument"
    assert "gradcam_encoder" in entry["message"]
    assert set(metrics["settings"]["compare"]) == set(PEERS) - {"gradcam_encoder"}
    assert {"gradcam", "occlusion"} <= set(metrics["fidelity"])
    for names in (("gradcam", "gradcam_encoder"), tuple(PEERS)):
        asked = replace(usual, compare=names)
        with pytest.raises(MedAttnError, match="leave gradcam_encoder out") as caught:
            evaluate(trained[0], folds[1], tmp_path / "asked", settings=asked, device="cpu")
        assert caught.value.code == "bad_argument"
    evaluate(trained[0], folds[1], tmp_path / "none", settings=replace(asked, compared_cases=0), device="cpu")


def test_it_is_said_why_maps_of_volumes_are_not_compared(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path
) -> None:
    """The model is slicewise: of a volume it pools all slices, which no other method knows."""
    pictures = [read(case.image).data[..., 0] for case in datalists.load(folds[1])]
    rows = [{"image": str(folds[1].parent / "16.png"), "label": "dark"}]
    for index in range(1, 4):
        stack = np.stack(pictures[index::4], axis=-1)
        write(Volume(data=stack, affine=np.diag([1.0, 1.0, 5.0, 1.0])), tmp_path / f"{index}.nii.gz")
        rows.append({"image": f"{index}.nii.gz", "label": "bright" if index % 2 else "dark"})
    settings = Settings(compare=("gradcam",), compared_cases=4, bootstrap=0, examples=0)
    data = write_list(tmp_path / "list.csv", rows)
    metrics = evaluate(trained[0], data, tmp_path / "out", settings=settings, device="cpu")
    (entry,) = metrics["map_errors"]
    assert "1.nii.gz: a volume" in entry["message"]
    assert "3 of the 4 cases" in entry["message"]
    assert metrics["fidelity"]["gradcam"]["cases"] == 1
    assert "a volume, of which this slicewise model" in (tmp_path / "out" / "summary.html").read_text()


def test_thresholds_are_chosen_on_others(trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, squares = trained
    with pytest.raises(MedAttnError, match=r"fold1\.csv: 16 images of the validation list are also in .*list\.csv"):
        evaluate(bundle, squares, tmp_path / "out", validation=folds[1], device="cpu")
    rows = [{"image": str(squares.parent / f"{i}.png"), "label": "bright" if i % 2 else "dark",
             "patient": f"p{i // 4}"} for i in range(6)]  # fmt: skip
    first, second = write_list(tmp_path / "a.csv", rows[:2]), write_list(tmp_path / "b.csv", rows[2:])
    with pytest.raises(MedAttnError, match="1 patient of the validation list") as caught:
        evaluate(bundle, first, tmp_path / "out", validation=second, device="cpu")
    assert caught.value.code == "bad_argument"
    assert "p0" not in caught.value.message


def test_the_output_is_no_bundle_and_holds_nothing_old(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path
) -> None:
    before = sorted(p.name for p in trained[0].iterdir())
    with pytest.raises(MedAttnError, match="folder of a bundle"):
        evaluate(*trained, trained[0], device="cpu")
    assert sorted(p.name for p in trained[0].iterdir()) == before
    output = tmp_path / "out"
    output.mkdir()
    settings = Settings(compared_cases=0, bootstrap=0, examples=0)
    evaluate(trained[0], folds[1], output, settings=settings, device="cpu")
    for name in ("deletion.png", "example_worst_9.png"):  # as an earlier run may have had them
        (output / name).write_bytes((output / "roc.png").read_bytes())
    (output / "notes.txt").write_text("kept")
    evaluate(trained[0], folds[1], output, settings=settings, device="cpu")
    assert not (output / "deletion.png").exists()
    assert not (output / "example_worst_9.png").exists()
    assert (output / "notes.txt").exists()


def test_unknown_methods_are_known_before_the_bundle_is_read(tmp_path: Path) -> None:
    with pytest.raises(MedAttnError, match="crystal_ball"):
        evaluate(tmp_path / "none", tmp_path / "none.csv", tmp_path, settings=Settings(compare=("crystal_ball",)))


@pytest.mark.parametrize(("options", "code"), [
    ({"fold": 9}, "bad_argument"), ({"settings": Settings(compare=("crystal_ball",))}, "bad_argument"),
])  # fmt: skip
def test_wrong_arguments(trained: tuple[Path, Path], tmp_path: Path, options: dict, code: str) -> None:
    with pytest.raises(MedAttnError) as caught:
        evaluate(*trained, tmp_path / "out", device="cpu", **options)
    assert caught.value.code == code


def test_peers_leave_the_network_alone_and_look_the_right_way(trained: tuple[Path, Path]) -> None:
    """A bright square in a corner: every method must point at that corner, not at its mirror image."""
    network = load_network(load(trained[0])).eval()
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in network.modules())
    peers = Peers(network, tuple(PEERS))
    rng = np.random.default_rng(0)
    image = (rng.integers(60, 100, (1, 64, 64)) / 255).astype(np.float32)
    image[0, 8:24, 40:56] = 230 / 255
    index = load(trained[0]).task.labels.index("bright")
    maps = peers.maps(image, index)
    assert sum(len(m._forward_hooks) + len(m._backward_hooks) for m in network.modules()) == hooks
    for name in ("occlusion", "gradcam"):
        assert maps[name].shape == (64, 64)
        row, column = np.unravel_index(int(maps[name].argmax()), (64, 64))
        assert row < 36, name
        assert column >= 28, name


def test_random_weights_are_new_and_leave_the_generator_alone(trained: tuple[Path, Path]) -> None:
    network = load_network(load(trained[0])).eval()
    before = torch.random.get_rng_state()
    random = fidelity.randomised(network)
    assert torch.equal(before, torch.random.get_rng_state())
    same = [
        name for name, value in random.named_parameters() if torch.equal(value, dict(network.named_parameters())[name])
    ]
    assert same == []


def test_regression(tmp_path: Path) -> None:
    squares = write_squares(tmp_path)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / "mask.png"))
    rows = [f"{i}.png,{1000 + 10 * i},{'mask.png' if i < 2 else ''}" for i in range(32)]
    path = squares.with_name("values.csv")
    path.write_text("image,value,mask\n" + "\n".join(rows))
    settings = copy.deepcopy(SETTINGS)
    settings["task"] |= {"unit": "mm3"}
    del settings["task"]["activation"]
    train(path, tmp_path / "value", config=settings, device="cpu")
    metrics = evaluate(
        tmp_path / "value", path, tmp_path / "out", settings=Settings(compared_cases=1, bootstrap=20), device="cpu"
    )
    assert metrics["regression"]["mae"]["value"] < 1000
    assert metrics["regression"]["mae_of_the_mean"]["value"] == pytest.approx(80, abs=1)
    assert (tmp_path / "out" / "predicted.png").exists()
    page = (tmp_path / "out" / "summary.html").read_text()
    assert metrics["localisation"]["evidence"]["cases"] == 2
    assert "froc" not in metrics["localisation"]  # an organ is no single lesion
    assert "mm\u00b3 on average" in page
    assert "loss without its top 10 %, mm\u00b3" in page
    assert "area, insertion, mm\u00b3" in page
    assert "probability" not in page.split("In short")[1]  # a value has none
    assert "label" not in page.split("In short")[1]
