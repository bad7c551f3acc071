"""Pictures: planes with evidence, letters, scale bar and mark; the overlay PNG; the legend's colour bar.

Arithmetic is numpy; Pillow draws the letters and writes the PNG (extra ``report``).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core.errors import missing_package
from medattn_core.outputs import colour, planes
from medattn_core.outputs.colour import Scale
from medattn_core.outputs.legend import Legend
from medattn_core.outputs.letters import drawable
from medattn_core.outputs.letters import font as font_of
from medattn_core.outputs.own_files import SOFTWARE
from medattn_core.outputs.planes import Plane

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

INK, SOFT, WARN = (28, 33, 40), (94, 102, 112), (148, 84, 0)
OUTLINE = (90, 235, 120)
"""Of a known finding: neither a grey nor a colour of the evidence."""
DOT = " \N{MIDDLE DOT} "
"""Between the parts of a caption."""
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words of an overlay PNG; long ones are wrapped or made smaller, and cut only where that is not enough."""

    title: str
    subtitle: str
    notes: tuple[str, ...] = ()
    sides: tuple[str, str] = ("against", "for")


def require_pillow() -> None:
    """Raise early, before any prediction is made.

    Raises:
        MedAttnError: ``missing_dependency``.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise missing_package("drawing of pictures and reports", ["Pillow"], extra="report") from error


def cell_size(shown: list[Plane], width: int, tallest: int) -> tuple[int, int, float]:
    """One cell ``(width, height)`` in pixels that every plane fits into at one scale, and the pixels per mm."""
    high = max(plane.size_mm[0] for plane in shown)
    wide = max(plane.size_mm[1] for plane in shown)
    per_mm = min(width / wide, tallest / high)
    return width, max(1, round(high * per_mm)), per_mm


def layers(
    plane: Plane, limits: tuple[float, float], scale: Scale, cell: tuple[int, int, float], *, mark: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One picture as grey ``(H, W)`` uint8 and what lies over it, ``(H, W, 4)`` uint8 with straight alpha.

    Both fill the cell; the plane lies in its middle. With ``mark``, four thin ticks point at the plane's point and
    leave the point itself free.
    """
    width, height, per_mm = cell
    rows = min(height, max(1, round(plane.size_mm[0] * per_mm)))
    columns = min(width, max(1, round(plane.size_mm[1] * per_mm)))
    top, left = (height - rows) // 2, (width - columns) // 2
    base = np.zeros((height, width), dtype=np.uint8)
    over = np.zeros((height, width, 4), dtype=np.uint8)
    inner = slice(top, top + rows), slice(left, left + columns)
    base[inner] = planes.grey(planes.resize(plane.image, rows, columns), limits)
    over[inner] = colour.rgba(planes.resize(plane.density, rows, columns), scale)
    if plane.outline is not None:
        border = _border(planes.resize(plane.outline, rows, columns) >= 0.5)
        over[inner][border] = (*OUTLINE, 255)
    if mark:
        y = top + plane.mark[0] / plane.image.shape[0] * rows
        x = left + plane.mark[1] / plane.image.shape[1] * columns
        _ticks(over, y, x, max(1, round(width / 320)))
    return base, over


def _border(inside: np.ndarray) -> np.ndarray:
    """The outermost pixels of what is inside, one wide; the edge of the picture is none."""
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def compose(base: np.ndarray, over: np.ndarray) -> np.ndarray:
    """The picture as seen, ``(H, W, 3)`` uint8."""
    return colour.blend(base, over)


def _ticks(over: np.ndarray, y: float, x: float, thick: int) -> None:
    """Four ticks around ``(y, x)``, white with a dark rim, drawn into an RGBA array."""
    gap, length = 11 * thick, 10 * thick
    for rim, shade, alpha in ((thick, 0, 170), (0, 255, 235)):
        half = thick / 2 + rim
        for near, far in ((-gap - length, -gap), (gap, gap + length)):
            for vertical in (False, True):
                along, across = (y, x) if vertical else (x, y)
                a = slice(max(0, round(along + near - rim)), max(0, round(along + far + rim)))
                first = round(across - half)  # not both ends rounded: a line of one pixel would have none
                b = slice(max(0, first), max(0, first + thick + 2 * rim))
                where = (a, b) if vertical else (b, a)
                over[where] = (shade, shade, shade, alpha)


