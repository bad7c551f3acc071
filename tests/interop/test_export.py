"""An exported bundle: complete, a MedAttn bundle still, the same bytes each time, naming no machine."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle, load_networks, seal
from medattn_core.bundles.bundle import METADATA
from medattn_core.errors import BundleError
from medattn_core.inference import Predictor
from medattn_core.interop import describe, export
from medattn_core.interop.card import read_metrics
from medattn_core.interop.schema import check_against
from medattn_core.interop.verification import COMPLETE
from tests.interop.conftest import EVERY, MODELS, SMALL, Exports

ROOT = Path(__file__).resolve().parents[2]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_file_is_there_and_hashed(exports: Exports, name: str, self_contained: bool) -> None:
    bundle = exports(name, self_contained=self_contained)
    found = hashes(bundle.path)
    assert set(COMPLETE) <= set(found)
    listed = bundle.metadata["medattn"]["files"]
    assert {file: digest for file, digest in found.items() if file != METADATA} == listed
    assert any(file.startswith("scripts/") for file in found) == self_contained
    metadata = bundle.metadata
    assert metadata["version"] in metadata["changelog"]
    assert ("medattn" in metadata["required_packages_version"]) != self_contained
    assert metadata["required_packages_version"] == metadata["optional_packages_version"]
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    for part in ("Intended use", "Training data", "Limits", "Intervals", "Use with MONAI"):
        assert f"## {part}" in card, part


@pytest.mark.parametrize("name", MODELS)
def test_metadata_fits_both_schemas(exports: Exports, name: str, shared_data: Path) -> None:
    folder = shared_data.parent / "schemas"
    if not folder.is_dir():
        pytest.skip("MONAI's schemas lie not beside this checkout")
    pytest.importorskip("jsonschema")
    good = check_against(exports(name).metadata, folder)
    assert good == ["meta_schema_20220324.json", "meta_schema_20240725.json"]


@pytest.mark.parametrize("name", MODELS)
def test_it_predicts_what_the_original_predicts(
    exports: Exports, originals: dict[str, Bundle], scans: dict[str, Path], name: str
) -> None:
    exported, original = exports(name), originals[name]
    scan = sorted(scans[name].iterdir())[0]
    ours, theirs = (Predictor.from_bundle(b, device="cpu")(scan) for b in (exported, original))
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_array_equal(ours.evidence().data, theirs.evidence().data)
    assert len(load_networks(exported)) == len(load_networks(original))
    if not original.members:
        assert exported.weights_sha256 == original.weights_sha256


@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_twice_the_same_bytes(originals: dict[str, Bundle], tmp_path: Path, name: str, self_contained: bool) -> None:
    made = [export(originals[name].path, tmp_path / n / "x", self_contained=self_contained) for n in "ab"]
    assert hashes(made[0].path) == hashes(made[1].path)


@pytest.mark.parametrize("name", ["blobs", *(pytest.param(n, marks=pytest.mark.slow) for n in EVERY[1:])])
def test_twice_the_same_bytes_in_every_format(
    exports: Exports, originals: dict[str, Bundle], tmp_path: Path, name: str
) -> None:
    """Another folder, another process, another time: the files are those of the first export."""
    first = hashes(exports(name).path)
    wanted = {"torchscript": "models/model.ts" in first, "onnx": "models/model.onnx" in first,
              "openvino": "models/model.xml" in first}  # fmt: skip
    assert hashes(export(originals[name].path, tmp_path / "again", **wanted).path) == first


@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_no_file_names_this_machine(exports: Exports, name: str, self_contained: bool) -> None:
    places = [str(ROOT), str(Path(sys.prefix)), str(exports.folder)]
    for path in exports(name, self_contained=self_contained).path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in places if place.encode() in content], path


def imports(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_scripts_are_flat_and_import_only_each_other(exports: Exports) -> None:
    folder = exports("blobs", self_contained=True).path / "scripts"
    assert not [path for path in folder.iterdir() if path.is_dir()]
    own = {path.stem for path in folder.glob("*.py")}
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        named = imports(text)
        assert not [name for name in named if name.split(".")[0] == "medattn_core"], path
        assert {name.split(".")[1] for name in named if name.startswith("scripts.")} <= own
        # MONAI Label forgets `scripts` between two bundles: what is imported late would be another's.
        for function in (n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.Lambda))):
            inner = [n.module or "" for n in ast.walk(function) if isinstance(n, ast.ImportFrom)]
            assert not [name for name in inner if name.startswith("scripts")], path


def test_a_self_contained_bundle_runs_where_medattn_cannot_be_imported(
    exports: Exports, scans: dict[str, Path], tmp_path: Path
) -> None:
    """And where ignite cannot: what is blocked raises on import, as if it were not installed.

    Among the scans is one that is none: the plain loop goes on, too.
    """
    bundle = exports("blob_size", self_contained=True)
    program = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("medattn_core", "ignite", "sklearn", "pydicom", "fire"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "ignite" else found(name, package)
import monai.bundle

root, scans, out = sys.argv[1:]
configs = {"config_file": root + "/configs/inference.json", "meta_file": root + "/configs/metadata.json"}
monai.bundle.run(bundle_root=root, dataset_dir=scans, output_dir=out, **configs)
assert not [name for name in sys.modules if name.split(".")[0] in ("medattn_core", "ignite")]
"""
    shutil.copytree(scans["blob_size"], tmp_path / "in")
    (tmp_path / "in" / "a_note.nii.gz").write_text("call back")
    command = [sys.executable, "-c", program, str(bundle.path), str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    predictor = Predictor.from_bundle(bundle, device="cpu")
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        refused, *rows = csv.DictReader(file)
    assert refused["error_code"] == "not_an_image"
    assert refused["value"] == ""
    assert len(rows) == len(list(scans["blob_size"].iterdir()))
    for row in rows:
        assert float(row["value"]) == pytest.approx(predictor(row["input"]).value, rel=1e-4)


def test_the_ensemble_is_one_file(exports: Exports, originals: dict[str, Bundle]) -> None:
    bundle = exports("blob_size")
    state = torch.load(bundle.path / "models" / "model.pt", weights_only=True)
    assert {name.split(".")[1] for name in state} == {"0", "1"}
    assert bundle.stacked == 2
    assert originals["blob_size"].stacked == 1
    config = json.loads((bundle.path / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert config["network_def"]["members"] == 2


@pytest.mark.parametrize("folder", ["./", "", "./sub/", "/abs/"])
def test_an_export_names_the_data_list_whatever_it_is_called(
    originals: dict[str, Bundle], tmp_path: Path, folder: str
) -> None:
    from monai.bundle import ConfigParser

    source = tmp_path / "odd"
    shutil.copytree(originals["blob_size"].path, source)
    for name in ("train.json", "evaluate.json"):
        path = source / "configs" / name
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(config | {"data_name": f"{folder}o'neil (1) $ @3.csv"}), encoding="utf-8")
    bundle = export(seal(source).path, tmp_path / "out")
    for name in ("train.json", "evaluate.json"):
        parser = ConfigParser()
        parser.read_config(str(bundle.path / "configs" / name))
        parser["dataset_dir"] = "/data"
        assert parser.get_parsed_content("data_list") == "/data/./o'neil (1) $ @3.csv"
    assert "o'neil (1) $ @3.csv" in (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")


def test_an_export_of_an_export_is_the_same(exports: Exports, tmp_path: Path) -> None:
    first = exports("blob_size", self_contained=True)
    again = export(first.path, tmp_path / "again", self_contained=True, torchscript=True)
    assert hashes(again.path).keys() == hashes(first.path).keys()
    assert (again.path / "configs/train.json").read_bytes() == (first.path / "configs/train.json").read_bytes()
    assert again.weights_sha256 == first.weights_sha256
    card = (again.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert card == (first.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert card.count("## Use with MONAI") == 1


def test_scores_with_intervals_come_into_card_and_metadata(originals: dict[str, Bundle], tmp_path: Path) -> None:
    scores = tmp_path / "metrics.json"
    scores.write_text(json.dumps({
        "cases": 40, "classification": {"auc": {"value": 0.91, "low": 0.83, "high": 0.97}, "brier": {"value": None}},
        "data": "unseen.csv", "fold": 2, "section": None,
    }))  # fmt: skip
    bundle = export(originals["blobs"].path, tmp_path / "out", metrics=scores)
    assert bundle.metadata["eval_metrics"] == {"auc": {"value": 0.91, "low": 0.83, "high": 0.97}, "cases": 40}
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| auc | 0.91 | 0.83 to 0.97 |" in card
    assert "Measured by `medattn evaluate` on 40 case(s) of `unseen.csv`, fold 2; figures above of" in card
    stated = json.loads(scores.read_text())
    scores.write_text(json.dumps({**stated, "weights_sha256": bundle.weights_sha256}))
    export(originals["blobs"].path, tmp_path / "out", metrics=scores)
    scores.write_text(json.dumps({**stated, "weights_sha256": "00", "bundle": "other", "bundle_version": "9"}))
    with pytest.raises(BundleError, match="the scores of other 9, of other weights"):
        export(originals["blobs"].path, tmp_path / "other", metrics=scores)
    scores.write_text("[]")
    with pytest.raises(BundleError, match=r"metrics\.json of `medattn evaluate`") as caught:
        export(originals["blobs"].path, tmp_path / "other", metrics=scores)
    assert caught.value.code == "bad_argument"
    assert not (tmp_path / "other").exists()


def test_scores_of_monai_are_none_of_evaluate(originals: dict[str, Bundle], tmp_path: Path) -> None:
    """What evaluate.json of a bundle writes: the card would say that nothing was measured, and nothing of the file."""
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"cases": 12, "auc": 0.91, "accuracy": 0.8}))
    with pytest.raises(BundleError, match=r"metrics\.json: no scores of `medattn evaluate`.*; accepted: ") as bad:
        export(originals["blobs"].path, tmp_path / "out", metrics=path)
    assert bad.value.code == "bad_argument"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"settings": {"bootstrap": 0}, "intervals": {"given": False, "patients": 40, "fewest_patients": 10}},
         "No intervals: no bootstrap was made"),
        ({"settings": {"bootstrap": 1000}, "intervals": {"given": False, "patients": 7, "fewest_patients": 10}},
         "No intervals: fewer than 10 patients"),
        ({}, "No intervals: the file of `medattn evaluate` does not say why"),
    ],
)  # fmt: skip
def test_scores_without_intervals_are_written_with_the_reason(
    originals: dict[str, Bundle], tmp_path: Path, told: dict[str, Any], reason: str
) -> None:
    scores = tmp_path / "metrics.json"
    scores.write_text(json.dumps({"cases": 7, "classification": {"auc": {"value": 0.91}}, **told}))
    bundle = export(originals["blobs"].path, tmp_path / "out", metrics=scores)
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| auc | 0.91 |  |" in card
    assert reason in card
    assert "--metrics" not in card, "it tells to do what was just done"


