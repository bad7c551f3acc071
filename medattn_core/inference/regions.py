"""Regions: connected parts of the positive evidence, ranked by what they contribute."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import same_grid

MIN_SHARE = 0.1
"""A cell belongs to a region if it contributes at least this share of the strongest cell."""

MIN_CONTRIBUTION = 0.05
"""Weaker regions are not reported: 0.05 logit moves a probability by about 0.01 at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """One connected part of the positive evidence.

    Attributes:
        rank: 1 is the strongest.
        label: the class it speaks for.
        contribution: its part of the logit (or of the regression value).
        weight: its part of the attention.
        probability_without: probability of ``label`` (value in regression) without this region.
        world_position_mm: RAS mm of its strongest cell.
        voxel_index: nearest voxel ``(i, j, k)``.
        volume_mm3: volume of the voxels nearest to its cells.
        mask: boolean ``(I, J, K)`` on the native grid, read-only.
        cells: boolean on the evidence grid, read-only; what :meth:`Prediction.without` works with.
        volume: the scan it was found in.
        grid: how cells and voxels lie on each other.
    """

    rank: int
    label: str
    contribution: float
    weight: float
    probability_without: float
    world_position_mm: tuple[float, float, float]
    voxel_index: tuple[int, int, int]
    volume_mm3: float
    mask: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    volume: Volume = field(repr=False)
    grid: ModelGrid = field(repr=False)

    def lies_on(self, volume: Volume, grid: ModelGrid) -> bool:
        """Whether its cells are places of this scan on this grid: found in it, or in the same scan read again."""
        same = self.volume.data is volume.data or np.array_equal(self.volume.data, volume.data)
        return same and same_grid(self.volume, volume) and self.grid.axes == grid.axes

    def to_dict(self, *, spacing_known: bool = True) -> dict[str, object]:
        """As in predictions.json; without millimetres where the scan states no pixel size."""
        return {
            "rank": self.rank,
            "voxel_index": list(self.voxel_index),
            "world_position_mm": [round(x, 3) for x in self.world_position_mm] if spacing_known else None,
            "volume_mm3": round(self.volume_mm3, 3) if spacing_known else None,
            "contribution": self.contribution,
            "probability_without": self.probability_without,
        }


def connected_parts(contributions: np.ndarray, *, min_contribution: float = MIN_CONTRIBUTION) -> list[np.ndarray]:
    """Boolean masks of the face-connected parts of the positive evidence, strongest first.

    Args:
        contributions: ``(*cells)`` signed, of one class.
        min_contribution: parts that contribute less are left out.
    """
    import SimpleITK as sitk

    peak = float(contributions.max(initial=0.0))
    if peak <= 0:
        return []
    strong = contributions >= MIN_SHARE * peak
    labelled = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(strong.astype(np.uint8)), False))
    sums = np.bincount(labelled.ravel(), weights=contributions.ravel())
    order = [int(i) for i in np.argsort(-sums[1:], kind="stable") + 1 if sums[i] >= min_contribution]
    return [labelled == i for i in order]
