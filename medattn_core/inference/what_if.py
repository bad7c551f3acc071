"""The answer to a question about a region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.errors import Notice


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
