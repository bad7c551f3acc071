"""Scans made in Python are held to what files are; and what is close is told apart."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from medattn_core.errors import PredictionError, TaskError, VolumeError
from medattn_core.inference import Predictor
from medattn_core.inference.doubts import doubts
from medattn_core.inference.head import Ensemble, Head
from medattn_core.inference.prediction import Prediction
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import Volume, read
from medattn_core.volumes.write import write


@pytest.fixture(scope="module")
def scan(sample_data):
    return read(sample_data / "brain1_image.nrrd")


@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (lambda data: np.full_like(data, 7), "constant_image"),
        (lambda data: data.astype(complex), "unsupported_storage"),
        (lambda data: data.astype(object), "unsupported_storage"),
        (lambda data: np.where(data > 50, data, np.nan), "non_finite_voxels"),
    ],
)
def test_voxels_that_a_file_may_not_have(predictor, scan, voxels, code):
    with pytest.raises(VolumeError) as caught:
        predictor(replace(scan, data=voxels(scan.data), source="mine"))
    assert caught.value.code == code
    assert caught.value.message.startswith("mine: ")


@pytest.mark.parametrize(("given", "kind"), [([], "an empty list"), ((), "an empty tuple"), (np.ones(2), "a ndarray")])
def test_what_is_no_scan_is_named(predictor, given, kind):
    with pytest.raises(PredictionError, match=f"source is {kind}; accepted: a path"):
        predictor(given)


def test_a_few_voxels_are_replaced_as_those_of_files_are(predictor, scan):
    data = scan.data.astype(np.float32)
    data[0, 0, 0] = np.nan
    prediction = predictor(replace(scan, data=data))
    assert "non_finite_replaced" in {notice.code for notice in prediction.warnings}
    assert np.isfinite(prediction.volume.data).all()
    assert np.isnan(data[0, 0, 0])  # the caller's array stays


def test_a_mask_may_have_one_value(predictor, scan):
    whole = Volume(data=np.ones(scan.shape, np.uint8), affine=scan.affine)
    np.testing.assert_allclose(predictor(scan, mask=whole).logits, predictor(scan).logits, atol=1e-9)


@pytest.mark.parametrize(("closer", "digits"), [(0.2, 1), (5e-5, 2), (5e-7, 4)])
def test_a_probability_and_the_limit_that_it_misses_look_different(predictor, scan, closer, digits):
    prediction = predictor(scan)
    best = prediction.probabilities[prediction.label]
    limit = best + closer
    unsure = replace(
        prediction,
        warnings=(),
        task=replace(prediction.task, threshold=limit),
        trust=replace(prediction.trust, abstain_below=limit),
    )
    told = {notice.code: notice.message for notice in doubts(unsure)}
    assert set(told) == {"below_threshold", "abstained"}
    for message in told.values():
        first, second = sorted(re.findall(r"([\d.]+) %", message), key=float)
        assert (float(first), float(second)) == pytest.approx((100 * best, 100 * limit), abs=0.06)
        assert first != second
        assert len(first.partition(".")[2]) >= digits


@pytest.mark.parametrize("labels", [("v",), ("v", "w")])
def test_the_spread_of_two_members_is_that_of_a_sample(labels):
    """With n - 1: the mean is of the same two."""
    value = len(labels) == 1
    kind = {"kind": "regression", "activation": "identity", "unit": "mm"} if value else {}
    task = TaskSpec(name="t", labels=labels, **kind)
    heads = tuple(
        Head(
            scores=np.zeros((len(labels), 1, 1, 1)),
            values=np.array([said, 0.0][: len(labels)]).reshape(-1, 1, 1, 1),
            null_scores=np.full(len(labels), -np.inf),
            bias=np.zeros(len(labels)),
            allowed=np.ones((1, 1, 1), bool),
        )
        for said in (1.0, 4.0)
    )
    scan = Volume(data=np.zeros((8, 8, 8)), affine=np.eye(4))
    found = Prediction(volume=scan, task=task, head=Ensemble(members=heads), grid=plan_grid(scan, task), stride=8)
    if value:
        assert found.uncertainty["value_std"] == pytest.approx(3 / 2**0.5)
        return
    assert found.uncertainty["logit_std"]["v"] == pytest.approx(3 / 2**0.5)
    one, other = (1 / (1 + np.exp(-said)) for said in (1.0, 4.0))
    assert found.uncertainty["probability_std"]["v"] == pytest.approx((other - one) / 2**0.5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_a_copy_of_a_predictor_predicts(predictor, scan, copied):
    """As ``multiprocessing`` makes one: its networks are other objects."""
    other = copied(predictor)
    assert other.networks[0] is not predictor.networks[0]
    assert other(scan).probabilities == predictor(scan).probabilities


def test_a_copy_of_a_predictor_keeps_its_runtime(tmp_path, monkeypatch, scan):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    given = Predictor.from_bundle("brain_tumor_t1ce", device="cpu", runtime="onnx")
    other = pickle.loads(pickle.dumps(given))
    assert other(scan).to_dict()["runtime"] == "onnx"
    assert other(scan).probabilities == given(scan).probabilities


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_autocast_around_it_changes_no_digit(predictor, scan, dtype):
    expected = predictor(scan)
    evidence = expected.evidence().data
    with torch.autocast("cpu", dtype=dtype):
        found = predictor(scan)
        np.testing.assert_array_equal(found.logits, expected.logits)
        np.testing.assert_array_equal(found.evidence().data, evidence)
        assert torch.is_autocast_enabled("cpu")


def test_the_runtime_in_half_precision_stays_that(predictor, random_bundle, scan):
    half = Predictor.from_bundle(random_bundle, device="cpu", runtime="torch-bf16")
    expected = half(scan).logits
    assert (expected != predictor(scan).logits).any()
    with torch.autocast("cpu", dtype=torch.float16):
        np.testing.assert_array_equal(half(scan).logits, expected)


def test_a_graph_that_is_exported_within_an_autocast_is_in_full_precision(
    tmp_path, monkeypatch, random_bundle, predictor, scan
):
    """It is kept for later runs."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = Predictor.from_bundle(random_bundle, device="cpu", runtime="onnx")
    np.testing.assert_allclose(given(scan).logits, predictor(scan).logits, atol=1e-4)


