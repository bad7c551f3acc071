"""`medattn bundle`: what a person and a program get, and the exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medattn_core.bundles import Bundle, load_network, save_bundle, seal
from medattn_core.cli import app
from medattn_core.errors import MedAttnError
from medattn_core.inference import Predictor
from medattn_core.interop import export, formats, parity, verify, workflow
from medattn_core.interop.report import Report
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.volumes import read, write
from tests.interop.conftest import MODELS, Exports, available
from tests.two import smooth, two_bundle

SMALL_ENCODER = {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}


@pytest.mark.parametrize("self_contained", [False, True])
@pytest.mark.parametrize("name", [pytest.param(m, marks=pytest.mark.slow) if m == "blobs" else m for m in MODELS])
def test_an_export_passes_every_check(
    exports: Exports, scans: dict[str, Path], name: str, self_contained: bool
) -> None:
    if name == "blob_size" and not self_contained:
        pytest.skip("the self-contained one is the harder case; each run costs a process")
    bundle = exports(name, self_contained=self_contained)
    report = verify(bundle.path, trust=True, inputs=sorted(scans[name].iterdir())[:2])
    assert report.good, report.lines()
    status = {check.name: check.status for check in report.checks}
    wanted = {"files", "metadata", "hashes", "weights", "configurations", "network in and out", "prediction",
              "inference.json", "torchscript"}  # fmt: skip
    wanted |= {f for f in ("onnx", "openvino") if available(f) and not self_contained}
    assert {name for name, said in status.items() if said == "passed"} >= wanted
    details = {check.name: check.detail for check in report.checks}
    assert details["configurations"] == "text that this MedAttn writes itself"
    assert "no property is missing" in details["inference.json"]
    assert details["torchscript"].startswith("3 input(s)")


def test_what_training_writes_is_verified_too(originals: dict[str, Bundle]) -> None:
    """Its configurations are this package's own; of an ensemble, inference.json gives the mean as Predictor does."""
    report = verify(originals["blob_size"].path)
    assert report.good, report.lines()
    checks = {check.name: check for check in report.checks}
    assert "missing: configs/multi_gpu_train.json, configs/logging.conf" in checks["files"].detail
    assert checks["configurations"].status == "passed"
    assert originals["blob_size"].members
    assert checks["inference.json"].status == "passed"
    assert checks["inference.json"].detail.startswith("as Predictor on the example")


def test_a_bundle_of_several_channels_runs_in_monai(tmp_path: Path) -> None:
    """A case is a folder with its channels, each with an intensity rule of its own; so is an input to compare on."""
    bundle = two_bundle(tmp_path / "two")
    case = tmp_path / "case"
    case.mkdir()
    for name, start in (("1_ct", 0.0), ("2_pet", 2000.0)):
        write(smooth(np.eye(4), (32, 32, 32), start=start), case / f"{name}.nii.gz")
    report = verify(bundle.path, inputs=[case])
    checks = {check.name: check for check in report.checks}
    assert report.good, report.lines()
    assert checks["prediction"].detail == "2 input(s)"
    assert checks["inference.json"].detail.startswith("as Predictor on the example and 1 input(s)")


def test_a_wrong_input_is_no_fault_of_the_bundle(tmp_path: Path) -> None:
    """It is named, the exit status says so, and everything is compared on the others."""
    bundle = two_bundle(tmp_path / "two")
    case = tmp_path / "case"
    case.mkdir()
    write(smooth(np.eye(4), (32, 32, 32)), case / "1_ct.nii.gz")
    report = verify(bundle.path, inputs=[case, case / "1_ct.nii.gz", tmp_path / "nowhere"])
    wrong = [check for check in report.checks if check.status == "failed"]
    assert [check.name for check in wrong] == ["input"] * 3
    assert [check.code for check in wrong] == ["bad_argument"] * 3
    assert "holds 1 file(s); an input of this bundle is a folder with its 2 channels" in wrong[0].detail
    assert "1_ct.nii.gz: is no folder" in wrong[1].detail
    checks = {check.name: check for check in report.checks}
    assert checks["prediction"].status == checks["inference.json"].status == "passed"


def test_what_cannot_be_compared_is_listed(tmp_path: Path) -> None:
    """A network whose numbers overflow: no prediction, and the later comparisons are not silently missing."""
    network = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "encoder_options": SMALL_ENCODER}
    module = AttentionCNN(**network)
    with torch.no_grad():
        module.top_down.smooth[3].weight.fill_(0)  # features are 1, whatever the network and the scan
        module.top_down.smooth[3].bias.fill_(1)
        module.pooling.value.weight.fill_(3e38)
    task = TaskSpec(name="huge", labels=("a", "b"), size=(16, 16, 16))
    bundle = save_bundle(
        tmp_path / "huge", task=task, network_settings=network, state_dict=module.state_dict(), description="",
        version="1",
    )  # fmt: skip
    (bundle.path / formats.TORCHSCRIPT).write_bytes(b"never loaded")
    checks = {check.name: check for check in verify(bundle.path).checks}
    assert checks["prediction"].code == "non_finite_logits"
    for name in ("inference.json", "torchscript"):
        assert (checks[name].status, checks[name].detail) == ("skipped", "Predictor gave nothing to compare with")


