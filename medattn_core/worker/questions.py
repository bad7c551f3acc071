"""What-if over several regions and a painted mask at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medattn_core.errors import Notice, PredictionError
from medattn_core.inference import Prediction, Region, WhatIf
from medattn_core.inference.masks import cells_of_mask, native_mask


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
    if mask is None and not regions:
        if mode == "only":
            raise PredictionError("empty_mask", "only: no region and no mask is given; name at least one of them")
        return WhatIf(
            logits=prediction.logits,
            probabilities=dict(
                zip(prediction.task.labels, map(float, prediction.task.probabilities(prediction.logits)), strict=True)
            ),
            label=prediction.label,
        )
    if not regions:
        assert mask is not None
        return asked(mask)
    cells = np.logical_or.reduce([one.cells for one in regions])
    notices: tuple[Notice, ...] = ()
    if mask is not None:
        inside, placed = native_mask(mask, prediction.volume)
        painted, selected = cells_of_mask(inside, prediction.grid, prediction.stride)
        cells = cells | painted
        notices = (*placed, *selected)
        if mode == "without":
            prediction.head.pool(~cells)  # a mask that leaves nothing is an error, alone or beside regions
    # The cells alone decide; the native mask of the first region stands in for that of the union.
    union = Region(**{**vars(regions[0]), "cells": cells})
    answer = asked(union)
    return WhatIf(
        logits=answer.logits,
        probabilities=answer.probabilities,
        label=answer.label,
        warnings=(*answer.warnings, *notices),
    )


def joined(regions: Sequence[Region], shape: tuple[int, int, int]) -> np.ndarray:
    """Union of the native masks of regions, boolean ``shape``."""
    inside = np.zeros(shape, bool)
    for one in regions:
        inside |= one.mask
    return inside


def ranks(prediction: Prediction, label: str | None) -> np.ndarray:
    """The rank of the region that each voxel belongs to, 0 outside of all, uint16 on the grid of the scan."""
    found = np.zeros(prediction.volume.shape, np.uint16)
    for one in prediction.regions(label):
        found[one.mask] = one.rank
    return found