def test_one_score_without_an_interval_beside_others(originals: dict[str, Bundle], tmp_path: Path) -> None:
    scores = tmp_path / "metrics.json"
    measures = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "auc": {"value": 0.91}}
    told = {"settings": {"bootstrap": 1000}, "intervals": {"given": True, "patients": 20, "fewest_patients": 10}}
    scores.write_text(json.dumps({"cases": 20, "classification": measures, **told}))
    bundle = export(originals["blobs"].path, tmp_path / "out", metrics=scores)
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| accuracy | 0.9 | 0.8 to 0.95 |" in card
    assert "| auc | 0.91 |  |" in card
    assert "bootstrap over patients. Where there is none: the bootstrap has no spread" in card


def test_scores_of_none_of_the_labels_are_read_under_their_older_name(
    originals: dict[str, Bundle], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(
        json.dumps({"classification": {"specificity_-": {"value": 0.9}, "auc": {"value": 0.8}}, "cases": 9})
    )
    found = read_metrics(path, next(iter(originals.values()))).scores
    assert found == {"specificity_none_of_the_labels": {"value": 0.9}, "auc": {"value": 0.8}, "cases": 9}


def test_what_lies_there_is_not_overwritten(originals: dict[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is no bundle of MedAttn, so it is not replaced"):
        export(originals["blobs"].path, tmp_path)
    with pytest.raises(BundleError, match="is the bundle itself"):
        export(originals["blobs"].path, originals["blobs"].path)
    with pytest.raises(BundleError, match="sub: lies inside the bundle to export"):
        export(originals["blobs"].path, originals["blobs"].path / "sub")
    assert not (originals["blobs"].path / "sub").exists()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("training", "epochs", "$__import__('os').mkdir('ran')"),
        ("training", "losses", {"_target_": "os.mkdir", "path": "ran"}),
        ("network", "encoder_options", {"_target_": "os.mkdir", "path": "ran"}),
        ("task", "description", "$__import__('os').mkdir('ran')"),
        ("task", "unit", "@device"),
    ],
)
def test_data_that_would_be_code_in_a_configuration_is_refused(
    originals: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, key: str, value: Any
) -> None:
    shutil.copytree(originals["blobs"].path, tmp_path / "copy")
    path = tmp_path / "copy" / METADATA
    data = json.loads(path.read_text(encoding="utf-8"))
    data["medattn"][part][key] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="would be evaluated by MONAI"):
        export(tmp_path / "copy", tmp_path / "out")
    assert not os.path.exists("ran")
    assert not (tmp_path / "out").exists()


