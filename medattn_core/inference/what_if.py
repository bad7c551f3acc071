"""What can be asked about parts of a scan, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from medattn_core.errors import Notice, PredictionError
from medattn_core.inference.masks import MaskLike, cells_of_mask, native_mask
from medattn_core.inference.regions import Region, ScanMark
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume

Part = Region | MaskLike
"""A region, or a mask: an array on the native grid, a Volume, a file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The cells that a question is about.

    Attributes:
        cells: boolean ``(*cells)``.
        painted: whether a mask is among the parts.
        warnings: how the masks had to be read.
    """

    cells: np.ndarray
    painted: bool
    warnings: tuple[Notice, ...] = ()

    @classmethod
    def of(cls, parts: Part | Sequence[Part], volume: Volume, scan: ScanMark, grid: ModelGrid, stride: int) -> Asked:
        """The union of parts: the cells of its regions, and those that its masks select together.

        Args:
            parts: one, or a list or tuple of them.
            volume, scan: the scan that is asked about, and by which regions of it are known.
            grid, stride: of the prediction.

        Raises:
            PredictionError: ``bad_argument``: no part; ``bad_mask``, ``empty_mask``: a region of another scan or grid,
                or a mask that does not lie on the scan.
        """
        several = cast("list[Part]", list(parts) if isinstance(parts, (list, tuple)) else [parts])
        if not several:
            raise PredictionError(
                "bad_argument", f"an empty {type(parts).__name__}: no region and no mask; give at least one of them"
            )
        cells = np.zeros(grid.cells(stride), bool)
        inside: np.ndarray | None = None
        warnings: list[Notice] = []
        for part in several:
            if isinstance(part, Region):
                if part.cells.shape != cells.shape or not part.lies_on(scan, grid):
                    raise PredictionError(
                        "bad_mask",
                        "the region belongs to another scan, or a model of another grid; give a region of this "
                        "prediction, or a mask",
                    )
                cells |= part.cells
            else:
                marked, placed = native_mask(part, volume)
                inside = marked if inside is None else inside | marked
                warnings += placed
        if inside is not None:
            selected, read = cells_of_mask(inside, grid, stride)
            cells |= selected
            warnings += read
        return cls(cells=cells, painted=inside is not None, warnings=tuple(warnings))


@dataclass(frozen=True, kw_only=True, eq=False)
class WhatIf:
    """The answer to "without this" or "only this".

    Attributes:
        logits: ``(K,)``.
        probabilities: each label's probability; the value in regression.
        label: most probable label.
        warnings: how the question had to be read.
    """

    logits: np.ndarray
    probabilities: dict[str, float]
    label: str
    warnings: tuple[Notice, ...] = ()
