"""Saving: whole or not at all, never over something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle, load, load_network, model_card, save_bundle, seal
from medattn_core.bundles.bundle import INPUT_CHECK, LISTED_FILES, METADATA, Recipe
from medattn_core.bundles.save import as_stored
from medattn_core.bundles.trust import InputCheck
from medattn_core.errors import BundleError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import IntensityRule, TaskSpec
from tests.bundles.conftest import TASK

Make = Callable[..., Bundle]
CHECK = InputCheck(mean=np.zeros(32), precision=np.eye(32), limit=3.0, ranges={}, quantile=0.99)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_bundle_holds_its_files_and_nothing_is_left_beside_it(make: Make, tmp_path: Path) -> None:
    bundle = make()
    assert set(tree(bundle.path)) == {METADATA, *LISTED_FILES}
    assert [p.name for p in tmp_path.iterdir()] == ["lumps"]
    assert "Apache License" in (bundle.path / "LICENSE").read_text(encoding="utf-8")
    assert (bundle.path / "docs" / "data_license.txt").read_text(encoding="utf-8") == "CC BY 4.0, invented data\n"
    assert bundle.path.stat().st_mode & 0o055 == 0o055


def test_parents_are_made(make: Make, tmp_path: Path) -> None:
    assert make(tmp_path / "a" / "b" / "lumps").name == "lumps"


def test_records_are_kept(make: Make) -> None:
    bundle = make(
        calibration={"temperature": np.float32(1.5), "fold": 2},
        training={"seed": 7},
        about={"authors": "A. Author", "references": ["doi:10.1/x"], "version": "9"},
        metrics={"auc": torch.tensor(0.5), "confusion": np.eye(2, dtype=int)},
    )
    assert bundle.calibration == {"temperature": 1.5, "fold": 2}
    assert bundle.metadata["medattn"]["training"] == {"seed": 7}
    assert bundle.metadata["authors"] == "A. Author"
    assert bundle.version == "1.2.0"
    assert bundle.metadata["eval_metrics"] == {"auc": 0.5, "confusion": [[1, 0], [0, 1]]}


def test_an_old_bundle_is_replaced(make: Make, tmp_path: Path) -> None:
    old = make(version="1.0.0")
    (old.path / "docs" / "old.txt").write_text("old")
    seal(old.path)  # a file of the bundle's own
    assert make(version="2.0.0").version == "2.0.0"
    assert not (tmp_path / "lumps" / "docs" / "old.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["lumps"]


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"state_dict": {"a": torch.zeros(2)}}, "weights_mismatch", "missing"),
        ({"version": ""}, "bad_bundle", "version"),
        ({"network_settings": {"spatial_dims": 2}}, "bad_bundle", "no network can be built"),
        ({"metrics": {"auc": float("nan")}}, "bad_bundle", "metrics"),
        ({"training": {"path": object()}}, "bad_bundle", "training"),
        ({"task": TaskSpec(name="x", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))}, "bad_bundle", "out_channels"),
    ],
)
def test_a_failed_save_leaves_the_old_bundle_and_no_trace(
    make: Make, tmp_path: Path, changes: dict[str, Any], code: str, word: str
) -> None:
    before = tree(make().path)
    with pytest.raises(BundleError, match=word) as caught:
        make(**changes)
    assert caught.value.code == code
    assert "/.lumps" not in caught.value.message  # the user's folder, not the temporary one
    assert tree(tmp_path / "lumps") == before
    assert [p.name for p in tmp_path.iterdir()] == ["lumps"]


def test_nan_weights_are_not_saved(make: Make, network: AttentionCNN, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    state["pooling.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(BundleError, match="NaN or infinite") as caught:
        make(state_dict=state)
    assert caught.value.code == "bad_bundle"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_is_not_replaced(make: Make, tmp_path: Path) -> None:
    target = tmp_path / "lumps"
    target.mkdir()
    make()  # an empty folder may be filled
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    for path in (other, other / "thesis.tex"):
        with pytest.raises(BundleError, match="thesis") as caught:
            make(path)
        assert caught.value.code == "bad_argument"
    assert (other / "thesis.tex").read_text() == "years of work"
    (other / "configs").mkdir()
    (other / "configs" / "metadata.json").write_text("{}")  # a bundle, but none of ours
    with pytest.raises(BundleError, match="is no bundle of MedAttn"):
        make(other)


def test_files_that_someone_put_into_a_bundle_are_not_lost(make: Make, tmp_path: Path) -> None:
    """Weights of a training by MONAI, scans beside them: the defaults of a bundle's own configurations."""
    bundle = make()
    for name in ("input/scan.nii.gz", "models/retrained.pt"):
        (bundle.path / name).parent.mkdir(exist_ok=True)
        (bundle.path / name).write_bytes(b"mine")
    with pytest.raises(BundleError, match=r"not the bundle's \(input/scan\.nii\.gz and 1 more\)") as caught:
        make(bundle.path)
    assert caught.value.code == "bad_argument"
    assert (bundle.path / "models/retrained.pt").read_bytes() == b"mine"
    for name in ("input/scan.nii.gz", "models/retrained.pt"):
        (bundle.path / name).unlink()
    make(bundle.path)


