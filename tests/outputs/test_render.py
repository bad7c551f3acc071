"""Pictures: the empty map looks empty, the mark leaves its point free, the overlay is complete and says what is so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medattn_core.outputs import colour, letters, planes, render
from medattn_core.outputs.legend import Legend
from medattn_core.outputs.report import report
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from tests.outputs.test_report import words_of

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Place, words, font and anchor of each text as it is drawn."""
    from PIL import ImageDraw

    found: list[tuple] = []
    text_of = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: tuple[float, float], words: str, *rest: object, **more: object) -> None:
        found.append((xy, words, more["font"], more.get("anchor", "la")))
        text_of(self, xy, words, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


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


def test_a_thin_mark_is_white_wherever_it_lies() -> None:
    for at in (50.0, 50.25, 50.5, 50.75, 51.0, 51.5):
        over = np.zeros((101, 101, 4), np.uint8)
        render._ticks(over, at, at, 1)
        white = over[..., 0] == 255
        assert white.any(axis=0).sum() > 15
        assert white.any(axis=1).sum() > 15


def test_overlay_of_a_volume(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(head_volume))
    picture = overlay_of(view)
    assert picture.shape[1:] == (1200, 3)
    assert 400 < picture.shape[0] < 900
    assert (picture[:8] == 255).all()
    assert (picture[:, :20] == 255).all()
    legend = picture[-150:].astype(int)
    assert ((legend[..., 0] - legend[..., 2]) > 100).any()  # the red end
    # Of this scan next to nothing speaks against the label: no blue can be in the pictures, nor in their legend.
    assert view.scale.coloured == (False, True)
    assert not ((legend[..., 2] - legend[..., 0]) > 30).any()
    vars(view)["scale"] = replace(view.scale, caps=(1.0, 1.0))  # a cached property
    legend = overlay_of(view)[-150:].astype(int)
    assert ((legend[..., 2] - legend[..., 0]) > 100).any()  # the blue end


def test_overlay_of_a_picture(predict: Predict, picture: Volume) -> None:
    image = overlay_of(View.of(predict(picture)))
    assert 600 < image.shape[1] <= 1200


def test_caption_says_finding_region_and_warnings(predict: Predict, head_volume: Volume) -> None:
    from medattn_core.errors import CODES, Notice

    prediction = predict(head_volume, warnings=(Notice("upsampled", "head.nii.gz: coarse"),))
    caption = View.of(prediction).caption()
    first = prediction.regions()[0]
    assert caption.title == f"{prediction.label}  {100 * prediction.probabilities[prediction.label]:.1f} %"
    assert caption.subtitle.startswith("head.nii.gz")
    assert f"+{first.contribution:.2f} logit" in caption.subtitle
    assert f"{100 * first.probability_without:.1f} %" in caption.subtitle
    assert caption.notes == (f"Warning: {CODES['upsampled']}",)


def boxes_of(draws: list[tuple]) -> list[tuple[float, float, float, float]]:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(PIL.new("RGB", (10, 10)))
    return [draw.textbbox(spot, text, font=font, anchor=anchor) for spot, text, font, anchor in draws]


@pytest.mark.parametrize("limit", [1.5e-7, 1.5e-4, 0.008, 0.06, 2.5, 5000.0, 3e6])
@pytest.mark.parametrize("width", [676, 816, 1200])
@pytest.mark.parametrize("label", ["glioma", "meningioma", "pituitary macroadenoma with apoplexy and haemorrhage"])
def test_no_words_of_the_legend_touch(limit: float, width: int, label: str, drawn: list[tuple]) -> None:
    from PIL import ImageDraw

    image = PIL.new("RGB", (width, 200), (255, 255, 255))
    legend = Legend.of(colour.Scale(limit=limit, visible=limit / 5, unit="logit/pixel"))
    bar = np.zeros((20, 460, 3), np.uint8)
    draw = ImageDraw.Draw(image)
    render._legend(image, draw, legend, bar, (f"against {label}", f"for {label}"), 28, 20)
    boxes = boxes_of(drawn)
    assert all(left >= 28 and right <= width - 27 and bottom <= 190 for left, _, right, bottom in boxes)
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:place]:
            apart = left >= other[2] - 1 or right <= other[0] + 1 or top >= other[3] or bottom <= other[1]
            assert apart, (drawn[place][1], boxes[place], other)
    words = [words for _, words, _, _ in drawn]
    assert "Research use only" in words
    assert not any("..." in one for one in words)
    assert any(label in one for one in words)
    assert not any("e-" in one or "e+" in one for one in words)


def test_against_stands_at_the_blue_end_and_for_at_the_red_one(
    predict: Predict, head_volume: Volume, drawn: list[tuple]
) -> None:
    view = View.of(predict(head_volume, labels=("glioma", "other")))
    against, toward = f"against {view.evidence.label}", f"for {view.evidence.label}"
    assert f"{against} logit/mL {toward}" in words_of(report(view))
    drawn.clear()
    render.overlay(view.planes(None), view.window, view.scale, view.caption(), mark=False)
    left = {words: xy[0] for xy, words, _, _ in drawn}
    assert left[against] < left[toward]
    bar = colour.bar(replace(view.scale, caps=(1.0, 1.0)), 100, 1)[0].astype(int)
    assert bar[0, 2] > bar[0, 0]  # blue on the left
    assert bar[-1, 0] > bar[-1, 2]


