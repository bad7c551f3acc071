"""The command line: what it prints where, and its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medattn_core
from medattn_core import datalists, volumes
from medattn_core.cli import shared
from tests.cli.conftest import Run

BUNDLE = "brain_tumor_t1ce"
SCAN = str(Path(__file__).resolve().parents[2] / "sample_data" / "brain1_image.nrrd")


def test_the_list_that_is_read_by_default_is_that_of_the_data_lists() -> None:
    assert shared.TRAINING_SECTION == datalists.TRAINING_SECTION


def test_as_a_program(sample_data: Path) -> None:
    command = [sys.executable, "-m", "medattn_core"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"medattn {medattn_core.__version__}\n"
    done = subprocess.run([*command, "info", "gone.nii"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error \[not_found\] gone\.nii: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict"], "Missing argument"),
        (["predict", "a.nii", "--output", "x"], "--bundle"),
        (["predict", "a.nii", "--bundle", BUNDLE], "--output"),
        *(
            ([*command, "--output", "x", "--device", device], f"error [bad_argument] device '{device}' is not known")
            for command in (["predict", "a.nii", "--bundle", BUNDLE], ["train", "--data", "l"], ["evaluate", BUNDLE])
            for device in ("tpu", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "CUDA", "cuda 1", "")
        ),
        *(
            ([*command, "--output", "x", "--device", "cuda:4096"], "error [bad_argument] device 'cuda:4096': th")
            for command in (["predict", SCAN, "--bundle", BUNDLE], ["train", "--data", "l"])
        ),
        (["predict", "a.nii", "--bundle", BUNDLE, "--output", "x", "--no-such"], "--no-such"),
        (
            ["predict", "a.nii", "b.nii", "--bundle", BUNDLE, "--output", "x", "--mask", "m.nii"],
            "--mask belongs to one",
        ),
        (
            ["predict", "a.nii", "b.nii", "--bundle", BUNDLE, "--output", "x", "--series", "1.2"],
            "--series belongs to one",
        ),
        (["predict", "a.nii", "--bundle", BUNDLE, "--output", "x", "--workers", "0"], "--workers"),
        (["predict", "a.nii", "--bundle", BUNDLE, "--output", "x", "--memory", "much"], "--memory"),
        (["predict", "a.nii", "--bundle", BUNDLE, "--output", "x", "--engine", "spark"], "spark"),
        (["train", "--data", "list.json"], "--output"),
        (["train", "--data", "list.json", "--output", "x", "--epochs", "0"], "epochs"),
        (["train", "--data", "list.json", "--output", "x", "--start-from"], "--start-from"),
        (["paint"], "paint"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert said in ran.err
    assert ran.out == ""
    assert not Path("x").exists()


def test_help_names_every_command_and_rule(run: Run) -> None:
    root = run("--help")
    assert root.status == 0
    for word in ("predict", "train", "bundles", "info", "Research use only"):
        assert word in root.out
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", run("predict", "--help").out).split())
    for option in (
        "--bundle",
        "--output",
        "--series",
        "--mask",
        "--device",
        "--report",
        "--workers",
        "--memory",
        "--engine",
        "--verbose",
    ):
        assert option in words
    for rule in ("each image in it", "one input"):
        assert rule in words


def test_names_that_help_lists_without_loading_torch_are_those_there_are() -> None:
    from medattn_core.cli.evaluate import PEERS as SHOWN
    from medattn_core.cli.shared import Runtime
    from medattn_core.evaluation.saliency import PEERS
    from medattn_core.inference.runtimes import RUNTIMES

    assert ", ".join(PEERS) == SHOWN
    assert [one.value for one in Runtime] == [*RUNTIMES, "auto"]


def test_info_shows_what_the_reader_saw(run: Run, sample_data: Path) -> None:
    path = sample_data / "brain1_image.nrrd"
    ran = run("info", path)
    assert (ran.status, ran.err) == (0, "")
    for words in (str(path), "256 x 256 x 25", "0.78125  0.78125  6.5", "int16", "0  3057"):
        assert words in ran.out


def test_info_as_json(run: Run, sample_data: Path) -> None:
    path = sample_data / "brain1_image.nrrd"
    seen = json.loads(run("info", path, "--json").out)
    volume = volumes.read(path)
    assert seen["shape"] == [256, 256, 25]
    assert seen["axis_codes"] == volume.axis_codes
    np.testing.assert_allclose(seen["affine_ras_mm"], volume.affine, atol=1e-5)
    assert (seen["format"], seen["series"], seen["warnings"]) == ("nrrd", [], [])


def test_info_lists_the_series_and_warns(run: Run, shared_data: Path) -> None:
    path = shared_data / "messy_ct_dicom" / "dcm_qa_ct_subset.zip"
    seen = json.loads(run("info", path, "--json").out)
    assert [one["slices"] for one in seen["series"]] == [28, 6, 1]
    assert seen["series_instance_uid"] == seen["series"][0]["uid"]
    assert "gantry_tilt" in {warning["code"] for warning in seen["warnings"]}
    ran = run("info", path)
    assert all(one["uid"] in ran.out for one in seen["series"])
    assert "warning [gantry_tilt]" in ran.out
    other = json.loads(run("info", path, "--json", "--series", seen["series"][1]["uid"]).out)
    assert other["series_instance_uid"] == seen["series"][1]["uid"]
    assert run("info", path, "--series", "1.2.3").codes == ["no_such_series"]


def test_errors_are_one_line_and_verbose_shows_the_trace(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.nii.gz"
    path.touch()
    ran = run("info", path)
    assert (ran.status, ran.codes, ran.err.count("\n")) == (1, ["empty_file"], 1)
    assert str(path) in ran.err
    ran = run("info", path, "--verbose")
    assert "Traceback" in ran.err
    assert ran.codes == ["empty_file"]


def test_a_foreign_error_is_not_repeated() -> None:
    """It may quote a header, and so a patient."""
    error = shared.known_error(ValueError("PatientName Mustermann^Erika"), "scan.dcm")
    assert error.code == "internal"
    assert error.message.startswith("scan.dcm: unexpected ValueError")
    assert "Mustermann" not in error.message
    assert shared.known_error(MemoryError(), "scan.dcm").code == "too_large"
    told = shared.known_error(MemoryError(), "predict", memory="crop it"), shared.known_error(KeyError(), trace="look")
    assert [one.message for one in told] == ["predict: not enough memory; crop it", "unexpected KeyError; look"]


def test_bundles_are_listed(run: Run) -> None:
    ran = run("bundles")
    assert ran.status == 0
    assert BUNDLE in ran.out
    assert "glioma" in ran.out
    listed = {entry["name"]: entry for entry in json.loads(run("bundles", "--json").out)}
    assert listed[BUNDLE]["task"]["labels"] == ["glioma", "meningioma", "pituitary"]
    assert re.fullmatch(r"[0-9a-f]{64}", listed[BUNDLE]["weights_sha256"])


def test_an_unknown_bundle_is_wrong_usage(run: Run, sample_data: Path, tmp_path: Path) -> None:
    ran = run("predict", sample_data / "brain1_image.nrrd", "--bundle", "brain_tumour", "--output", tmp_path / "out")
    assert (ran.status, ran.codes) == (2, ["unknown_bundle"])
    assert "brain_tumour" in ran.err
    assert not (tmp_path / "out").exists()
