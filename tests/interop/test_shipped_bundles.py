"""The shipped bundles on their own data, through MONAI: training that resumes, the documented figure. Minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medattn_core import datalists
from medattn_core.datalists import Case
from tests.interop.conftest import Exports
from tests.interop.test_monai_tools import assert_same_weights, train_whole_and_broken_off, workflow

pytest.importorskip("ignite")
pytestmark = pytest.mark.slow

FEW = 24


def vessels(shared_data: Path, folder: Path, split: str, count: int | None = None) -> list[Case]:
    """Pieces of VesselMNIST3D as files; the first ``count`` of each class."""
    archive = shared_data / "vesselmnist3d" / "vesselmnist3d_64.npz"
    if not archive.is_file():
        pytest.skip("VesselMNIST3D at 64^3 lies not beside this checkout")
    folder.mkdir(parents=True)
    with np.load(archive) as found:
        images, labels = found[f"{split}_images"], found[f"{split}_labels"].ravel()
    chosen = range(len(labels))
    if count is not None:
        chosen = np.concatenate([np.flatnonzero(labels == label)[:count] for label in (0, 1)])
    cases = []
    for index in chosen:
        path = folder / f"{index:04d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(images[index], np.eye(4)), path)
        cases.append(Case(image=path, labels=("aneurysm",) if labels[index] == 1 else ()))
    return cases


def few_cases(name: str, shared_data: Path, folder: Path) -> list[Case]:
    """Some of the cases a shipped bundle was trained on, two folds of them."""
    if name == "vessel_aneurysm":
        cases = vessels(shared_data, folder / "train", "train", FEW // 2)
    elif name == "hippocampus_volume":
        cases = datalists.load(shared_data / "hippocampus/labels.csv", columns={"value": "volume_mm3"})[:FEW]
    else:
        every = datalists.load(shared_data / "brain_tumor_t1ce/labels.csv")
        cases = [case for label in sorted({c.label or "" for c in every})
                 for case in [c for c in every if c.label == label][: FEW // 3]]  # fmt: skip
    return [replace(case, fold=index % 2, patient=None) for index, case in enumerate(cases)]


@pytest.mark.parametrize("name", ["brain_tumor_t1ce", "hippocampus_volume", "vessel_aneurysm"])
def test_training_starts_and_resumes(exports: Exports, shared_data: Path, tmp_path: Path, name: str) -> None:
    datalists.save(few_cases(name, shared_data, tmp_path), tmp_path / "few.json")
    inputs = {"dataset_dir": str(tmp_path), "data_list": str(tmp_path / "few.json")}
    assert_same_weights(*train_whole_and_broken_off(exports(name).path, tmp_path, **inputs))


def test_evaluate_reproduces_the_documented_metric(exports: Exports, shared_data: Path, tmp_path: Path) -> None:
    """Of the shipped bundles this one's figures are of a test split that it never saw; the other two were trained on
    all their data, and their cross-validated figures are of other networks."""
    datalists.save(vessels(shared_data, tmp_path / "test", "test"), tmp_path / "unseen.json")
    bundle = exports("vessel_aneurysm")
    inputs = {"dataset_dir": str(tmp_path), "data_list": str(tmp_path / "unseen.json")}
    flow = workflow(bundle.path, "evaluate", "infer", output_dir=str(tmp_path / "out"), **inputs)
    flow.run()
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    documented = bundle.metadata["eval_metrics"]
    assert found["cases"] == 382
    assert found["auc"] == pytest.approx(documented["auc"], abs=1e-4)