@pytest.mark.parametrize(("per_mm", "words"), [(0.5, "10 cm"), (1.5, "5 cm"), (12.0, "5 mm")])
def test_the_scale_bar_is_as_long_as_it_says(
    head_volume: Volume, drawn: list[tuple], monkeypatch: pytest.MonkeyPatch, per_mm: float, words: str
) -> None:
    from PIL import ImageDraw

    bars: list[tuple[float, ...]] = []
    rectangle = ImageDraw.ImageDraw.rectangle
    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", lambda d, *a, **k: (bars.append(a[0]), rectangle(d, *a, **k)))
    plane = planes.planes_through(head_volume, np.zeros(head_volume.shape, np.float32), None)[0]
    render.annotate(PIL.new("L", (300, 300)), replace(plane, letters=("", "", "", "")), per_mm)
    millimetres = float(words.split()[0]) * (10 if words.endswith("cm") else 1)
    assert [said for _, said, _, _ in drawn] == [words]
    assert bars[0][2] - bars[0][0] == pytest.approx(millimetres * per_mm)


@pytest.mark.parametrize(("place", "axis", "low"), [(0, 1, True), (1, 1, False), (2, 0, True), (3, 0, False)])
def test_each_letter_is_drawn_at_its_side(head_volume: Volume, place: int, axis: int, low: bool) -> None:
    plane = planes.planes_through(head_volume, np.zeros(head_volume.shape, np.float32), None)[0]
    letters = tuple("R" if one == place else "" for one in range(4))
    image = render.annotate(PIL.new("L", (300, 300)), replace(plane, letters=letters, scaled=False), 1.0)
    middle = np.argwhere(np.asarray(image) > 128).mean(axis=0)[axis]
    assert middle < 30 if low else middle > 270


def test_a_finding_is_outlined_and_named(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(head_volume))
    inside = head_volume.data > 150
    shown = view.planes(view.regions[0], inside)
    cell = render.cell_size(shown, 300, 400)
    for plane in shown:
        base, over = render.layers(plane, view.window, view.scale, cell, mark=False)
        line = (render.compose(base, over) == render.OUTLINE).all(axis=2)
        assert plane.outline is not None
        area = plane.outline.sum() * plane.size_mm[0] * plane.size_mm[1] / plane.outline.size * cell[2] ** 2
        assert 0 < line.sum() < 5 * np.sqrt(area)  # that of a disc is 3.5 and its steps
    caption = view.caption()
    drawn = [np.asarray(render.overlay(planes_, view.window, view.scale, caption, mark=True)) for planes_ in (
        shown, view.planes(view.regions[0]), view.planes(view.regions[0], np.zeros_like(inside)))]  # fmt: skip
    legends = [(picture[-150:] == render.OUTLINE).all(axis=2).any() for picture in drawn]
    assert legends == [True, False, False]
    assert (drawn[2][-150:] != drawn[1][-150:]).any()  # it says that the finding is elsewhere


def test_half_ticks_give_way_where_there_is_no_room() -> None:
    from PIL import ImageDraw

    draw, font = ImageDraw.Draw(PIL.new("RGB", (10, 10))), letters.font(16)
    ticks = ("-0.000150", "-0.000075", "0", "+0.000075", "+0.000150")
    assert [text for _, text in render._ticks_that_fit(draw, ticks, font, 700)] == list(ticks)
    assert [text for _, text in render._ticks_that_fit(draw, ticks, font, 460)] == list(ticks[::2])


def test_long_captions_are_wrapped_where_they_have_parts() -> None:
    from PIL import ImageDraw

    draw, font = ImageDraw.Draw(PIL.new("RGB", (10, 10))), letters.font(17)
    parts = [
        "a_scan_with_a_long_name.nii.gz",
        "strongest of 3 regions: +1.20 logit, 2.1 mL",
        "probability without it 9 %",
    ]
    assert render.wrap(draw, render.DOT.join(parts), font, 2000, render.DOT) == [render.DOT.join(parts)]
    room = draw.textlength(render.DOT.join(parts[:2]), font=font) + 1  # the font is not the same everywhere
    assert render.wrap(draw, render.DOT.join(parts), font, room, render.DOT) == [render.DOT.join(parts[:2]), parts[2]]
    first, second = render.wrap(draw, "Warnings: " + ", ".join(["outside_evidence"] * 12), font, room)
    assert first.endswith("outside_evidence,")
    assert second.endswith("...")
    assert max(draw.textlength(line, font=font) for line in (first, second)) <= room


def test_text_is_cut_to_its_room() -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(PIL.new("RGB", (10, 10)))
    font = letters.font(20)
    cut = render.fit(draw, "a long name " * 40, font, 300)
    assert cut.endswith("...")
    assert draw.textlength(cut, font=font) <= 300
    assert render.fit(draw, "Möller \N{MINUS SIGN}1 \N{CJK UNIFIED IDEOGRAPH-8111}", font, 300) in (
        "Moller -1 ?",
        "Möller \N{MINUS SIGN}1 ?",  # with the font of matplotlib
    )


def test_window_of_the_task_is_used(predict: Predict, head_volume: Volume) -> None:
    from medattn_core.tasks import IntensityRule

    prediction = predict(head_volume)
    task = replace(prediction.task, intensity=IntensityRule(rule="window", lower=-160.0, upper=240.0))
    assert View.of(replace(prediction, task=task)).window == (-160.0, 240.0)
