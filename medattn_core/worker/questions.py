"""What a viewer asks about regions, by their ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medattn_core.errors import PredictionError
from medattn_core.inference import Prediction, Region, WhatIf
from medattn_core.inference.what_if import Part


def chosen(prediction: Prediction, ranks: Sequence[int], label: str | None) -> list[Region]:
    """The regions of a class with these ranks.

    Raises:
        TaskError: ``unknown_label``.
        PredictionError: ``bad_argument``, a rank that no region has.
    """
    regions = {one.rank: one for one in prediction.regions(label)}
    unknown = sorted(set(ranks) - set(regions))
    if unknown:
        names = f"1 to {len(regions)}" if regions else "none, for this class has no region"
        raise PredictionError(
            "bad_argument", f"region {unknown[0]} of {label or prediction.label}: there is none; accepted: {names}"
        )
    return [regions[rank] for rank in dict.fromkeys(ranks)]


def ask(
    prediction: Prediction, mode: str, ranks: Sequence[int], *, mask: str | None = None, label: str | None = None
) -> WhatIf:
    """What the model would say without, or of only, some regions and a mask together.

    Args:
        prediction: asked again.
        mode: ``without`` or ``only``.
        ranks: regions of ``label``.
        mask: file of a painted mask, which joins them.
        label: the most probable one by default.

    Raises:
        PredictionError: nothing would be left, no such region, or a mask that does not lie on the scan.
        MedAttnError: the mask cannot be read; an unknown label.
    """
    regions = chosen(prediction, ranks, label)
    asked = prediction.without if mode == "without" else prediction.only
    parts: list[Part] = [*regions, *([] if mask is None else [mask])]
    if not parts:
        if mode == "only":
            raise PredictionError("empty_mask", "only: no region and no mask is given; name at least one of them")
        return WhatIf(
            logits=prediction.logits,
            probabilities=dict(
                zip(prediction.task.labels, map(float, prediction.task.probabilities(prediction.logits)), strict=True)
            ),
            label=prediction.label,
        )
    return asked(parts)


def joined(prediction: Prediction, regions: Sequence[Region]) -> np.ndarray:
    """Union of the native masks of regions of a prediction, boolean ``(I, J, K)``."""
    cells = np.zeros(prediction.grid.cells(prediction.stride), bool)
    for one in regions:
        cells |= one.cells
    return prediction.grid.paint(cells, prediction.stride)


def ranks(prediction: Prediction, label: str | None) -> np.ndarray:
    """The rank of the region that each voxel belongs to, 0 outside of all, uint16 on the grid of the scan."""
    cells = np.zeros(prediction.grid.cells(prediction.stride), np.uint16)
    for one in prediction.regions(label):
        cells[one.cells] = one.rank
    return prediction.grid.paint(cells, prediction.stride)
