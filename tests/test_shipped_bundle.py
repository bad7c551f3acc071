"""The shipped bundle on real scans: what `make demo` promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_volumes import dilate
from medattn_core.batch.scanner import words_of
from medattn_core.bundles import load, shipped_names
from medattn_core.bundles.claims import percent_of
from medattn_core.errors import Notice
from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs import save
from medattn_core.outputs.report import report
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume, read


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("brain_tumor_t1ce", device="cpu")


@pytest.fixture(scope="module")
def brain1(predictor, sample_data) -> Prediction:
    return predictor(sample_data / "brain1_image.nrrd")


def exact(prediction: Prediction) -> None:
    """Completeness of every label. Models of a fixed size pad small scans: what lies in the padding is the residual."""
    for k, label in enumerate(prediction.task.labels):
        evidence = prediction.evidence(label)
        total = prediction.bias[k] + evidence.data.sum(dtype=np.float64)
        if prediction.task.size is None:
            assert abs(evidence.residual) <= 1e-4 * np.abs(evidence.data).sum(dtype=np.float64)
        assert abs(total + evidence.residual - prediction.logits[k]) <= 1e-4 * max(1.0, abs(prediction.logits[k]))
        assert evidence.shape == prediction.volume.shape
        np.testing.assert_array_equal(evidence.affine, prediction.volume.affine)


@pytest.mark.parametrize("name", shipped_names())
def test_weights_are_small_and_the_card_says_what_it_must(name):
    bundle = load(name)
    assert sum(path.stat().st_size for path in (bundle.path / "models").iterdir()) < 15e6
    licence = (bundle.path / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/" in licence
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    for part in ("## What it takes", "## Training data", "## How well", "## Limits", "Research use only", "minutes"):
        assert part in card, part
    for value in bundle.metadata["eval_metrics"].values():
        assert np.isfinite(value)


@pytest.mark.parametrize("name", shipped_names())
def test_every_bundle_sums_to_its_logit_on_a_scan_it_has_never_seen_the_like_of(name):
    """An oblique block of tissue in noise; what is said of it does not matter, that the map is the answer does."""
    rng = np.random.default_rng(0)
    predictor = Predictor.from_bundle(name, device="cpu")
    shape, spacing = (40, 44, 24), np.array([1.2, 1.1, 2.5])
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    voxels = rng.normal(20, 5, shape).astype(np.float32).clip(0)
    voxels[10:30, 12:32, 6:18] += 150
    exact(predictor(Volume(data=voxels, affine=affine)))


def test_brain1_is_seen_where_its_tumour_is(brain1, sample_data):
    mask = read(sample_data / "brain1_label.nrrd").data > 0
    assert mask[brain1.regions()[0].voxel_index]
    positive = np.clip(brain1.evidence().data, 0, None)
    assert positive[dilate(mask, brain1.volume.spacing, 5.0)].sum() >= 0.5 * positive.sum()
    exact(brain1)


def test_the_rules_of_single_slices_claim_nothing_of_a_whole_volume(predictor, brain1, sample_data):
    """They were measured on slices; what a user reads of a volume says so, the raw numbers are for `evaluate`."""
    bundle = load("brain_tumor_t1ce")
    assert bundle.calibration["slices"] == 1
    assert list(bundle.metadata["changelog"]) == ["1.1.0", bundle.version]
    assert "whole_volume" in {notice.code for notice in brain1.warnings}
    assert (brain1.to_dict()["confidence"], brain1.to_dict()["label_set"]) == (None, None)
    assert brain1.confidence is not None
    assert brain1.label_set is not None
    one = predictor(replace(brain1.volume, data=np.ascontiguousarray(brain1.volume.data[:, :, 12:13])))
    assert "whole_volume" not in {notice.code for notice in one.warnings}
    older = Predictor(bundle, *predictor.networks)
    older.trust = replace(older.trust, slices=None)
    assert "whole_volume" not in {notice.code for notice in older(sample_data / "brain1_image.nrrd").warnings}


def test_what_says_not_to_rely_on_it_comes_first():
    """Before what the reader and the grid say, on the page too."""
    noise = np.random.default_rng(0).random((60, 70, 60)).astype(np.float32) * 300
    seen = Notice("one_slice", "the reader says so")
    prediction = Predictor.from_bundle("hippocampus_volume", device="cpu")(
        Volume(data=noise, affine=np.eye(4), warnings=(seen,))
    )
    codes = [notice.code for notice in prediction.warnings]
    assert codes[:3] == ["unlike_training", "one_slice", "cropped"]
    page = report(View.of(prediction))
    assert page.index("do not rely on it") < page.index("the reader says so")
    assert prediction.to_dict()["interval"] is None
    assert prediction.interval is not None
    assert "(" not in words_of(prediction), "the command line gives no interval either"


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
    exact(predictor(min(shared_data.glob(pattern))))


def test_slices_of_the_training_source(predictor, shared_data):
    """Not a measure (these slices were trained on): the road from a JPEG to a label works."""
    prediction = predictor(shared_data / "brain_tumor_t1ce" / "images" / "0001.jpg")
    assert prediction.label == "meningioma"
    codes = {n.code for n in prediction.warnings}
    assert "unknown_spacing" in codes
    assert codes <= {"unknown_spacing", "abstained"}


def test_results_of_a_scan(brain1, tmp_path):
    files = save(brain1, tmp_path / "out", report=True)
    assert all(Path(path).is_file() for path in files.values())
    evidence = read(next((tmp_path / "out").glob("*_evidence.nii.gz")))
    assert evidence.shape == brain1.volume.shape
    np.testing.assert_allclose(evidence.affine, brain1.volume.affine, atol=1e-4)
    millilitres = abs(np.linalg.det(evidence.affine[:3, :3])) / 1000
    total = brain1.evidence().total
    assert evidence.data.sum(dtype=np.float64) * millilitres == pytest.approx(total, abs=1e-4 * max(1, abs(total)))


def test_the_hippocampus_is_laid_out_where_it_is(shared_data):
    """These scans were trained on, so this is no measure: the sum, the unit and the place are."""
    predictor = Predictor.from_bundle("hippocampus_volume", device="cpu")
    image = sorted((shared_data / "hippocampus" / "images").iterdir())[3]
    prediction = predictor(image)
    mask = read(next((shared_data / "hippocampus" / "masks").glob(image.name))).data > 0
    evidence = prediction.evidence()
    assert prediction.unit == evidence.unit == "mm3"
    assert prediction.bias[0] + evidence.total + evidence.residual == pytest.approx(prediction.value, rel=1e-5)
    assert prediction.value == pytest.approx(float(mask.sum()), rel=0.15)
    amount = np.abs(evidence.data)
    assert amount[dilate(mask, prediction.volume.spacing, 3.0)].sum() > 0.7 * amount.sum()
    assert prediction.interval[0] < prediction.value < prediction.interval[1]


def test_a_vessel_with_an_aneurysm_and_one_without(shared_data):
    predictor = Predictor.from_bundle("vessel_aneurysm", device="cpu")
    with np.load(shared_data / "vesselmnist3d" / "vesselmnist3d_64.npz") as arrays:
        shapes, labels = arrays["train_images"], arrays["train_labels"].reshape(-1)
    given = []
    for label in (0, 1):
        chosen = shapes[np.flatnonzero(labels == label)[:8]].astype(np.float32)
        found = [predictor(Volume(data=x, affine=np.eye(4))) for x in chosen]
        given.append(np.mean([prediction.probabilities["aneurysm"] for prediction in found]))
    assert given[0] < 0.1
    assert given[1] > 0.4
    assert predictor.task.threshold is not None
    assert given[0] < predictor.task.threshold < given[1]


def test_the_aneurysm_is_said_from_the_threshold_of_the_documented_accuracy():
    bundle = load("vessel_aneurysm")
    assert bundle.task.threshold is not None
    cut = np.log(bundle.task.threshold / (1 - bundle.task.threshold))
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"a label is said from a probability of {bundle.task.threshold:g} on" in card
    assert f"(logit {cut:.2f})" in card
    assert list(bundle.metadata["changelog"]) == ["1.0.0", "1.0.1", "1.1.0", "1.2.0", "2.0.0", bundle.version]
    noise = np.random.default_rng(0).uniform(0, 255, (64, 64, 64)).astype(np.float32)
    predictor = Predictor.from_bundle(bundle.name, device="cpu")
    prediction = predictor(Volume(data=noise, affine=np.eye(4)))
    between = predictor.trust.undecided["aneurysm"].between(bundle.task.threshold)
    assert between is not None
    low, high = map(percent_of, between)
    assert high == percent_of(bundle.task.threshold)
    for logit, said, undecided in (
        (np.log(between[0] / (1 - between[0])) - 0.1, (), ()),
        (cut - 0.1, (), ("aneurysm",)),  # from its lower limit on its presence is credible, and it is not said
        (cut + 0.1, ("aneurysm",), ()),
    ):
        head = replace(prediction.head, bias=prediction.head.bias + logit - prediction.logits)
        asked = replace(prediction, head=head)
        assert (asked.present, asked.undecided) == (said, undecided)
        number = f"{asked.probabilities['aneurysm']:.3f}"
        assert words_of(asked) == (
            f"undecided from {low} to {high}: aneurysm {number}" if undecided
            else f"aneurysm {number}" if said
            else f"no aneurysm  (aneurysm {number})"
        )  # fmt: skip
        limits = f"A label is reported from {high} upwards. It is undecided from {low} to {high}."
        assert limits in report(View.of(asked))
        headline = View.of(asked).caption().title
        assert headline.startswith("undecided: aneurysm" if undecided else "aneurysm" if said else "no aneurysm  (an")
