"""Arrays that cannot be written to: what is changed in place would be wrong in all later answers and files."""

from __future__ import annotations

from typing import Any

import numpy as np


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to; the array itself stays its owner's."""
    view = array.view()
    view.flags.writeable = False
    return view


class ReadOnlyArrays:
    """A frozen dataclass whose arrays are read-only, those of its copies and what is unpickled too."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, read_only(value))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        ReadOnlyArrays.__post_init__(self)  # NumPy forgets that they were
