"""Several channels of a case: where each lies, what each is scaled by, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.errors import VolumeError
from medattn_core.tasks import IntensityRule
from medattn_core.transforms.conform import conform
from medattn_core.transforms.dictionary import ConformD
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import covered_share
from tests.two import TASK, smooth

WIDE = IntensityRule(rule="window", lower=-500, upper=500)
ALIKE = replace(TASK, intensity=WIDE)
FIRST = np.diag([1.0, 1.0, 1.0, 1.0])
SHAPE = (32, 32, 32)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(0.6, 2.5)] * 3),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.booleans()] * 3),
)
def test_a_channel_on_any_grid_lands_where_it_is(spacing, order, flips) -> None:  # type: ignore[no-untyped-def]
    """The same smooth tissue on a grid of another spacing, axis order and direction is the same network input."""
    around = np.array([-3.0, -3.0, -3.0]), np.array([35.0, 35.0, 35.0])
    affine = np.eye(4)
    affine[:3, :3] = 0
    counts = [0, 0, 0]
    for column, axis in enumerate(order):
        step = spacing[column]
        counts[column] = int(np.ceil((around[1][axis] - around[0][axis]) / step)) + 1
        affine[axis, column] = -step if flips[column] else step
        affine[axis, 3] = around[0][axis] + (counts[column] - 1) * step if flips[column] else around[0][axis]
    ct, pet = smooth(FIRST, SHAPE), smooth(affine, tuple(counts))
    image = conform(ct, ALIKE, [pet]).image
    np.testing.assert_allclose(image[1], image[0], atol=1e-4)


def test_outside_a_channel_is_nothing_and_has_no_say() -> None:
    """A window that calls 0 grey, and percentiles: what lies beyond the channel's own field is in neither."""
    affine = FIRST.copy()
    affine[0, 3] = 8.0
    ct, part = smooth(FIRST, SHAPE), smooth(affine, (24, 32, 32), scale=3, start=200)
    for rule in (WIDE, IntensityRule(rule="percentile", lower=0, upper=100), IntensityRule()):
        task = replace(TASK, intensity=(WIDE, rule))
        got = conform(ct, task, [part])
        alone = conform(part, replace(TASK, channels=("pet",), intensity=rule, size=(24, 32, 32))).image[0]
        assert not got.image[1][:8].any(), rule
        np.testing.assert_allclose(got.image[1][8:], alone, atol=2e-3)
        assert not got.notices


def test_the_border_of_a_channel_is_not_mixed_with_zeros() -> None:
    affine = FIRST.copy()
    affine[0, 3] = 7.0
    task = replace(TASK, spacing=(2.0, 1.0, 1.0), size=(16, 32, 32), intensity=WIDE)
    level = Volume(data=np.full((25, 32, 32), 400.0) + np.arange(32) / 100, affine=affine)
    image = conform(smooth(FIRST, SHAPE), task, [level]).image[1]
    assert np.unique(image[:, 8:-8, 8:-8].round(2)).tolist() == pytest.approx([0.0, 0.9])


def test_a_channel_that_lies_elsewhere() -> None:
    ct = replace(smooth(FIRST, SHAPE), source="ct.nii")
    far = FIRST.copy()
    far[:3, 3] = 5000
    with pytest.raises(VolumeError, match=r"pet.nii: lies nowhere on the first image of the case \(ct.nii\)") as caught:
        conform(ct, TASK, [smooth(far, SHAPE, source="pet.nii")])
    assert caught.value.code == "channel_elsewhere"
    with pytest.raises(VolumeError, match=r"^pet: lies nowhere on the first image of the case \(the volume\)"):
        conform(replace(ct, source=""), TASK, [smooth(far, SHAPE)])
    half = FIRST.copy()
    half[1, 3] = 20.0
    (notice,) = conform(ct, TASK, [smooth(half, SHAPE)]).notices
    assert notice.code == "channel_elsewhere"
    assert notice.message.startswith("pet covers 38% of the first image")
    assert covered_share(smooth(half, SHAPE), ct) == 12 / 32


@pytest.mark.parametrize("rule", [WIDE, IntensityRule(rule="percentile", lower=1, upper=99), IntensityRule()])
def test_a_thin_channel_and_one_beside_what_the_model_sees(rule: IntensityRule) -> None:
    thin, aside, task = FIRST.copy(), FIRST.copy(), replace(TASK, intensity=(WIDE, rule))
    thin[2, 3] = 33.0
    ct = smooth(FIRST, (32, 32, 160))
    one_slice, beside = smooth(thin, (32, 32, 1), start=200), smooth(aside, (32, 32, 4))
    assert covered_share(one_slice, ct) == 0  # it lies between the slices that are asked
    for channel in (one_slice, beside):
        got = conform(ct, task, [channel])
        assert [notice.code for notice in got.notices] == ["channel_elsewhere"]
        assert not got.image[1].any()


def test_a_case_without_an_image() -> None:
    with pytest.raises(VolumeError, match=r"no image, but two takes 2 a case: ct, pet; a case of several"):
        ConformD(keys="image", task=TASK)({"image": []})


def test_pictures_that_state_no_place_have_one_size() -> None:
    flat = replace(TASK, spatial_dims=2, spacing=(1.0, 1.0), size=(32, 32))
    facts = {"affine": np.eye(4), "spatial_dims": 2, "spacing_known": False, "format": "png"}
    rng = np.random.default_rng(0)
    small, large = (
        Volume(data=rng.random((n, n, 1)) * 255, source=f"{n}.png", **facts)  # type: ignore[arg-type]
        for n in (32, 64)
    )
    with pytest.raises(VolumeError, match=r"64.png: 64 x 64 pixels, but the first image of the case has 32 x 32"):
        conform(small, flat, [large])
    placed = replace(small, affine=np.diag([3.0, 3.0, 1.0, 1.0]), spacing_known=True)
    np.testing.assert_array_equal(
        conform(small, flat, [placed]).image[1] > 0, conform(small, flat, [small]).image[1] > 0
    )
