"""Pictures: the empty map looks empty, the mark leaves its point free, the overlay is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from medattn_core.outputs import colour, planes, render
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

PIL = pytest.importorskip("PIL.Image")


def overlay_of(view: View) -> np.ndarray:
    first = view.regions[0] if view.regions else None
    return np.asarray(
        render.overlay(view.planes(first), view.window, view.scale, view.caption(), mark=first is not None)
    )


def panels(view: View, density: np.ndarray) -> np.ndarray:
    """The three pictures alone, without a mark."""
    shown = planes.planes_through(view.prediction.volume, density, None)
    cell = render.cell_size(shown, 300, 400)
    drawn = [render.compose(*render.layers(p, view.window, view.scale, cell, mark=False)) for p in shown]
    return np.concatenate(drawn, axis=1).astype(int)


def test_a_near_empty_map_looks_empty(predict: Predict, head_volume: Volume) -> None:
    """The same evidence 16 times weaker: its own peak as maximum would paint it just the same."""
    strong, weak = View.of(predict(head_volume, gain=640.0)), View.of(predict(head_volume, gain=40.0))
    assert 0 < weak.density.data.max() * 15 < strong.density.data.max()
    plain = panels(weak, np.zeros_like(weak.density.data))
    assert np.ptp(plain, axis=2).max() == 0
    assert np.array_equal(panels(weak, weak.density.data), plain)
    assert np.abs(panels(strong, strong.density.data) - panels(strong, np.zeros_like(strong.density.data))).max() > 40


def test_the_mark_leaves_its_point_free(head_volume: Volume) -> None:
    empty = np.zeros(head_volume.shape, np.float32)
    world = head_volume.affine[:3, :3] @ np.array([20, 40, 6]) + head_volume.affine[:3, 3]
    shown = planes.planes_through(head_volume, empty, world)
    cell = render.cell_size(shown, 360, 400)
    for plane in shown:
        _, over = render.layers(plane, (0.0, 1.0), colour.Scale(limit=1.0, visible=0.2, unit=""), cell, mark=True)
        rows, columns = np.nonzero(over[..., 3])
        assert 0 < rows.size < 0.01 * over[..., 3].size
        centre = np.array([(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2])
        inner = np.hypot(rows - centre[0], columns - centre[1])
        assert inner.min() > 7
        half = np.array(plane.size_mm) * cell[2] / 2
        wanted = np.array(over.shape[:2]) / 2 - half + np.array(plane.mark) / plane.image.shape * half * 2
        assert np.abs(centre + 0.5 - wanted).max() < 1.5


def test_overlay_of_a_volume(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(head_volume))
    picture = overlay_of(view)
    assert picture.shape[1:] == (1200, 3)
    assert 400 < picture.shape[0] < 900
    assert (picture[:8] == 255).all()
    assert (picture[:, :20] == 255).all()
    legend = picture[-150:].astype(int)
    assert ((legend[..., 0] - legend[..., 2]) > 100).any()  # the red end
    assert ((legend[..., 2] - legend[..., 0]) > 100).any()  # the blue end


def test_overlay_of_a_picture(predict: Predict, picture: Volume) -> None:
    image = overlay_of(View.of(predict(picture)))
    assert 600 < image.shape[1] <= 1200


def test_caption_says_finding_region_and_warnings(predict: Predict, head_volume: Volume) -> None:
    from medattn_core.errors import Notice

    prediction = predict(head_volume, warnings=(Notice("upsampled", "head.nii.gz: coarse"),))
    caption = View.of(prediction).caption()
    first = prediction.regions()[0]
    assert caption.title == f"{prediction.label}  {100 * prediction.probabilities[prediction.label]:.1f} %"
    assert caption.subtitle.startswith("head.nii.gz")
    assert f"+{first.contribution:.2f} logit" in caption.subtitle
    assert f"{100 * first.probability_without:.1f} %" in caption.subtitle
    assert caption.notes == ("Warnings: upsampled",)


def test_text_is_cut_to_its_room() -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(PIL.new("RGB", (10, 10)))
    font = render._font(20)
    cut = render.fit(draw, "a long name " * 40, font, 300)
    assert cut.endswith("...")
    assert draw.textlength(cut, font=font) <= 300
    assert render.fit(draw, "Möller \N{MINUS SIGN}1 \N{CJK UNIFIED IDEOGRAPH-8111}", font, 300) == "Moller -1 ?"


def test_window_of_the_task_is_used(predict: Predict, head_volume: Volume) -> None:
    from dataclasses import replace

    from medattn_core.tasks import IntensityRule

    prediction = predict(head_volume)
    task = replace(prediction.task, intensity=IntensityRule(rule="window", lower=-160.0, upper=240.0))
    assert View.of(replace(prediction, task=task)).window == (-160.0, 240.0)
