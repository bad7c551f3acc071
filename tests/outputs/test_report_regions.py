"""What the HTML page says of the sum and of each region: signs, places, pictures, what is left without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medattn_core.outputs.report import report
from medattn_core.outputs.text import position_mm
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from tests.outputs.conftest import Predict
from tests.outputs.test_report import words_of


@pytest.fixture
def parted(predict: Predict, head_volume: Volume) -> View:
    """Nothing in the middle slices: a region above and one below."""
    data = head_volume.data.copy()
    data[:, :, 5:7] = 0
    return View.of(predict(replace(head_volume, data=data)))


def test_pictures_of_a_region_go_through_its_peak(parted: View) -> None:
    page, shown = report(parted), parted.regions[:3]
    assert len({tuple(plane.caption for plane in parted.planes(region)) for region in shown}) == len(shown) > 1
    for region in shown:
        for plane in parted.planes(region):
            assert f"{plane.caption}: evidence for {parted.evidence.label}, region {region.rank}" in page


def test_each_row_of_the_table_is_of_one_region(parted: View) -> None:
    words = words_of(report(parted))
    assert len({parted.without(region) for region in parted.regions}) > 1
    for region in parted.regions:
        cells = (str(region.rank), position_mm(region.world_position_mm), parted.size(region),
                 parted.amount(region.contribution), parted.without(region))  # fmt: skip
        assert " ".join(cells) in words


def test_pixels_are_counted_from_one(predict: Predict, picture: Volume) -> None:
    view = View.of(predict(picture))
    words = words_of(report(view))
    assert view.regions
    for region in view.regions:
        column, row, _ = region.voxel_index
        assert f"column {column + 1}, row {row + 1}" in words


@pytest.mark.parametrize(("total", "residual", "said"), [
    (2.0, -0.5, "+ 2.00 evidence \u2212 0.50 residual"),
    (-2.0, 0.5, "\u2212 2.00 evidence + 0.50 residual"),
])  # fmt: skip
def test_each_term_of_the_sum_has_its_own_sign(
    predict: Predict, head_volume: Volume, total: float, residual: float, said: str
) -> None:
    prediction = predict(head_volume)
    view = View(prediction, replace(prediction.evidence(), total=total, residual=residual))
    assert said in words_of(report(view))
