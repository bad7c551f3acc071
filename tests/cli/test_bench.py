"""`medattn bench`, and the options of `medattn predict` about speed, as a person runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BRAIN = ROOT / "sample_data" / "brain1_image.nrrd"


def medattn(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medattn_core", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def test_bench_prints_both_sides(tmp_path):
    done = medattn("bench", "--input", BRAIN, "--runs", 1, "--runtime", "torch-bf16", MEDATTN_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    for side in ("MONAI", "MedAttn, torch", "MedAttn, torch-bf16"):
        (line,) = [row for row in done.stdout.splitlines() if re.match(rf"{side}\s\s", row)]
        assert len(re.findall(r"\d+\.\d\d", line)) == 3  # the ratio and its quartiles
        milliseconds = [int(n) for n in re.findall(r"\s(\d+)(?=\s)", line)]
        assert sum(milliseconds[:-1]) == pytest.approx(milliseconds[-1], abs=10)
    assert "networks" not in done.stdout  # one on each side


def test_bench_of_an_ensemble_says_that_monai_runs_one_network_of_several(tmp_path):
    scan = tmp_path / "scan.nii.gz"
    noise = np.random.default_rng(0).normal(500, 100, (40, 48, 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([1.0, 1, 1, 1])), scan)
    done = medattn("bench", "--bundle", "hippocampus_volume", "--input", scan, "--runs", 1, "--runtime", "torch")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^hippocampus_volume \S+ \(5 networks; MONAI runs one\) on ", done.stdout, re.MULTILINE)


def test_bench_says_in_its_words_what_is_wrong_with_the_scan(tmp_path):
    done = medattn("bench", "--input", tmp_path / "gone.nii.gz", "--runs", 1, "--runtime", "torch")
    assert done.returncode == 1
    assert "error [not_found]" in done.stderr


def test_predict_with_options_about_speed(tmp_path):
    plain = medattn("predict", BRAIN, "--bundle", "brain_tumor_t1ce", "--output", tmp_path / "a")
    other = medattn(
        "predict", BRAIN, "--bundle", "brain_tumor_t1ce", "--output", tmp_path / "b",
        "--runtime", "torch-bf16", "--evidence-dtype", "float32",
    )  # fmt: skip
    assert plain.returncode == other.returncode == 0, plain.stderr + other.stderr
    kinds, records = [], []
    for folder in "ab":
        (record,) = json.loads((tmp_path / folder / "predictions.json").read_text(encoding="utf-8"))
        image = nib.load(tmp_path / folder / record["evidence"]["path"])
        voxel = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        total = np.asarray(image.dataobj, np.float64).sum() * voxel
        assert total == pytest.approx(record["evidence"]["sum"], rel=1e-5)
        kinds.append(image.get_data_dtype().name)
        records.append(record)
    assert kinds == ["int16", "float32"]
    assert records[0]["label"] == records[1]["label"]
    assert records[0]["probabilities"] != records[1]["probabilities"]  # bfloat16 has run
    lost = records[0]["evidence"]["residual"]
    assert abs(lost) < 1e-3 * abs(records[0]["evidence"]["sum"])


def test_wrong_runtimes_are_wrong_usage(tmp_path):
    done = medattn("predict", BRAIN, "--bundle", "brain_tumor_t1ce", "--output", tmp_path, "--runtime", "fast")
    assert done.returncode == 2
    assert "openvino-bf16" in done.stderr
