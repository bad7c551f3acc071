"""Some rows of a large array, looked up when they are asked for: a part of a data set without memory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Rows:
    """Rows of an array in a given order, as far as training asks for them: a length, a shape, an index, a turn.

    Args:
        source: ``(N, ...)``, which is not copied, or rows of one.
        chosen: index array ``(M,)``.
    """

    def __init__(self, source: np.ndarray | Rows, chosen: np.ndarray) -> None:
        self._source: np.ndarray = source._source if isinstance(source, Rows) else source
        self._index: np.ndarray = source._index[chosen] if isinstance(source, Rows) else chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """``(M, ...)``."""
        return (len(self._index), *self._source.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """That of the array."""
        return self._source.dtype

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """One row ``(...)``, or a copy of several ``(K, ...)``; rows alone are chosen, no part of them."""
        found: np.ndarray = self._source[self._index[chosen]]
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._source[place] for place in self._index)
