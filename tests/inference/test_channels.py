"""Predicting from several images of one scan, from Python and the command line."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medattn_core.batch import Settings, predict_many
from medattn_core.cli import app
from medattn_core.errors import Notice, VolumeError
from medattn_core.inference import Predictor
from medattn_core.volumes import read, write
from tests.two import smooth, two_bundle

CT, PET = smooth(np.eye(4), (32, 32, 32)), smooth(np.diag([2.0, 2.0, 2.0, 1.0]), (20, 20, 20), scale=-7, start=2000)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_bundle(tmp_path_factory.mktemp("bundles") / "two").path


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.from_bundle(bundle, device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "ct.nii.gz", tmp_path / "pet.nii.gz"
    for volume, path in zip((CT, PET), paths, strict=True):
        write(volume, path)
    return paths


def test_each_channel_counts_and_their_order(predictor: Predictor) -> None:
    said = [predictor(pair).logits for pair in ((CT, PET), (PET, CT), (CT, CT))]
    assert np.abs(said[0] - said[1]).max() > 0.1
    assert np.abs(said[0] - said[2]).max() > 0.1


def test_what_is_known_of_further_channels_is_said(predictor: Predictor) -> None:
    warned = replace(PET, warnings=(Notice("missing_slices", "two slices are missing"),), source="pet.nii.gz")
    prediction = predictor((CT, warned))
    assert Notice("missing_slices", "pet: two slices are missing") in prediction.warnings
    assert prediction.to_dict()["channels"] == ["pet.nii.gz"]
    broken = replace(PET, data=np.where(PET.data > PET.data.mean(), np.nan, PET.data), source="pet.nii.gz")
    with pytest.raises(VolumeError, match=r"^pet.nii.gz: 4,000 voxels \(50.0%\) are NaN") as caught:
        predictor((CT, broken))
    assert caught.value.code == "non_finite_voxels"


def test_reading_the_further_channels_is_reading(bundle: Path, predictor: Predictor, tmp_path: Path) -> None:
    """From Python and in a batch; the further channel is a thousand times as large as the first."""
    ct, pet = tmp_path / "ct.nii.gz", tmp_path / "pet.nii.gz"
    write(CT, ct)
    write(smooth(np.diag([0.25, 0.25, 0.25, 1.0]), (160, 160, 160), scale=-7, start=2000), pet)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        read(pet)
        seconds.append(time.perf_counter() - start)
    assert predictor((CT, pet)).timings["read"] > 0.3 * min(seconds)
    predict_many([(ct, pet)], tmp_path / "out", Settings(bundle=str(bundle), device="cpu"))
    (record,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["timings_s"]["read"] > 0.3 * min(seconds)


def test_the_command_line(bundle: Path, predictor: Predictor, files: tuple[Path, Path], tmp_path: Path) -> None:
    ct, pet = files

    def run(*options: object) -> tuple[int, str]:
        command = ["predict", str(ct), *map(str, options), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
        ran = CliRunner().invoke(app, command)
        return ran.exit_code, " ".join((ran.stdout + ran.stderr).split())

    status, _ = run("--channel", pet, "--report")
    assert status == 0
    (record,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["channels"] == [str(pet)]
    want = predictor((ct, pet))
    assert list(record["logits"].values()) == pytest.approx(want.logits.tolist(), rel=1e-6)
    assert "pet.nii.gz" in (tmp_path / "out" / "ct_report.html").read_text()
    status, said = run()
    assert status == 1
    assert "1 image(s), but two takes 2 a case: ct, pet; give all of them" in said
    assert "--channel FILE" in said
    assert "given as two channels of one case" in run("--channel", ct)[1]
    assert "--channel is empty" in run("--channel", "")[1]
