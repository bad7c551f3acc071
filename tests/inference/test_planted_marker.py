"""A bright marker planted anywhere in any scan geometry: the evidence peaks at its world position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from medattn_core.volumes import Volume, geometry
from tests.strategies import affines


@pytest.fixture(scope="module")
def predictors(brightness_predictor):
    return {slicewise: brightness_predictor(slicewise=slicewise, spacing=1.0) for slicewise in (True, False)}


@settings(max_examples=220, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    affine=affines(low=0.3, high=7.0),
    shape=st.tuples(*[st.integers(12, 56)] * 3),
    place=st.tuples(*[st.floats(0.05, 0.95)] * 3),
    crop=st.tuples(*[st.integers(0, 4)] * 6),
    slicewise=st.booleans(),
)
def test_evidence_peaks_where_the_marker_is(predictors, affine, shape, place, crop, slicewise):
    spacing = geometry.spacing(affine)
    position = np.array(place) * (np.array(shape) - 1)
    # A ball of about one evidence cell (8 mm), never thinner than the voxels.
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - position) * spacing, axis=-1)  # these axes are at right angles
    marker = distance <= max(5.0, 0.75 * spacing.max())
    cut = tuple(slice(crop[2 * a], shape[a] - crop[2 * a + 1]) for a in range(3))
    left = marker[cut]
    assume(left.sum() >= 0.6 * marker.sum() > 0)
    origin = affine.copy()
    origin[:3, 3] = geometry.to_world(affine, np.array([c.start for c in cut], dtype=float))
    scan = Volume(data=np.where(left, 100, 0).astype(np.int16), affine=origin)
    # What the crop left of the marker is what there is to be found.
    world = geometry.to_world(origin, np.argwhere(left).mean(axis=0))

    prediction = predictors[slicewise](scan)
    evidence = prediction.evidence("bright")
    peak = np.unravel_index(int(np.argmax(evidence.data)), scan.shape)
    found = geometry.to_world(evidence.affine, np.array(peak))
    off = np.abs(geometry.to_index(origin, found) - geometry.to_index(origin, world))
    for axis, stride in zip(prediction.grid.axes, prediction.grid.strides(prediction.stride), strict=True):
        cell = max(1.0, axis.step * stride)  # in voxels; nothing is finer than a voxel
        assert off[axis.native] <= cell + 1e-6, (axis, off)
    lost = prediction.logits[0] - prediction.bias[0] - evidence.data.sum(dtype=np.float64) - evidence.residual
    assert abs(lost) <= 1e-4 * max(1.0, abs(prediction.logits[0]))
