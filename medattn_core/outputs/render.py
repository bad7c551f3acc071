"""Pictures: planes with evidence, letters, scale bar and mark; the overlay PNG; the legend's colour bar.

Arithmetic is numpy; Pillow draws the letters and writes the PNG (extra ``report``).
"""

from __future__ import annotations

import io
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core.errors import MedAttnError
from medattn_core.outputs import colour, planes
from medattn_core.outputs.colour import Scale
from medattn_core.outputs.planes import Plane
from medattn_core.outputs.text import MINUS, number

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

INK, SOFT, WARN = (28, 33, 40), (94, 102, 112), (148, 84, 0)
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words of an overlay PNG: all lines may be long, they are cut to the width."""

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
        raise MedAttnError(
            "missing_dependency", 'Pillow is needed to draw pictures and reports: pip install "medattn[report]"'
        ) from error


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
    if mark:
        y = top + plane.mark[0] / plane.image.shape[0] * rows
        x = left + plane.mark[1] / plane.image.shape[1] * columns
        _ticks(over, y, x, max(1, round(width / 320)))
    return base, over


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
                b = slice(max(0, round(across - half)), max(0, round(across + half)))
                where = (a, b) if vertical else (b, a)
                over[where] = (shade, shade, shade, alpha)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def plain(text: str) -> str:
    """Text in the characters of Pillow's built-in font: accents dropped, other scripts as ``?`` (HTML keeps them)."""
    text = text.replace(MINUS, "-").replace("\N{EN DASH}", "-")
    kept = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(
        c if " " <= c <= "~" or c in "\N{DEGREE SIGN}\N{MIDDLE DOT}\N{PLUS-MINUS SIGN}" else "?" for c in kept
    )


def fit(draw: ImageDraw, text: str, font: Any, width: float) -> str:
    """Text cut with an ellipsis to a width in pixels."""
    text = plain(text)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def annotate(image: Image, plane: Plane, per_mm: float) -> Image:
    """Write orientation letters at the edges and a scale bar at the lower left, in place."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    bright, dark = (235, 0) if image.mode == "L" else ((235, 235, 235), (0, 0, 0))
    size = max(13, round(image.width / 22))
    font = _font(size)
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
        small = _font(max(12, round(size * 0.8)))
        spot = (edge + 2, y - 6)
        draw.text(spot, words, fill=bright, font=small, anchor="lb", stroke_width=2, stroke_fill=dark)
    return image


def png(image: Image) -> bytes:
    """A PNG file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def png_of(pixels: np.ndarray) -> bytes:
    """A PNG file's bytes of ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8."""
    from PIL import Image

    return png(Image.fromarray(np.ascontiguousarray(pixels)))


def overlay(
    shown: list[Plane], limits: tuple[float, float], scale: Scale, caption: Caption, *, mark: bool, width: int = 1200
) -> Image:
    """The overlay picture: title, planes side by side at one scale, captions, legend with values.

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
    head = 106 + 26 * len(caption.notes)
    foot = 128
    image = Image.new("RGB", (width, head + cell[1] + 34 + foot), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    room = width - 2 * margin
    draw.text((margin, 26), fit(draw, caption.title, _font(32), room), fill=INK, font=_font(32))
    draw.text((margin, 70), fit(draw, caption.subtitle, _font(18), room), fill=SOFT, font=_font(18))
    for line, note in enumerate(caption.notes):
        spot = (margin, 98 + 26 * line)
        draw.text(spot, fit(draw, note, _font(17), room), fill=WARN, font=_font(17))
    for place, plane in enumerate(shown):
        left = margin + place * (cell[0] + gap)
        panel = Image.fromarray(compose(*layers(plane, limits, scale, cell, mark=mark)))
        image.paste(annotate(panel, plane, cell[2]), (left, head))
        words = fit(draw, plane.caption, _font(17), cell[0])
        draw.text((left, head + cell[1] + 10), words, fill=INK, font=_font(17))
    _legend(image, draw, scale, caption.sides, margin, head + cell[1] + 34 + 20)
    draw.text((width - margin, image.height - 24), "Research use only", fill=SOFT, font=_font(17), anchor="rb")
    return image


def _legend(image: Image, draw: ImageDraw, scale: Scale, sides: tuple[str, str], left: int, top: int) -> None:
    """Colour bar with five values and the unit, and what its ends mean."""
    from PIL import Image

    wide, high = min(460, round(image.width * 0.42)), 20
    font = _font(16)
    draw.text((left, top), fit(draw, sides[0], font, wide / 2 - 8), fill=SOFT, font=font)
    draw.text((left + wide, top), fit(draw, sides[1], font, wide / 2 - 8), fill=SOFT, font=font, anchor="ra")
    image.paste(Image.fromarray(colour.bar(scale, wide, high)), (left, top + 26))
    for index, value in enumerate(scale.ticks()):
        x = left + round(wide * index / 4)
        draw.line((x, top + 26 + high, x, top + 26 + high + 5), fill=SOFT, width=1)
        anchor = ("la", "ma", "ma", "ma", "ra")[index]
        text = plain(("+" if value > 0 else "") + number(value))
        draw.text((x, top + 26 + high + 9), text, fill=INK, font=font, anchor=anchor)
    draw.text(
        (left + wide + 20, top + 26 + high / 2), f"evidence, {plain(scale.unit)}", fill=INK, font=font, anchor="lm"
    )
    words = f"no colour below \N{PLUS-MINUS SIGN}{number(scale.visible)}"
    draw.text((left + wide + 20, top + 26 + high + 9), plain(words), fill=SOFT, font=font)
