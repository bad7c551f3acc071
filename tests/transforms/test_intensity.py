"""The intensity rules: known values, and what no image may do to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medattn_core.tasks import IntensityRule
from medattn_core.transforms.intensity import apply_intensity

MEAN = IntensityRule()
PERCENTILE = IntensityRule(rule="percentile", lower=10, upper=90)
WINDOW = IntensityRule(rule="window", lower=-100, upper=300)
EACH = pytest.mark.parametrize("rule", [MEAN, PERCENTILE, WINDOW], ids=lambda rule: rule.rule)


def ramp() -> tuple[np.ndarray, np.ndarray]:
    """0, 1, ... 100 in a column, all of it inside."""
    image = np.arange(101, dtype=np.float32).reshape(101, 1, 1)
    return image, np.ones(image.shape, dtype=bool)


def scan(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tissue, air and padding."""
    random = np.random.default_rng(seed)
    image = random.normal(300, 60, (12, 10, 4)).clip(0).astype(np.float32)
    image[:, :3] = random.uniform(0, 5, (12, 3, 4))
    inside = np.ones(image.shape, dtype=bool)
    inside[9:] = False
    return image, inside


def test_foreground_mean() -> None:
    image, inside = ramp()
    # The 99.5th percentile of 0 ... 100 is 99.5; foreground are 10 ... 100, whose mean is 55.
    np.testing.assert_allclose(apply_intensity(image, inside, MEAN), image / 55, rtol=1e-6)
    bound = apply_intensity(image, inside, IntensityRule(lower=0.1, upper=1.5))
    np.testing.assert_allclose(bound, np.minimum(image / 55, 1.5), rtol=1e-6)


def test_percentile() -> None:
    image, inside = ramp()
    expected = np.clip((image - 10) / 80, 0, 1)
    np.testing.assert_allclose(apply_intensity(image, inside, PERCENTILE), expected, rtol=1e-6)


def test_window() -> None:
    image = np.array([-1000, -100, 0, 100, 300, 3000], np.float32).reshape(6, 1, 1)
    result = apply_intensity(image, np.ones(image.shape, dtype=bool), WINDOW)
    np.testing.assert_allclose(result.ravel(), [0, 0, 0.25, 0.5, 1, 1])


def test_negative_voxels() -> None:
    """A window in Hounsfield units keeps them apart, a mean takes them for background, a percentile for darkness."""
    image, inside = ramp()
    image = image - 50
    np.testing.assert_allclose(apply_intensity(image, inside, WINDOW), (image + 100) / 400, rtol=1e-6)
    mean = apply_intensity(image, inside, MEAN)
    assert mean[:51].max() == 0
    np.testing.assert_allclose(mean[51:], image[51:] / 27.5, rtol=1e-6)  # foreground: 5 ... 50
    np.testing.assert_allclose(apply_intensity(image, inside, PERCENTILE), np.clip((image + 40) / 80, 0, 1), rtol=1e-5)


@pytest.mark.parametrize("value", [-7.0, 0.0, 40.0])
@EACH
def test_constant_image(rule: IntensityRule, value: float) -> None:
    image = np.full((4, 4, 2), value, np.float32)
    result = apply_intensity(image, np.ones(image.shape, dtype=bool), rule)
    expected = {"foreground_mean": float(value > 0), "percentile": 0.0, "window": (value + 100) / 400}[rule.rule]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@EACH
def test_padding_stays_zero_and_has_no_say(rule: IntensityRule) -> None:
    image, inside = scan()
    result = apply_intensity(image, inside, rule)
    assert (result.dtype, result.shape) == (np.float32, image.shape)
    assert not result[~inside].any()
    assert result[inside].any()
    for padding in (-1000, 0, 1e6):
        other = np.where(inside, image, np.float32(padding))
        np.testing.assert_array_equal(apply_intensity(other, inside, rule), result)


@EACH
def test_the_image_is_left_alone(rule: IntensityRule) -> None:
    image, inside = scan()
    before = image.copy()
    apply_intensity(image, inside, rule)
    np.testing.assert_array_equal(image, before)


@given(scale=st.floats(1e-3, 1e4), seed=st.integers(0, 1000))
def test_foreground_mean_does_not_know_the_scale(scale: float, seed: int) -> None:
    """MR units are arbitrary."""
    image, inside = scan(seed)
    scaled = (image * np.float64(scale)).astype(np.float32)
    np.testing.assert_allclose(
        apply_intensity(scaled, inside, MEAN), apply_intensity(image, inside, MEAN), rtol=1e-4, atol=1e-6
    )


@given(scale=st.floats(1e-2, 1e3), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_percentile_knows_neither_scale_nor_offset(scale: float, shift: float, seed: int) -> None:
    image, inside = scan(seed)
    image = image.astype(np.float64)
    np.testing.assert_allclose(
        apply_intensity(image * scale + shift, inside, PERCENTILE),
        apply_intensity(image, inside, PERCENTILE),
        atol=1e-5,
    )


@given(seed=st.integers(0, 1000), rule=st.sampled_from([MEAN, PERCENTILE, WINDOW]))
def test_brighter_stays_brighter(seed: int, rule: IntensityRule) -> None:
    image, inside = scan(seed)
    order = np.argsort(image[inside], kind="stable")
    assert (np.diff(apply_intensity(image, inside, rule)[inside][order]) >= 0).all()