def test_the_name_that_monai_label_wants_is_told(
    exports: Exports, originals: dict[str, Bundle], tmp_path: Path
) -> None:
    assert len(describe(exports("blobs"))) == 1
    lines = describe(export(originals["blobs"].path, tmp_path / "blobs"))
    assert "MONAI Label" in lines[1]


@pytest.mark.parametrize("name", SMALL)
def test_evidence_of_the_run_is_that_of_predictor(
    exports: Exports, scans: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from monai.bundle import ConfigWorkflow

    root = exports(name).path
    flow = ConfigWorkflow(
        config_file=str(root / "configs/inference.json"), workflow_type="infer", logging_file=False,
        bundle_root=str(root), dataset_dir=str(scans[name]), output_dir=str(tmp_path),
    )  # fmt: skip
    flow.initialize()
    flow.run()
    flow.finalize()
    predictor = Predictor.from_bundle(root, device="cpu")
    for scan in sorted(scans[name].iterdir()):
        written = nibabel.load(tmp_path / f"{scan.name.removesuffix('.nii.gz')}_evidence.nii.gz")
        density = predictor(scan).evidence().density()
        np.testing.assert_allclose(written.affine, density.affine, atol=1e-5)
        scale = max(1.0, float(np.abs(density.data).max()))
        np.testing.assert_allclose(written.get_fdata(), density.data, atol=1e-4 * scale)
        assert np.abs(density.data).max() > 0
