"""Draw the icon of the module: ``draw_icon.py FILE.png``. A slice of a head, one region of which speaks."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

SIZE, FINE = 128, 8
"""Pixels along an edge, and samples along each of them."""


def ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """Distance from a centre, 1 on the ellipse."""
    return np.hypot((x - centre[0]) / half[0], (y - centre[1]) / half[1])


def draw() -> Image.Image:
    """The icon, RGBA with a clear background."""
    y, x = (np.mgrid[: SIZE * FINE, : SIZE * FINE] + 0.5) / (SIZE * FINE) * 2 - 1
    colour, alpha = np.zeros((*x.shape, 3)), np.zeros(x.shape)

    def paint(where: np.ndarray, rgb: tuple[int, int, int], strength: np.ndarray | float = 1.0) -> None:
        share = np.clip(where * strength, 0, 1)[..., None]
        colour[:] = colour * (1 - share) + np.array(rgb) / 255 * share
        alpha[:] = alpha + (1 - alpha) * share[..., 0]

    head = ellipse(x, y, (0, 0), (0.78, 0.95))
    paint(head < 1, (33, 41, 56))
    brain = ellipse(x, y, (0, 0), (0.66, 0.83))
    paint(brain < 1, (148, 158, 172))
    for side in (-1, 1):  # folds and ventricles, the same on both sides
        for turn, radius in ((0.9, 0.78), (1.7, 0.8), (2.5, 0.78)):
            fold = ellipse(x, y, (side * 0.66 * radius * np.sin(turn), -0.83 * radius * np.cos(turn)), (0.17, 0.13))
            paint((np.abs(fold - 1) < 0.2) & (brain < 1), (104, 114, 130))
        paint(ellipse(x, y, (side * 0.11, 0.02), (0.075, 0.24)) < 1, (52, 61, 78))
    paint((np.abs(x) < 0.018) & (brain < 0.96) & (np.abs(y) > 0.3), (70, 80, 97))
    spot = ellipse(x, y, (0.33, -0.3), (0.36, 0.33))
    paint(spot < 1, (255, 216, 110), 0.85 * np.clip(1.25 * (1 - spot), 0, 1))
    paint(spot < 0.75, (255, 146, 40), np.clip(1.6 * (0.75 - spot), 0, 1))
    paint(spot < 0.5, (236, 56, 24), np.clip(2.2 * (0.5 - spot), 0, 1))
    picture = np.concatenate([colour, alpha[..., None]], axis=-1)
    picture[..., :3] *= alpha[..., None]
    small = picture.reshape(SIZE, FINE, SIZE, FINE, 4).mean(axis=(1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-6)
    return Image.fromarray(np.round(np.clip(small, 0, 1) * 255).astype(np.uint8), "RGBA")


if __name__ == "__main__":
    draw().save(sys.argv[1], optimize=True)
