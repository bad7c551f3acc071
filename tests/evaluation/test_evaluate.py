"""From a trained bundle and a list to metrics.json, pictures and a page."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medattn_core.bundles import load, load_network
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate, fidelity
from medattn_core.evaluation.saliency import PEERS, Peers
from medattn_core.training import train
from tests.squares import SETTINGS, write_squares

torch.set_num_threads(2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle that tells bright from dark squares, and the list it was trained on (fold 1 held out)."""
    folder = tmp_path_factory.mktemp("squares")
    squares = write_squares(folder)
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"epochs": 40, "learning_rate": 5e-3, "ema_decay": 0.9}
    train(squares, folder / "out" / "squares", config=settings, device="cpu", validation_fold=1)
    return folder / "out" / "squares", squares


@pytest.fixture(scope="module")
def measured(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    bundle, squares = trained
    output = tmp_path_factory.mktemp("measured") / "here"
    settings = Settings(compared_cases=3, bootstrap=50)
    seen: list[tuple[int, int]] = []
    metrics = evaluate(
        bundle, squares, output, fold=1, validation=squares, repeat=(bundle,), settings=settings, device="cpu",
        progress=lambda done, count: seen.append((done, count)),
    )  # fmt: skip
    assert seen[-1] == (16, 16)
    return metrics, output


def test_metrics_and_files(measured: tuple[dict, Path]) -> None:
    metrics, output = measured
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert metrics["cases"] == 16
    accuracy = metrics["classification"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] >= 0.85
    assert np.array(metrics["confusion_matrix"]).sum() == 16
    place = metrics["localisation"]
    assert place["evidence"]["cases"] == 16
    assert place["evidence"]["pointing"] >= 0.7
    assert 0.05 <= place["iou_threshold"] <= 0.95
    assert set(PEERS) <= set(place)
    assert place["gradcam"]["cases"] == 3
    faith = metrics["fidelity"]
    for method in ("evidence", *PEERS):
        assert len(faith[method]["deletion"]) == len(faith["shares"])
        # All deleted: nothing is left of the image; none: the image itself, whatever the map.
        assert faith[method]["deletion"][0] == pytest.approx(faith["evidence"]["deletion"][0], abs=1e-5)
        assert faith[method]["insertion"][-1] == pytest.approx(faith["evidence"]["deletion"][0], abs=1e-5)
    assert faith["repeatability"]["rank_correlation"] == pytest.approx(1.0)  # with itself
    assert abs(faith["weight_randomisation"]["rank_correlation"]) < 0.6
    for name in ("roc", "precision_recall", "reliability", "confusion", "deletion", "insertion"):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((output / "cases.csv").open()))
    assert len(rows) == 16
    assert {"true", "said", "probability_bright", "map_pointing"} <= set(rows[0])
    assert not [p for p in output.iterdir() if p.name.startswith(".")]


def test_page_is_for_a_reader(measured: tuple[dict, Path]) -> None:
    page = (measured[1] / "summary.html").read_text()
    assert "of 16 cases got the right label" in page
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
    assert "could not be predicted" in (tmp_path / "out" / "summary.html").read_text()
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
    with pytest.raises(MedAttnError, match="no label"):
        evaluate(bundle, path, tmp_path / "out", device="cpu")


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
    rows = [f"{i}.png,{1000 + 10 * i}" for i in range(32)]
    path = squares.with_name("values.csv")
    path.write_text("image,value\n" + "\n".join(rows))
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
    assert "mm3 on average" in (tmp_path / "out" / "summary.html").read_text()
