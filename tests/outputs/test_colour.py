"""Evidence colours: centred, anchored, bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.outputs import colour


def blob(total: float, width: float, size: int = 24) -> np.ndarray:
    """A density map of one bump with a given total (voxels of 1 mL)."""
    grid = np.stack(np.meshgrid(*[np.arange(size) - size / 2 + 0.3] * 3, indexing="ij"))
    bump = np.exp(-(grid**2).sum(axis=0) / (2 * width**2))
    return total * bump / bump.sum()


@settings(max_examples=60, deadline=None)
@given(
    total=st.floats(-0.5, 0.5).filter(lambda t: abs(t) > 1e-6),
    width=st.floats(0.1, 12.0),
    voxel=st.floats(1e-4, 1.0),
)
def test_less_than_half_a_logit_is_never_coloured(total: float, width: float, voxel: float) -> None:
    density = blob(total, width) / voxel
    scale = colour.scale_of(density, voxel, "logit/mL")
    assert colour.rgba(density, scale)[..., 3].max() == 0


@settings(max_examples=60, deadline=None)
@given(total=st.floats(2.5, 50.0), width=st.floats(0.5, 12.0), sign=st.sampled_from((1, -1)))
def test_a_strong_side_reaches_strong_colour(total: float, width: float, sign: int) -> None:
    density = sign * blob(total, width)
    peak = colour.rgba(density, colour.scale_of(density, 1.0, "logit/mL")).reshape(-1, 4)[np.abs(density).argmax()]
    assert peak[3] > 0.5 * 255 * colour.OPACITY
    assert (peak[0] > peak[2]) == (sign > 0)  # red for, blue against


def test_colour_grows_with_the_total_at_one_shape() -> None:
    alphas = []
    for total in (0.4, 0.8, 1.5, 2.4):
        density = blob(total, 4.0)
        alphas.append(int(colour.rgba(density, colour.scale_of(density, 1.0, "logit/mL"))[..., 3].max()))
    assert alphas == sorted(alphas)
    assert alphas[0] == 0
    assert len(set(alphas)) == 4


def test_a_weak_side_stays_grey_beside_a_strong_one() -> None:
    density = blob(4.0, 6.0) - np.roll(blob(0.4, 0.5), 9, axis=0)
    shown = colour.rgba(density, colour.scale_of(density, 1.0, "logit/mL"))
    assert shown[density > 0][..., 3].max() > 100
    assert shown[density < 0][..., 3].max() == 0


def test_a_dense_speck_cannot_hide_a_wide_region() -> None:
    density = blob(4.0, 6.0) - np.roll(blob(1.5, 0.5), 9, axis=0)
    shown = colour.rgba(density, colour.scale_of(density, 1.0, "logit/mL"))
    assert shown[density > 0][..., 3].max() > 100
    assert 0 < shown[density < 0][..., 3].max() < 0.8 * 255 * colour.OPACITY  # 1.5 of 2.5 logit: never full colour


@settings(max_examples=30, deadline=None)
@given(voxel=st.floats(1e-4, 10.0), total=st.floats(0.2, 20.0))
def test_the_picture_does_not_depend_on_the_voxel_size(voxel: float, total: float) -> None:
    coarse, fine = blob(total, 4.0), blob(total, 4.0) / voxel
    limits = [colour.scale_of(coarse, 1.0, "u").limit, colour.scale_of(fine, voxel, "u").limit * voxel]
    assert max(limits) / min(limits) < 1.35  # limits are rounded up to short numbers, at most a third apart


@pytest.mark.parametrize("density", [np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_nothing_has_a_scale_too(density: np.ndarray) -> None:
    scale = colour.scale_of(density, 1.0, "logit/mL")
    assert scale.limit > 0
    assert colour.rgba(density, scale)[..., 3].max() == 0


def test_zero_is_transparent_and_sides_mirror() -> None:
    scale = colour.Scale(limit=2.0, visible=0.4, unit="logit/mL")
    values = np.array([-9.0, -2.0, -1.0, -0.39, 0.0, 0.39, 1.0, 2.0, 9.0])
    shown = colour.rgba(values, scale)
    assert shown[:, 3].tolist() == shown[::-1, 3].tolist()
    assert shown[3:6, 3].tolist() == [0, 0, 0]
    assert shown[0].tolist() == shown[1].tolist()
    assert shown[1, 3] == round(255 * colour.OPACITY)


def test_the_anatomy_stays_readable_under_full_colour() -> None:
    full = colour.rgba(np.array([1.0, -1.0]), colour.Scale(limit=1.0, visible=0.2, unit=""))
    dark, bright = (colour.blend(np.full(2, grey, np.uint8), full).astype(int) for grey in (0, 255))
    assert (bright - dark).min() > 70


def test_legend_bar_shows_the_colours_of_its_ticks() -> None:
    scale = colour.Scale(limit=0.3, visible=0.06, unit="logit/mL")
    assert scale.ticks() == [-0.3, -0.15, 0.0, 0.15, 0.3]
    bar = colour.bar(scale, 401, 3)
    assert bar.shape == (3, 401, 3)
    assert np.ptp(bar[0, 200].astype(int)) == 0  # grey in the middle
    tissue = np.array(96, dtype=np.uint8)
    for place, value in ((0, -0.3), (100, -0.15), (300, 0.15), (400, 0.3)):
        wanted = colour.blend(tissue, colour.rgba(np.array(value), scale))
        assert np.abs(bar[0, place].astype(int) - wanted).max() <= 3


@pytest.mark.parametrize(("caps", "coloured"), [((0.05, 0.6), (False, True)), ((1.0, 0.2), (True, False))])
def test_the_legend_has_no_colour_that_the_map_cannot_have(
    caps: tuple[float, float], coloured: tuple[bool, bool]
) -> None:
    scale = colour.Scale(limit=0.3, visible=0.06, unit="logit/mL", caps=caps)
    row = colour.bar(scale, 401, 1)[0].astype(int)
    assert scale.coloured == coloured
    assert (bool(np.ptp(row[:200], axis=1).any()), bool(np.ptp(row[201:], axis=1).any())) == coloured
    strongest = colour.blend(np.array(96, dtype=np.uint8), colour.rgba(np.array([-9.0, 9.0]), scale))
    assert np.abs(row[[0, -1]] - strongest).max() <= 3


def test_legend_numbers_are_short() -> None:
    for peak in (0.0123, 0.277, 1.01, 34.5, 9.99):
        density = np.zeros(1000)
        density[:100] = peak
        limit = colour.scale_of(density, 1.0, "logit/mL", full=1e-9).limit
        assert peak * 0.999 <= limit <= peak * 1.34
        assert len(f"{limit:.6g}".replace(".", "").lstrip("0").rstrip("0")) <= 2


def test_one_hot_voxel_does_not_set_the_scale() -> None:
    density = blob(20.0, 5.0)
    before = colour.scale_of(density, 1.0, "logit/mL").limit
    density[0, 0, 0] = density.max() * 3
    assert colour.scale_of(density, 1.0, "logit/mL").limit == before


def test_regression_is_anchored_to_the_quantity() -> None:
    assert colour.full_total("sigmoid", 3000.0) == colour.FULL
    full = colour.full_total("identity", 3000.0)
    density = blob(50.0, 3.0)  # under 2 % of the value
    assert colour.rgba(density, colour.scale_of(density, 1.0, "mm3/mL", full))[..., 3].max() == 0
    density = blob(400.0, 3.0)
    assert colour.rgba(density, colour.scale_of(density, 1.0, "mm3/mL", full))[..., 3].max() > 100


def test_colours_of_an_undecided_result_are_nearly_grey_and_cover_as_much() -> None:
    sure = colour.Scale(limit=2.0, visible=0.4, unit="logit/mL")
    unsure = replace(sure, undecided=True)
    density = np.linspace(-2, 2, 41)
    bright, faded = colour.rgba(density, sure).astype(int), colour.rgba(density, unsure).astype(int)
    assert (bright[:, 3] == faded[:, 3]).all()
    assert np.abs(bright[:, :3].mean(axis=1) - faded[:, :3].mean(axis=1)).max() <= 1
    assert (np.ptp(faded[:, :3], axis=1) <= 0.25 * np.ptp(bright[:, :3], axis=1) + 1).all()
    assert not (colour.bar(sure, 40, 2) == colour.bar(unsure, 40, 2)).all()
