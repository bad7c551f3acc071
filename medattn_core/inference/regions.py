"""Regions: connected parts of the positive evidence, ranked by what they contribute."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from medattn_core.inference.read_only import ReadOnlyArrays, read_only
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume
from medattn_core.volumes.placement import same_grid

MIN_SHARE = 0.1
"""A cell belongs to a region if it contributes at least this share of the strongest cell."""

MIN_CONTRIBUTION = 0.05
"""Weaker regions are not reported: 0.05 logit moves a probability by about 0.01 at most."""

SAMPLED = 1 << 18
"""About how many voxels, at even steps, a scan is known by; all of a smaller one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanMark:
    """What tells a scan from others, without its voxels: a region that held them would keep an archive in memory.

    Attributes:
        shape, affine, spacing_known: of the scan.
        digest: of a sample of its voxels as numbers, whatever their type: a mirrored scan has another, one that was
            changed between the sampled voxels alone has not.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    spacing_known: bool
    digest: bytes

    @classmethod
    def of(cls, volume: Volume) -> ScanMark:
        """Of a scan; milliseconds, however large it is."""
        long = max(1, sum(n > 1 for n in volume.shape))
        step = math.ceil(max(1.0, volume.data.size / SAMPLED) ** (1 / long))
        sample = volume.data[::step, ::step, ::step].astype(np.float64) + 0.0  # 0 for -0
        return cls(
            shape=volume.shape,
            affine=volume.affine,
            spacing_known=volume.spacing_known,
            digest=hashlib.blake2b(sample.tobytes(), digest_size=16).digest(),
        )

    def same(self, other: ScanMark) -> bool:
        """Whether both are of one scan."""
        return self.digest == other.digest and same_grid(self, other)


@dataclass(frozen=True, kw_only=True, eq=False)
class Region(ReadOnlyArrays):
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
        cells: boolean on the evidence grid, read-only; what :meth:`Prediction.without` works with.
        scan: what tells the scan it was found in from others.
        grid: how cells and voxels lie on each other.
        stride: evidence stride in model pixels.
    """

    rank: int
    label: str
    contribution: float
    weight: float
    probability_without: float
    world_position_mm: tuple[float, float, float]
    voxel_index: tuple[int, int, int]
    volume_mm3: float
    cells: np.ndarray = field(repr=False)
    scan: ScanMark = field(repr=False)
    grid: ModelGrid = field(repr=False)
    stride: int = field(repr=False)

    @cached_property
    def mask(self) -> np.ndarray:
        """Boolean ``(I, J, K)`` on the native grid, read-only; painted when it is first asked for, and kept.

        A scattered map has hundreds of regions, and what is asked of most of them is a row of numbers.
        """
        return read_only(self.grid.paint(self.cells, self.stride))

    def __getstate__(self) -> dict[str, Any]:
        """What cannot be painted again."""
        return {name: value for name, value in vars(self).items() if name != "mask"}

    def lies_on(self, scan: ScanMark, grid: ModelGrid) -> bool:
        """Whether its cells are places of this scan on this grid: found in it, or in the same scan read again."""
        return self.scan.same(scan) and self.grid.axes == grid.axes

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
