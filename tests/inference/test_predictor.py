"""Scans made in Python are held to what files are; and what is close is told apart."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from medattn_core.errors import PredictionError, VolumeError
from medattn_core.inference.predictor import _with_doubts
from medattn_core.volumes import Volume, read


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
    told = {notice.code: notice.message for notice in _with_doubts(unsure).warnings}
    assert set(told) == {"below_threshold", "abstained"}
    for message in told.values():
        first, second = sorted(re.findall(r"([\d.]+) %", message), key=float)
        assert (float(first), float(second)) == pytest.approx((100 * best, 100 * limit), abs=0.06)
        assert first != second
        assert len(first.partition(".")[2]) >= digits
