"""A bright marker planted anywhere in any scan geometry: the evidence peaks at its world position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from medattn_core.volumes import Volume, geometry
from tests.strategies import affines

CELL = 8.0
"""Edge of an evidence cell of these models, mm."""

FULL = 10_000
"""Intensity that the models' window maps to one."""


@pytest.fixture(scope="module")
def predictors(brightness_predictor):
    return {slicewise: brightness_predictor(slicewise=slicewise, spacing=1.0) for slicewise in (True, False)}


@settings(max_examples=220, deadline=None, phases=[Phase.generate])
@given(
    affine=affines(low=0.3, high=7.0),
    cells=st.tuples(*[st.floats(2.5, 4.5)] * 3),
    place=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    crop=st.tuples(*[st.integers(0, 4)] * 6),
    slicewise=st.booleans(),
)
def test_evidence_peaks_where_the_marker_is(predictors, affine, cells, place, crop, slicewise):
    spacing = geometry.spacing(affine)
    shape = np.maximum(np.ceil(np.array(cells) * CELL / spacing).astype(int), 4)
    cut = [(crop[2 * a] % (shape[a] - 3), shape[a] - crop[2 * a + 1] % (shape[a] - 3)) for a in range(3)]
    cut = [(low, high) if high - low >= 3 else (0, int(n)) for (low, high), n in zip(cut, shape, strict=True)]
    low, high = np.array(cut).T
    position = low + np.array(place) * (high - 1 - low)  # anywhere inside what the crop leaves
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - position) * spacing, axis=-1)  # these axes are at right angles
    blob = FULL * np.exp(-0.5 * (distance / max(3.0, 0.5 * spacing.max())) ** 2)
    origin = affine.copy()
    origin[:3, 3] = geometry.to_world(affine, low.astype(float))
    data = np.rint(blob).astype(np.int16)[tuple(slice(a, b) for a, b in cut)]
    scan = Volume(data=np.ascontiguousarray(data), affine=origin)
    marker = geometry.to_world(affine, position)

    prediction = predictors[slicewise](scan)
    evidence = prediction.evidence("bright")
    peak = np.unravel_index(int(np.argmax(evidence.data)), scan.shape)
    found = geometry.to_world(evidence.affine, np.array(peak))
    off = np.abs(geometry.to_index(origin, found) - geometry.to_index(origin, marker))
    for axis, stride in zip(prediction.grid.axes, prediction.grid.strides(prediction.stride), strict=True):
        cell = max(1.0, axis.step * stride)  # in voxels; nothing is finer than a voxel
        assert off[axis.native] <= cell + 1e-6, (axis, off)
    lost = prediction.logits[0] - prediction.bias[0] - evidence.data.sum(dtype=np.float64)
    assert abs(lost) <= 1e-4 * max(1.0, abs(prediction.logits[0]))


@pytest.mark.parametrize("slicewise", [True, False])
def test_a_scan_narrower_than_a_cell_still_has_its_evidence_inside(predictors, slicewise):
    data = np.full((5, 6, 4), FULL, np.int16)
    data[0, 0, 0] -= 1  # an image of one value is no scan
    scan = Volume(data=data, affine=np.diag([0.5, 0.5, 0.5, 1.0]))
    prediction = predictors[slicewise](scan)
    evidence = prediction.evidence("bright")
    assert evidence.shape == scan.shape
    assert abs(prediction.logits[0] - prediction.bias[0] - evidence.data.sum(dtype=np.float64)) < 1e-5
    assert abs(evidence.residual) < 1e-5
