"""How evidence becomes colour: diverging, centred on zero, and anchored so that a near-empty map looks empty.

Scaling a map to its own maximum makes noise look like a finding. Here full colour has a price: a side (for, or
against) whose contributions sum to C never gets beyond C / FULL of the scale, and nothing below VISIBLE / FULL of the
scale is coloured at all. So less than half a logit in total (which moves a probability of one half to at most 0.62)
leaves the anatomy grey however concentrated it is, and full colour needs 2.5 logit (0.5 to 0.92) on its side.

The side with the larger total sets the scale: it ends at that side's robust peak, or higher where the total is below
FULL, so that the side keeps its shades. The other side uses the same scale up to its own C / FULL and is even beyond:
a dense speck of little weight can neither shine nor, by stretching the scale, hide a wide region of much weight.
One scale serves all pictures of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medattn_core.inference.prediction import Evidence, Prediction

VISIBLE = 0.5
"""Total contribution of one side, in logit, up to which none of its voxels is coloured."""
FULL = 2.5
"""Total contribution of one side, in logit, from which its peak may reach full colour."""
OPACITY = 0.7
"""Opacity at full colour: the anatomy stays readable underneath."""
FAINT = 0.12
"""Opacity that an eye does not find on a textured scan."""
UNDECIDED_GREY = 0.75
"""Share of grey in the colours where the model does not decide: a bright map would look surer than it is."""
_PEAK_SHARE = 0.02
_STEPS = np.array([1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0])

# Orange-red for, blue against: told apart with every common colour vision deficiency; both luminous on a grey scan.
_STOPS = np.array([-1.0, -0.6, -0.2, 0.0, 0.2, 0.6, 1.0])
_COLOURS = np.array(
    [
        [28, 84, 224],
        [64, 146, 250],
        [150, 208, 255],
        [240, 240, 240],
        [255, 216, 110],
        [255, 146, 40],
        [236, 56, 24],
    ],
    dtype=float,
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The colour scale of one prediction.

    Attributes:
        limit: density at full colour, positive; the scale runs from ``-limit`` to ``limit``.
        visible: density below which nothing is coloured.
        unit: unit of both, such as ``"logit/mL"``.
        caps: how far along the scale the sides (against, for) may go, as shares of ``limit``.
        undecided: the model does not decide about the label; the colours fade into grey.
    """

    limit: float
    visible: float
    unit: str
    caps: tuple[float, float] = (1.0, 1.0)
    undecided: bool = False

    @property
    def coloured(self) -> tuple[bool, bool]:
        """Whether anything of a side (against, for) can be coloured."""
        start = self.visible / self.limit
        return self.caps[0] > start, self.caps[1] > start

    def ticks(self) -> list[float]:
        """Legend values, from against to for."""
        return [-self.limit, -self.limit / 2, 0.0, self.limit / 2, self.limit]


def _round_up(value: float) -> float:
    """The next value of 1, 1.2, 1.5, 2 ... times a power of ten: short numbers in the legend."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{power * _STEPS[np.searchsorted(_STEPS, value / power * (1 - 1e-6))]:.6g}")


def _robust_peak(positive: np.ndarray) -> float:
    """The density above which 2 % of a side's contribution lies: no single voxel sets the scale.

    Found on a 2,048-bin histogram, because sorting 256^3 values takes seconds.
    """
    top = float(positive.max())
    bins = np.minimum((positive * (2047.999 / top)).astype(np.int32), 2047)
    mass = np.bincount(bins, weights=positive, minlength=2048)[::-1].cumsum()
    from_top = int(np.searchsorted(mass, _PEAK_SHARE * mass[-1]))
    return top * (2048 - from_top) / 2048


def scale_of(density: np.ndarray, voxel_size: float, unit: str, full: float = FULL) -> Scale:
    """The scale of a map (module docstring).

    Args:
        density: contribution per millilitre (2D: per square centimetre; without a voxel size: per voxel), any shape;
            NaN counts as nothing.
        voxel_size: millilitres (square centimetres; one) of one voxel: ``density.sum() * voxel_size`` is the total.
        unit: unit of ``density``.
        full: total contribution of a side that may reach full colour, in the unit of the target (logit).
    """
    totals, limits = [], []
    for sign in (-1.0, 1.0):
        side = sign * density[np.isfinite(density) & (sign * density > 0)].astype(np.float64)
        total = float(side.sum()) * voxel_size
        totals.append(total)
        limits.append(max(_robust_peak(side), float(side.max()) * full / total) if total > 0 else 0.0)
    limit = limits[int(np.argmax(totals))]
    limit = _round_up(limit) if limit > 0 and np.isfinite(limit) else 1.0
    against, toward = (min(1.0, float(total / full)) if full > 0 else 1.0 for total in totals)
    return Scale(limit=limit, visible=limit * VISIBLE / FULL, unit=unit, caps=(against, toward))


def full_total(activation: str, reference: float) -> float:
    """Total contribution that may reach full colour: :data:`FULL` logit, or a tenth of a regression value.

    Args:
        activation: of the task; ``identity`` is regression.
        reference: size of the quantity, such as the larger of |value| and |bias|.
    """
    return FULL if activation != "identity" else 0.1 * abs(reference)


def scale_for(prediction: Prediction, evidence: Evidence, density: np.ndarray) -> Scale:
    """The scale of a map of a prediction, in every picture, page and viewer.

    Args:
        prediction: that the map is of.
        evidence: the map, of any label of the prediction, or of one against another.
        density: ``evidence.density().data``, which is costly.
    """
    index = prediction.task.index(evidence.label)
    reference = max(abs(float(prediction.logits[index])), abs(float(prediction.bias[index])))
    full = full_total(prediction.task.activation, reference)
    return scale_of(density, 1.0 / evidence.density_factor, evidence.density_unit, full)


def rgba(density: np.ndarray, scale: Scale) -> np.ndarray:
    """Colour and opacity ``(..., 4)`` uint8, straight alpha, of densities of any shape."""
    share = np.clip(np.nan_to_num(density, nan=0.0) / scale.limit, -scale.caps[0], scale.caps[1])
    start = scale.visible / scale.limit
    strength = np.clip((np.abs(share) - start) / (1.0 - start), 0.0, 1.0)
    out = np.empty((*share.shape, 4))
    for channel in range(3):
        out[..., channel] = np.interp(share, _STOPS, _COLOURS[:, channel])
    if scale.undecided:
        out[..., :3] += UNDECIDED_GREY * (out[..., :3].mean(axis=-1, keepdims=True) - out[..., :3])
    out[..., 3] = 255.0 * OPACITY * strength**0.6
    return np.round(out).astype(np.uint8)


def blend(grey: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """``(..., 3)`` uint8: RGBA laid over a grey ``(...)`` uint8 picture."""
    alpha = colours[..., 3:].astype(float) / 255.0
    return np.round(grey[..., None] * (1.0 - alpha) + colours[..., :3] * alpha).astype(np.uint8)


def bar(scale: Scale, width: int, height: int) -> np.ndarray:
    """The legend's colour bar ``(height, width, 3)``: what a density looks like on mid-grey tissue, -limit to limit.

    A side that is capped shows no colour that its map cannot have, and one that is never coloured stays grey.
    """
    values = (np.arange(width) + 0.5) / width * 2.0 * scale.limit - scale.limit
    row = blend(np.full(width, 96, dtype=np.uint8), rgba(values, scale))
    return np.broadcast_to(row, (height, width, 3)).copy()