def test_an_export_of_several_channels_writes_evidence_on_the_first(tmp_path: Path) -> None:
    """Channels on two grids, beside a file that a Mac leaves: the map is that of Predictor, on the first."""
    made = two_bundle(tmp_path / "two")
    case = tmp_path / "scans" / "case"
    case.mkdir(parents=True)
    images = smooth(np.eye(4), (32, 32, 32)), smooth(np.diag([2.0, 2.0, 2.0, 1.0]), (20, 20, 20), scale=-7, start=2000)
    paths = [case / "1_ct.nii.gz", case / "2_pet.nii.gz"]
    for image, path in zip(images, paths, strict=True):
        write(image, path)
    (case / "._1_ct.nii.gz").write_bytes(b"\0\5\26\7")
    bundle = export(made.path, tmp_path / "export_classification", self_contained=True)
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "holds a folder for each scan, and that 2 files: in the order of their names ct, pet." in card
    assert "medattn predict SCAN --channel PET --bundle two" in card
    answer = workflow.run_apart(bundle.path, tmp_path / "scans", tmp_path / "results")
    prediction = Predictor.from_bundle(made, device="cpu")(paths)
    want = prediction.task.probabilities(prediction.logits)
    np.testing.assert_allclose(np.array(answer["outputs"][0]).ravel(), want, atol=1e-5)
    written, ours = read(tmp_path / "results" / "case_evidence.nii.gz"), prediction.evidence().density()
    np.testing.assert_allclose(written.affine, images[0].affine, atol=1e-4)
    np.testing.assert_allclose(written.data, ours.data, atol=1e-3 * np.abs(ours.data).max())


def test_another_models_graph_fails(exports: Exports, originals: dict[str, Bundle], tmp_path: Path) -> None:
    """The right file name, hash and form, and other weights in it: only running it tells."""
    shutil.copytree(exports("blobs").path, tmp_path / "copy")
    network = load_network(originals["blobs"])
    network.pooling.value.weight.data.mul_(1.5)
    script = formats.torchscript(network, formats.carried(tmp_path / "copy"))
    (tmp_path / "copy" / formats.TORCHSCRIPT).write_bytes(script)
    seal(tmp_path / "copy")
    volumes = parity.example(originals["blobs"].task)
    prediction = Predictor.from_bundle(tmp_path / "copy", device="cpu")(volumes[0])
    found = parity.compare(prediction, parity.torchscript(tmp_path / "copy" / formats.TORCHSCRIPT), volumes[0])
    assert not found.good


def test_the_command_line(originals: dict[str, Bundle], tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "blobs_classification"
    made = runner.invoke(app, ["bundle", "export", str(originals["blobs"].path), "--output", str(out)])
    assert made.exit_code == 0, made.output
    assert f"{out}: blobs 0.1.0" in made.stderr.replace("\n", "")
    assert (out / "configs" / "multi_gpu_train.json").is_file()
    (out / "docs" / "README.md").write_text("other")
    bad = runner.invoke(app, ["bundle", "verify", str(out)])
    assert bad.exit_code == 1
    assert "FAIL  hashes" in bad.stdout
    assert "1 of 3 checks failed" in bad.stdout
    data = runner.invoke(app, ["bundle", "verify", str(out), "--json"])
    assert data.exit_code == 1
    found = json.loads(data.stdout)
    assert found["good"] is False
    assert found["checks"][-1]["code"] == "hash_mismatch"
    nothing = runner.invoke(app, ["bundle", "verify", str(tmp_path / "nowhere")])
    assert nothing.exit_code == 2
    assert "error [unknown_bundle]" in nothing.stderr
    again = runner.invoke(app, ["bundle", "export", str(out), "--output", str(tmp_path / "x")])
    assert again.exit_code == 1
    assert "error [hash_mismatch]" in again.stderr


def test_a_report_counts() -> None:
    report = Report(bundle="b")
    report.passed("files", "there")
    report.skipped("onnx", "not installed")
    assert report.good
    assert report.lines()[-1] == "b: every check passed, 1 skipped"
    report.failed("weights", "broken\nfile")
    assert not report.good
    assert report.lines()[2:] == ["FAIL  weights  broken file", "b: 1 of 3 checks failed, 1 skipped"]


def test_missing_packages_are_named(
    originals: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine without them: an import that finds nothing."""
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, p=None: None if n == "onnxscript" else real(n, p))
    done = CliRunner().invoke(
        app, ["bundle", "export", str(originals["blobs"].path), "--output", str(tmp_path / "x"), "--onnx"]
    )
    assert done.exit_code == 1
    assert 'error [missing_dependency] --onnx needs onnxscript: pip install "medattn[onnx]"' in done.stderr
    assert not (tmp_path / "x").exists()


def test_one_input_is_a_list_of_one(originals: dict[str, Bundle], tmp_path: Path) -> None:
    """Letter by letter a path would be read from its first "/" on: every file of the machine."""
    for given in (str(tmp_path / "none.png"), tmp_path / "none.png"):
        check = {check.name: check for check in verify(originals["blob_size"].path, inputs=given).checks}["input"]
        assert (check.status, f"{tmp_path}/none.png" in check.detail) == ("failed", True)
    with pytest.raises(MedAttnError, match="inputs: 5 is no path") as caught:
        verify(originals["blob_size"].path, inputs=[5])  # type: ignore[list-item]
    assert caught.value.code == "bad_argument"