@pytest.mark.parametrize("label", [0, "", False, 1, "d", b"a", ["a"], np.array(["a", "b"])])
def test_what_is_no_label_is_unknown(predictor, scan, label):
    """Not the most probable one, which is meant by None alone."""
    prediction = predictor(scan)
    questions = (
        prediction.contributions,
        prediction.evidence,
        prediction.regions,
        lambda other: prediction.contributions("a", other),
        lambda other: prediction.evidence("a", other),
    )
    for question in questions:
        with pytest.raises(TaskError, match="random has: a, b, c") as caught:
            question(label)
        assert caught.value.code == "unknown_label"
    assert prediction.evidence(None).label == prediction.label


def test_messages_about_a_volume_made_in_memory_call_it_so(predictor, scan):
    mine = replace(scan, source="")
    wrong = {
        "too_large": lambda: predictor(replace(mine, affine=np.diag([1e3, 1e3, 1.0, 1.0]))),
        "wrong_modality": lambda: predictor(replace(mine, modality="CT")),
        "bad_argument": lambda: predictor([mine, mine]),
    }
    for code, call in wrong.items():
        with pytest.raises(VolumeError, match=r"^the volume: ") as caught:
            call()
        assert caught.value.code == code
    whole = replace(mine, affine=np.eye(4), spacing_known=False)
    coarse = replace(mine, affine=np.diag([9.0, 9.0, 5.0, 1.0]))
    for volume in (whole, coarse):
        codes = {notice.code: notice.message for notice in predictor(volume).warnings}
        told = [codes[code] for code in ("unknown_spacing", "upsampled") if code in codes]
        assert told
        assert all(message.startswith("the volume: ") for message in told)


def test_an_empty_path_is_not_the_current_folder(brightness_predictor, tmp_path, monkeypatch):
    """Of an unset variable, or an empty cell of a table: the scan there would be a plausible answer, or a mask."""
    scan = Volume(data=np.arange(4096.0).reshape(16, 16, 16), affine=np.eye(4))
    write(scan, tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    for arguments in (("",), (scan, "")):
        with pytest.raises(VolumeError, match="the path of an image is empty"):
            brightness_predictor(slicewise=False)(*arguments)