def fit(draw: ImageDraw, text: str, font: Any, width: float) -> str:
    """Text cut with an ellipsis to a width in pixels."""
    text = drawable(text)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(draw: ImageDraw, text: str, font: Any, width: float, between: str = " ", lines: int = 2) -> list[str]:
    """Text in at most so many lines of a width in pixels, broken at ``between``; the last may be cut."""
    parts = drawable(text).split(between)
    done: list[str] = []
    while parts:
        count = len(parts)
        last = len(done) == lines - 1
        while not last and count > 1 and draw.textlength(between.join(parts[:count]), font=font) > width:
            count -= 1
        done.append(fit(draw, between.join(parts[:count]), font, width))
        parts = parts[count:]
    return done


def shrink(draw: ImageDraw, text: str, size: int, width: float) -> tuple[str, Any]:
    """Text and a font of at most ``size`` pixels in which it fits a width; below three quarters of that it is cut."""
    least = round(0.75 * size)
    while size > least and draw.textlength(drawable(text), font=font_of(size)) > width:
        size -= 1
    return fit(draw, text, font_of(size), width), font_of(size)


def annotate(image: Image, plane: Plane, per_mm: float) -> Image:
    """Write orientation letters at the edges and a scale bar at the lower left, in place."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    bright, dark = (235, 0) if image.mode == "L" else ((235, 235, 235), (0, 0, 0))
    size = max(13, round(image.width / 22))
    font = font_of(size)
    edge = max(5, size // 3)
    spots = [
        (edge, image.height / 2, "lm"),
        (image.width - edge, image.height / 2, "rm"),
        (image.width / 2, edge, "mt"),
        (image.width / 2, image.height - edge, "mb"),
    ]
    for letter, (x, y, anchor) in zip(plane.letters, spots, strict=True):
        if letter:
            draw.text((x, y), letter, fill=bright, font=font, anchor=anchor, stroke_width=2, stroke_fill=dark)
    fitting = [mm for mm in _BARS_MM if mm * per_mm <= image.width / 4]
    if plane.scaled and fitting and fitting[-1] * per_mm >= image.width / 20:
        mm, length, y = fitting[-1], fitting[-1] * per_mm, image.height - edge - 4
        draw.rectangle((edge + 2, y - 1, edge + 2 + length, y + 3), fill=bright, outline=dark)
        words = f"{mm // 10} cm" if mm >= 10 else f"{mm} mm"
        small = font_of(max(12, round(size * 0.8)))
        spot = (edge + 2, y - 6)
        draw.text(spot, words, fill=bright, font=small, anchor="lb", stroke_width=2, stroke_fill=dark)
    return image


def png(image: Image) -> bytes:
    """A PNG file's bytes."""
    from PIL.PngImagePlugin import PngInfo

    about, buffer = PngInfo(), io.BytesIO()
    about.add_text("Software", SOFTWARE)
    image.save(buffer, format="PNG", optimize=False, compress_level=6, pnginfo=about)
    return buffer.getvalue()


def png_of(pixels: np.ndarray) -> bytes:
    """A PNG file's bytes of ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8."""
    from PIL import Image

    return png(Image.fromarray(np.ascontiguousarray(pixels)))