def test_a_link_is_not_replaced(make: Make, tmp_path: Path) -> None:
    real = make(tmp_path / "real").path
    (tmp_path / "lumps").symlink_to(real)
    with pytest.raises(BundleError, match="lumps") as caught:
        make()
    assert caught.value.code == "bad_argument"


def test_a_place_that_cannot_be_written(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written") as caught:
        make(tmp_path / "file" / "lumps")
    assert caught.value.code == "unwritable"


def test_seal_after_a_change_of_ones_own(make: Make) -> None:
    bundle = make()
    (bundle.path / "docs" / "README.md").write_text("# Mine\n", encoding="utf-8")
    (bundle.path / "models" / "model.ts").write_bytes(b"export")
    with pytest.raises(BundleError, match=r"README\.md"):
        load(bundle.path)
    sealed = seal(bundle.path)
    assert set(sealed.metadata["medattn"]["files"]) == {*LISTED_FILES, "models/model.ts"}
    assert not list((bundle.path / "configs").glob(".*"))
    load_network(load(bundle.path))


def with_rules(make: Make, **changes: Any) -> Bundle:
    """A bundle that knows when it is sure and what its scans are like."""
    conformal = {"coverage": 0.9, "quantile": 0.4}
    return make(calibration={"temperature": 2.0, "conformal": conformal}, input_check=CHECK, **changes)


@pytest.mark.parametrize("changed", ["models/model.pt", "models/model_1.pt"])
def test_seal_keeps_no_rules_of_other_weights(make: Make, network: AttentionCNN, changed: str) -> None:
    members = [network.state_dict()]
    bundle = with_rules(make, members=members)
    (bundle.path / "docs" / "README.md").write_text("# Mine\n", encoding="utf-8")
    assert seal(bundle.path).calibration["temperature"] == 2.0  # the weights are what they were
    before = tree(bundle.path)
    state = {name: value + 1 if name == "pooling.bias" else value for name, value in network.state_dict().items()}
    torch.save(state, bundle.path / changed)
    with pytest.raises(BundleError, match="drop_rules=True") as caught:
        seal(bundle.path)
    assert caught.value.code == "bad_argument"
    assert str(bundle.path / changed) in caught.value.message
    assert tree(bundle.path)[METADATA] == before[METADATA]
    sealed = seal(bundle.path, drop_rules=True)
    assert sealed.calibration == {}
    assert sealed.input_check is None
    assert INPUT_CHECK not in tree(bundle.path)
    assert seal(bundle.path).metadata == sealed.metadata
    load_network(sealed)


def test_an_input_check_alone_is_a_rule_too(make: Make, network: AttentionCNN) -> None:
    bundle = make(input_check=CHECK)
    assert not bundle.calibration
    torch.save(network.state_dict() | {"pooling.bias": network.pooling.bias + 1}, bundle.weights_path)
    with pytest.raises(BundleError, match="drop_rules=True"):
        seal(bundle.path)


def test_seal_of_other_weights_without_rules(make: Make, network: AttentionCNN) -> None:
    bundle = make()
    torch.save({n: v.half() if v.ndim == 4 else v for n, v in network.state_dict().items()}, bundle.weights_path)
    load_network(seal(bundle.path))


def test_seal_wants_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"):
        seal(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / METADATA).write_text("{}")
    with pytest.raises(BundleError, match="not a MedAttn bundle"):
        seal(tmp_path)


# ---------------------------------------------------------------- model card


def test_the_card_states_the_facts(make: Make) -> None:
    text = (make().path / "docs" / "README.md").read_text(encoding="utf-8")
    for fact in (
        "# lumps 1.2.0",
        "tells lumps apart",
        "Research use only",
        "modality: MR",
        "single slices and whole volumes",
        "round, square, none: a probability for each",
        "evidence cells of 8 x 8 mm",
        "A cell can see at most",
        "| accuracy | 0.950 |",
        "| fold, 2 | 1.000 |",
        "medattn predict SCAN --bundle lumps",
    ):
        assert fact in text


def test_a_card_of_ones_own_is_kept(make: Make) -> None:
    assert (make(card="# My card").path / "docs" / "README.md").read_text(encoding="utf-8") == "# My card"


def test_the_card_of_an_ensemble_says_that_it_is_one(make: Make, network: AttentionCNN) -> None:
    others = [network.state_dict()] * 2
    text = (make(members=others, evaluation="Of each by itself.").path / "docs" / "README.md").read_text("utf-8")
    alone = (make().path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "An ensemble of 3 networks: its logit and its evidence are the means of theirs. Each is an Attention" in text
    assert "The logit of each network is a frozen bias" in text
    assert "## How well\n\nOf each by itself.\n\n| measure" in text
    assert "ensemble" not in alone
    assert "The logit is a frozen bias" in alone


def test_weights_as_stored_are_those_that_come_back(make: Make, network: AttentionCNN) -> None:
    with torch.no_grad():
        large = max(network.parameters(), key=torch.numel)
        large.mul_(1.0001)
    rounded = as_stored(network.state_dict())
    assert any(not torch.equal(value, rounded[name]) for name, value in network.state_dict().items())
    for state in (network.state_dict(), rounded):
        for name, value in load_network(make(state_dict=state)).state_dict().items():
            assert torch.equal(value, rounded[name]), name


def test_the_card_of_a_regression() -> None:
    task = TaskSpec(
        name="age", kind="regression", activation="identity", labels=("age",), unit="years", size=(96, 96, 96),
        intensity=IntensityRule(rule="window", lower=-100, upper=300), field_of_view=200.0,
    )  # fmt: skip
    text = model_card(name="age", task=task, network={"evidence_stride": 16}, limitations="Adults only.")
    for fact in ("- age, in years", "central 96 x 96 x 96", "-100 and 300, in the", "16 x 16 x 16 mm", "Adults"):
        assert fact in text
    assert "How well" not in text
    assert "A cell can see" not in text


def test_a_card_refers_to_data_only_where_it_names_some() -> None:
    task = TaskSpec(name="t", labels=("a", "b"))
    outside = "Not measured outside the data named above."
    assert outside not in model_card(name="t", task=task, network={})
    assert outside not in model_card(name="t", task=task, network={}, evaluation="Not measured.")
    assert outside in model_card(name="t", task=task, network={}, metrics={"auc": 0.9})
    assert outside in model_card(name="t", task=task, network={}, training_data="Scans of X.")


def test_the_card_names_the_rule_of_each_channel() -> None:
    window, mean = IntensityRule(rule="window", lower=-100, upper=300), IntensityRule()
    task = TaskSpec(name="t", labels=("a", "b"), channels=("ct", "pet"), intensity=(window, mean))
    text = model_card(name="t", task=task, network={})
    assert "- intensities of ct: -100 and 300, in the file's units, become 0 and 1, what lies beyond is cut\n" in text
    assert "- intensities of pet: divided by the mean of the image's foreground (above 0.1 times its 99.5th" in text
    assert "- intensities: -100 and 300" in model_card(name="t", task=replace(task, intensity=window), network={})


def test_the_card_says_what_a_threshold_decides() -> None:
    one = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", threshold=0.6)
    assert "where no label reaches 0.6 the result carries the warning `below_threshold`" in model_card(
        name="t", task=one, network={}
    )
    text = model_card(name="t", task=replace(one, kind="multilabel"), network={})
    assert "a label is said from a probability of 0.6 on" in text
    assert "below_threshold" not in text


def test_a_3d_regression_bundle(tmp_path: Path) -> None:
    task = TaskSpec(
        name="age", kind="regression", activation="identity", labels=("age",), unit="years", size=(32, 64, 64)
    )
    settings = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "bias": [50.0],
        "encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]},
    }  # fmt: skip
    network = AttentionCNN(**settings).eval()
    state = network.state_dict()
    bundle = save_bundle(
        tmp_path / "age", task=task, network_settings=settings, state_dict=state, description="", version="1"
    )
    metadata = json.loads((bundle.path / METADATA).read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 64, 64]
    x = torch.rand(1, 1, 32, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(load_network(bundle)(x), network(x), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("task", {"task": replace(TASK, labels=("round", "$1+1", "none"))}),
        ("task", {"task": replace(TASK, unit="%")}),
        ("task", {"task": replace(TASK, labels=("round", "5$ @ x", "none"))}),
        ("training", {"training": {"note": "@device"}}),
        ("data list", {"recipe": Recipe(data_list="list.json", size=(64, 64), section="$1+1")}),
    ],
)
def test_what_monai_would_run_is_not_written(make: Make, tmp_path: Path, part: str, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=f"in {part} would be code in the bundle's configurations") as caught:
        make(**changes)
    assert "without $, @ or % in front (percent for %), and without $ and @ together" in caught.value.message
    assert caught.value.code == "bad_bundle"
    assert not list(tmp_path.iterdir())
