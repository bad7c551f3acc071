"""The shipped bundle on real scans: what `make demo` promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_volumes import dilate
from medattn_core.bundles import load
from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs import save
from medattn_core.volumes import read


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("brain_tumor_t1ce", device="cpu")


@pytest.fixture(scope="module")
def brain1(predictor, sample_data) -> Prediction:
    return predictor(sample_data / "brain1_image.nrrd")


def exact(prediction: Prediction) -> None:
    """Completeness of every label, without and with the residual."""
    for k, label in enumerate(prediction.task.labels):
        evidence = prediction.evidence(label)
        total = prediction.bias[k] + evidence.data.sum(dtype=np.float64)
        assert abs(total - prediction.logits[k]) <= 1e-4 * max(1.0, abs(prediction.logits[k]))
        assert abs(evidence.residual) <= 0.02 * np.abs(evidence.data).sum(dtype=np.float64)
        assert evidence.shape == prediction.volume.shape
        np.testing.assert_array_equal(evidence.affine, prediction.volume.affine)


def test_weights_are_small_enough_for_the_repository():
    bundle = load("brain_tumor_t1ce")
    assert bundle.weights_path.stat().st_size < 15e6
    assert "CC BY 4.0" in (bundle.path / "docs" / "data_license.txt").read_text(encoding="utf-8")


def test_brain1_is_seen_where_its_tumour_is(brain1, sample_data):
    mask = read(sample_data / "brain1_label.nrrd").data > 0
    assert mask[brain1.regions()[0].voxel_index]
    positive = np.clip(brain1.evidence().data, 0, None)
    assert positive[dilate(mask, brain1.volume.spacing, 5.0)].sum() >= 0.5 * positive.sum()
    exact(brain1)


def test_the_dicom_series_gives_the_same_probabilities(predictor, brain1, sample_data):
    dicom = predictor(sample_data / "brain1_dicom")
    for label, probability in brain1.probabilities.items():
        assert dicom.probabilities[label] == pytest.approx(probability, abs=1e-3)
    exact(dicom)


def test_brain2_sums_whatever_it_says(predictor, sample_data):
    exact(predictor(sample_data / "brain2_image.nrrd"))


def test_without_its_tumour_brain1_is_another_case(brain1, sample_data):
    without = brain1.without(sample_data / "brain1_label.nrrd")
    assert without.probabilities[brain1.label] < brain1.probabilities[brain1.label]


@pytest.mark.parametrize("pattern", ["oblique_nifti/*T1_AX*.nii.gz", "remind_dicom_seg/*.zip"])
def test_oblique_scans_sum_to_their_logits(predictor, shared_data, pattern):
    exact(predictor(next(shared_data.glob(pattern))))


def test_slices_of_the_training_source(predictor, shared_data):
    """Not a measure (these slices were trained on): the road from a JPEG to a label works."""
    prediction = predictor(shared_data / "brain_tumor_t1ce" / "images" / "0001.jpg")
    assert prediction.label == "meningioma"
    assert [n.code for n in prediction.warnings] == ["unknown_spacing"]


def test_results_of_a_scan(brain1, tmp_path):
    files = save(brain1, tmp_path / "out", report=True)
    assert all(Path(path).is_file() for path in files.values())
    evidence = read(next((tmp_path / "out").glob("*_evidence.nii.gz")))
    assert evidence.shape == brain1.volume.shape
    np.testing.assert_allclose(evidence.affine, brain1.volume.affine, atol=1e-4)
    millilitres = abs(np.linalg.det(evidence.affine[:3, :3])) / 1000
    total = brain1.evidence().total
    assert evidence.data.sum(dtype=np.float64) * millilitres == pytest.approx(total, abs=1e-4 * max(1, abs(total)))