def overlay(
    shown: list[Plane], limits: tuple[float, float], scale: Scale, caption: Caption, *, mark: bool, width: int = 1200
) -> Image:
    """The overlay picture: title, planes side by side at one scale, captions, legend with values.

    What the planes outline is called a marked finding.

    Args:
        shown: one or three planes.
        limits: grey window.
        scale: colour scale.
        caption: the words.
        mark: whether the planes' point is marked.
        width: of the picture in pixels; a single plane may make it narrower.
    """
    from PIL import Image, ImageDraw

    margin, gap = 28, 16
    count = len(shown)
    if count > 1:
        cell = cell_size(shown, (width - 2 * margin - (count - 1) * gap) // count, 700)
    else:  # one picture: the figure is as wide as it, but not narrower than its legend
        high, wide = shown[0].size_mm
        cell = cell_size(shown, min(max(round(700 * wide / high), 620), 760), 700)
        width = cell[0] + 2 * margin
    room = width - 2 * margin
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    title, title_font = shrink(ruler, caption.title, 32, room)
    lines = [(line, SOFT) for line in wrap(ruler, caption.subtitle, font_of(17), room, DOT)]
    lines += [(line, WARN) for note in caption.notes for line in wrap(ruler, note, font_of(17), room)]
    head = 80 + 26 * len(lines)
    image = Image.new("RGB", (width, head + cell[1] + 34 + 156), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.text((margin, 26), title, fill=INK, font=title_font)
    for place, (line, shade) in enumerate(lines):
        draw.text((margin, 70 + 26 * place), line, fill=shade, font=font_of(17))
    longest = max((plane.caption for plane in shown), key=len)
    _, under = shrink(draw, longest, 17, cell[0])
    for place, plane in enumerate(shown):
        left = margin + place * (cell[0] + gap)
        panel = Image.fromarray(compose(*layers(plane, limits, scale, cell, mark=mark)))
        image.paste(annotate(panel, plane, cell[2]), (left, head))
        words = fit(draw, plane.caption, under, cell[0])
        draw.text((left, head + cell[1] + 10), words, fill=INK, font=under)
    top = head + cell[1] + 54
    bar = colour.bar(scale, min(460, room), 20)
    _legend(image, draw, Legend.of(scale), bar, caption.sides, margin, top)
    if any(plane.outline is not None for plane in shown):
        seen = any(plane.outline is not None and plane.outline.any() for plane in shown)
        _marked(draw, margin + bar.shape[1] + 24, top + 36, image.width - margin, seen=seen)
    return image


def _marked(draw: ImageDraw, left: int, middle: int, end: int, *, seen: bool) -> None:
    """The word for the outline, beside the colour bar; without the line where none of the planes meets the finding."""
    if seen:
        draw.rectangle((left, middle - 7, left + 14, middle + 7), fill=(96, 96, 96), outline=OUTLINE, width=2)
        left += 22
    words, font = shrink(draw, "marked finding" if seen else "the marked finding is elsewhere", 16, end - left)
    draw.text((left, middle), words, fill=INK, font=font, anchor="lm")


def _legend(
    image: Image, draw: ImageDraw, legend: Legend, bar: np.ndarray, sides: tuple[str, str], left: int, top: int
) -> None:
    """Colour bar ``(height, width, 3)`` with what its ends mean, its values, and the last line of the picture.

    Long names of a label would be cut at both ends to the same: it is then written once, below.
    """
    from PIL import Image

    high, wide = bar.shape[:2]
    below, font = top + 26 + high, font_of(16)
    if any(draw.textlength(drawable(side), font=font) > wide / 2 - 8 for side in sides):
        words, small = shrink(draw, f"evidence {sides[1]}", 16, image.width - 2 * left)
        draw.text((left, below + 44), words, fill=SOFT, font=small, anchor="ls")
        sides = (sides[0].partition(" ")[0], sides[1].partition(" ")[0])
    for side, x, anchor in zip(sides, (left, left + wide), ("ls", "rs"), strict=True):
        draw.text((x, top + 16), drawable(side), fill=SOFT, font=font, anchor=anchor)
    image.paste(Image.fromarray(bar), (left, top + 26))
    for share, text in _ticks_that_fit(draw, legend.ticks, font, wide):
        x = left + round(wide * share)
        draw.line((x, below, x, below + 5), fill=SOFT, width=1)
        draw.text((x, below + 9), text, fill=INK, font=font, anchor={0.0: "la", 1.0: "ra"}.get(share, "ma"))
    last = "Research use only"
    spot = (image.width - left, below + 64)
    draw.text(spot, last, fill=SOFT, font=font, anchor="rs")
    x, y, end = float(left), below + 64, spot[0] - draw.textlength(last, font=font) - 24
    words = f"{legend.unit}, no colour below \N{PLUS-MINUS SIGN}{legend.visible}"
    # Not every font has raised figures: the exponent is drawn smaller and higher.
    power = (("10", 16, 0), (str(legend.power), 12, 6), (" ", 16, 0)) if legend.power else ()
    for text, size, up in (("evidence in ", 16, 0), *power, (words, 16, 0)):
        text, font = shrink(draw, text, size, end - x)
        draw.text((x, y - up), text, fill=INK, font=font, anchor="ls")
        x += draw.textlength(text, font=font)


def _ticks_that_fit(draw: ImageDraw, ticks: tuple[str, ...], font: Any, wide: float) -> list[tuple[float, str]]:
    """Ticks with their places along the bar, from 0 to 1; the halves are left out where they touch their neighbours."""
    texts = [drawable(tick) for tick in ticks]
    placed = [(index / (len(texts) - 1), text) for index, text in enumerate(texts)]
    ends = []
    for share, text in placed:
        length = draw.textlength(text, font=font)
        start = wide * share - length * {0.0: 0.0, 1.0: 1.0}.get(share, 0.5)
        ends.append((start, start + length))
    crowded = any(after[0] - before[1] < 10 for before, after in pairwise(ends))
    return placed[::2] if crowded else placed
