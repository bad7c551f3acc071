"""Colours of evidence: diverging, centred on zero, and empty where there is next to nothing.

The rule is that of ``medattn_core.outputs.colour``: the engine says where full colour lies (``limit``), below which
value nothing is coloured (``visible``), and how far along the scale each side may go (``caps``), so that a map with
little evidence in total never reaches full colour. Slicer keeps only two states of a colour's alpha, none and some:
values that are not shown get alpha zero, the others share the opacity of the foreground layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENTRIES = 256
"""Slicer's slice views turn window and level into 8 bits before they look a colour up."""

# Orange-red for, blue against: told apart with every common colour vision deficiency; luminous on a grey scan.
STOPS = (-1.0, -0.6, -0.2, 0.0, 0.2, 0.6, 1.0)
COLOURS = (
    (28, 84, 224),
    (64, 146, 250),
    (150, 208, 255),
    (240, 240, 240),
    (255, 216, 110),
    (255, 146, 40),
    (236, 56, 24),
)
UNDECIDED_GREY = 0.75
"""Share of grey in the colours when the model abstains: a bright map would look surer than the model is."""
HIDDEN = 64.0
"""Grey of what is not shown: the legend knows no alpha, and must not promise a colour there."""


@dataclass(frozen=True)
class Scale:
    """Where the colours lie.

    Attributes:
        limit: density of full colour; the scale runs from ``-limit`` to ``limit``.
        visible: density below which nothing is coloured, unless the reader asks for less or more.
        caps: shares of the limit beyond which the sides (against, for) are drawn no stronger.
        unit: of the densities, such as ``logit/mL``.
    """

    limit: float
    visible: float
    caps: tuple[float, float]
    unit: str

    @classmethod
    def of(cls, evidence: dict) -> Scale:
        """The scale in an evidence object of the engine."""
        scale = evidence["scale"]
        return cls(float(scale["limit"]), float(scale["visible"]), tuple(scale["caps"]), str(evidence["unit"]))

    @property
    def default_share(self) -> float:
        """The threshold that the engine proposes, as a share of full colour."""
        return self.visible / self.limit


def shares() -> np.ndarray:
    """The share of the limit that each entry of the table stands for, ``(256,)``, from -1 to 1."""
    # VTK cuts (value + limit) / (2 * limit) * 255 down to a whole number: an entry stands for an interval.
    return np.clip((np.arange(ENTRIES) + 0.5) / (ENTRIES - 1) * 2.0 - 1.0, -1.0, 1.0)


def table(scale: Scale, threshold: float, undecided: bool = False) -> np.ndarray:
    """Colours and alpha ``(256, 4)`` in 0..1, in steps of 1/255, so that they survive being saved.

    Args:
        scale: of the map.
        threshold: share of full colour below which nothing is shown.
        undecided: the model abstains; the colours fade into grey.
    """
    share = np.clip(shares(), -scale.caps[0], scale.caps[1])
    rgb = np.stack([np.interp(share, STOPS, [c[channel] for c in COLOURS]) for channel in range(3)], axis=1)
    if undecided:
        rgb = (1 - UNDECIDED_GREY) * rgb + UNDECIDED_GREY * rgb.mean(axis=1, keepdims=True)
    alpha = np.where(np.abs(share) >= max(threshold, 1e-6), 255.0, 0.0)
    rgb[alpha == 0.0] = HIDDEN
    return np.round(np.concatenate([rgb, alpha[:, None]], axis=1)) / 255.0


def transfer(scale: Scale, threshold: float, undecided: bool = False) -> list[tuple[float, float, float, float, float]]:
    """Points ``(density, r, g, b, opacity)`` for volume rendering, rising density."""
    entries = table(scale, threshold, undecided)
    points = []
    for share, (red, green, blue, alpha) in zip(shares(), entries, strict=True):
        strength = (abs(share) - threshold) / max(1.0 - threshold, 1e-6)
        points.append(
            (float(share * scale.limit), red, green, blue, float(alpha * np.clip(0.02 + 0.3 * strength, 0, 1)))
        )
    return points
