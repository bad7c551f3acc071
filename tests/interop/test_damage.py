"""Damage that verification has to name and an export to refuse, each in words, whatever the other checks say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medattn_core.bundles import Bundle, load, seal, shipped_names
from medattn_core.bundles.bundle import INFERENCE, METADATA
from medattn_core.cli import app
from medattn_core.errors import BundleError
from medattn_core.interop import agreement, export, formats, parity, verification, verify, workflow
from medattn_core.interop.report import FAILED, PASSED, Report
from tests.checks import ABSENT, setting
from tests.interop.conftest import FORMATS, Exports, available
from tests.interop.test_hostile import edit, put


@pytest.fixture
def copy(originals: dict[str, Bundle], tmp_path: Path) -> Path:
    """A bundle as training writes it, to be spoilt."""
    shutil.copytree(originals["blobs"].path, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def exported(exports: Exports, tmp_path: Path) -> Path:
    """An export to be spoilt; without the other formats, whose comparison takes a while."""
    shutil.copytree(exports("blobs").path, tmp_path / "export", ignore=shutil.ignore_patterns("model.[tox]*", "*.bin"))
    seal(tmp_path / "export")
    return tmp_path / "export"


def checks_of(report: Report) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.detail) for check in report.checks}


# ---------------------------------------------------------------- metadata

TENSORS = [
    (("network_data_format",), value, "network_data_format") for value in (ABSENT, 5, None, [], {}, "x", [{}])
] + [
    (("network_data_format", "inputs"), value, "network_data_format names no inputs")
    for value in (ABSENT, 5, None, [], {}, "x")
] + [
    (("network_data_format", "inputs", "image"), 5, "network_data_format.inputs.image is no object"),
    (("network_data_format", "inputs", "image", "num_channels"), ABSENT, "inputs.image.num_channels is missing"),
    (("network_data_format", "outputs", "pred", "dtype"), ABSENT, "outputs.pred.dtype is missing"),
    (("network_data_format", "outputs", "pred", "num_channels"), "2", "pred.num_channels is '2'; a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "value", "words"), TENSORS)
def test_a_network_whose_data_are_not_described(
    copy: Path, tmp_path: Path, keys: tuple[str, ...], value: Any, words: str
) -> None:
    edit(copy, METADATA, setting(*keys, value=value))
    checks = checks_of(verify(copy))
    for name in ("metadata", "network in and out"):
        assert checks[name][0] == FAILED
        assert words in checks[name][1]
    assert checks["prediction"][0] == checks["task"][0] == PASSED, "the others go on"
    with pytest.raises(BundleError, match=words) as caught:
        export(copy, tmp_path / "out")
    assert caught.value.code == "bad_bundle"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [[], {}, [{}], 5, None])
def test_a_version_that_is_no_text(copy: Path, version: Any) -> None:
    edit(copy, METADATA, setting("version", value=version))
    done = CliRunner().invoke(app, ["bundle", "verify", str(copy), "--json"])
    assert done.exit_code == 1
    failed = {check["name"]: check["detail"] for check in json.loads(done.stdout)["checks"]}
    assert f"version is {version!r}; a text is needed" in failed["metadata"]
    assert f"version {version!r}" in failed["hashes"]


@pytest.mark.parametrize("value", [5, None, [], "x", [{}]])
@pytest.mark.parametrize("key", ["changelog", "required_packages_version", "eval_metrics"])
def test_an_export_refuses_metadata_of_another_type(copy: Path, tmp_path: Path, key: str, value: Any) -> None:
    edit(copy, METADATA, setting(key, value=value))
    assert key in checks_of(verify(copy))["metadata"][1]
    with pytest.raises(BundleError, match=rf"metadata\.json: {key} is .*; copy the bundle again") as caught:
        export(copy, tmp_path / "out")
    assert caught.value.code == "bad_bundle"
    assert not (tmp_path / "out").exists()


def test_an_export_adds_what_older_bundles_lack(copy: Path, tmp_path: Path) -> None:
    for key in ("changelog", "required_packages_version", "eval_metrics"):
        edit(copy, METADATA, setting(key, value=ABSENT))
    metadata = export(copy, tmp_path / "out").metadata
    assert metadata["changelog"] == {metadata["version"]: "exported"}
    assert metadata["required_packages_version"] == metadata["optional_packages_version"]


def test_an_interval_of_texts_is_not_shown(copy: Path, tmp_path: Path) -> None:
    score = {"value": 0.9, "low": "0.8", "high": "0.95"}
    edit(copy, METADATA, setting("eval_metrics", value={"auc": score, "other": {"value": "0.9"}}))
    card = (export(copy, tmp_path / "out").path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "No intervals were measured" in card


# ---------------------------------------------------------------- other forms of the model


@pytest.mark.parametrize("runtime", FORMATS)
def test_a_graph_of_another_input(exports: Exports, runtime: str) -> None:
    if not available(runtime):
        pytest.skip(f"needs {', '.join(FORMATS[runtime])}")
    path = exports("blobs").path / formats.FILES[runtime][0]
    with pytest.raises(BundleError, match=r"does not take the task's input \[1, 2, 8, 8, 8\]") as caught:
        parity.RUNTIMES[runtime][0](path)(np.zeros((1, 2, 8, 8, 8), np.float32))
    assert caught.value.code == "bad_bundle"


def test_a_graph_without_evidence_is_a_failed_check(copy: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["image"], ["logits"])], "g",
        [onnx.helper.make_tensor_value_info("image", 1, [2, 1])],
        [onnx.helper.make_tensor_value_info("logits", 1, [2, 1])],
    )  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    put(copy, "models/model.onnx", model.SerializeToString())
    put(copy, "models/model.ts", b"no script")
    done = CliRunner().invoke(app, ["bundle", "verify", str(copy), "--trust", "--json"])
    assert done.exit_code == 1
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["onnx"]["code"] == found["torchscript"]["code"] == "bad_bundle"
    assert "model.onnx: does not take the task's input" in found["onnx"]["detail"]
    assert "model.ts: no TorchScript model that can be loaded" in found["torchscript"]["detail"]
    assert found["task"]["status"] == PASSED


def test_an_unexpected_error_is_a_failed_check() -> None:
    report = Report(bundle="b")
    assert verification._step(report, "odd", lambda: {}["missing"]) is None
    (check,) = report.checks
    assert (check.status, check.code) == (FAILED, "internal")
    assert check.detail == "unexpected KeyError; run again with --verbose for the trace"


# ---------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size", ABSENT, r"size \(\[24, 24, 24\], None\)"),
        ("labels", ["dark", "bright"], r"labels \(\['bright', 'dark'\], \['dark', 'bright'\]\)"),
        ("threshold", 0.9, r"threshold \(None, 0\.9\)"),
    ],
)
def test_a_task_that_the_configurations_contradict(exported: Path, key: str, value: Any, words: str) -> None:
    """The metadata have no hash: a key that is changed there is seen by comparing."""
    edit(exported, METADATA, setting("medattn", "task", key, value=value))
    with pytest.raises(BundleError, match=rf"inference\.json and configs/metadata\.json .* tasks: {words}; copy"):
        agreement.same_task(load(exported))


def test_a_contradicted_task_fails_verification(copy: Path) -> None:
    edit(copy, METADATA, setting("medattn", "task", "size", value=ABSENT))
    status, detail = checks_of(verify(copy))["task"]
    assert status == FAILED
    assert "size" in detail


def test_tasks_that_mean_the_same(exported: Path) -> None:
    """What is left out counts with its default: older bundles state fewer keys. Code is not looked at."""
    edit(exported, METADATA, setting("medattn", "task", "slice_spacing", value=ABSENT))
    edit(exported, INFERENCE, lambda data: data["dataset"]["task"].update(labels="$open('x')"))
    assert agreement.same_task(load(exported)).startswith("that of the metadata in configs/inference.json, configs/tr")
    edit(exported, INFERENCE, lambda data: data["dataset"].update(task={"labels": []}))
    with pytest.raises(BundleError, match=r"inference\.json: its task is none"):
        agreement.same_task(load(exported))


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_bundles_state_one_task(name: str) -> None:
    assert agreement.same_task(load(name)) == "that of the metadata in configs/inference.json, configs/train.json"


@pytest.mark.parametrize(
    ("config", "key", "value", "missing", "wrong"),
    [
        ("train", "network_def", 5, {}, {"train": ["network_def"], "multi_gpu_train": ["network_def"]}),
        ("train", "network_def", {"spatial_dims": 3}, {}, {"train": ["network_def"],
                                                           "multi_gpu_train": ["network_def"]}),
        ("train", "network_def", "$scripts.make()", {}, {}),
        ("evaluate", "validate", 3, {}, {"evaluate": ["evaluator", "dataset"]}),
        ("evaluate", "inferer", [], {}, {"evaluate": ["inferer"]}),
        ("multi_gpu_train", "device", None, {"multi_gpu_train": ["device"]}, {}),
    ],
)  # fmt: skip
def test_properties_are_of_their_kind(
    exported: Path, config: str, key: str, value: Any, missing: dict[str, list[str]], wrong: dict[str, list[str]]
) -> None:
    assert not any(any(found.values()) for found in workflow.properties_of(exported))
    edit(exported, f"configs/{config}.json", setting(key, value=value))
    for found, expected in zip(workflow.properties_of(exported), (missing, wrong), strict=True):
        assert {name: places for name, places in found.items() if places} == expected


def test_a_trusted_configuration_that_makes_nothing(exported: Path) -> None:
    edit(exported, "configs/evaluate.json", setting("validate", value=3))
    status, detail = checks_of(verify(exported, trust=True))["inference.json"]
    assert status == FAILED
    assert "MONAI could make nothing of evaluate.json: evaluator, dataset" in detail
