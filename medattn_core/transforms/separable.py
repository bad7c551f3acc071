"""A matrix along each axis of a volume: what resampling is where the axes of both grids are shared.

Written for whole scans: no axis is moved and no large array copied. The data are worked through in the order in
which they lie in memory (NIfTI and SimpleITK store the first index fastest, numpy the last), and integers become
float32 a few slices at a time, so that they stay in the cache of the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from torch import Tensor

_AT_ONCE = 1 << 20
"""Voxels converted to float32 together: 4 MB."""

_NARROW = 16
"""Length of the fastest axis below which torch's batched product, which copies the matrix for each item, is slow."""


def apply_matrices(data: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply each axis of ``data`` with its matrix, the one that shrinks most first.

    Args:
        data: ``(n0, n1, n2)``, any numeric type, in any memory order.
        matrices: three, ``(m, n)`` each.

    Returns:
        ``(m0, m1, m2)`` float32 in Fortran order (first index fastest), as NIfTI stores voxels.
    """
    import torch

    # An autocast around the call would make half precision of the products.
    with torch.autocast("cpu", enabled=False):
        return _apply(data, matrices)


def _apply(data: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    import torch

    # Axes from slowest to fastest in memory: large input as it lies, large output as files want it.
    grows = sum(m.shape[0] for m in matrices) > sum(m.shape[1] for m in matrices)
    order = [2, 1, 0] if grows else sorted(range(3), key=lambda axis: -abs(data.strides[axis]))
    laid = np.transpose(data, order)
    weights = [torch.from_numpy(plain(matrices[a], np.float32)) for a in order]
    todo = [i for i, a in enumerate(order) if not _is_identity(matrices[a])]
    # Of equal factors the fastest axis goes first while shrinking and last while growing: least memory touched.
    todo.sort(key=lambda i: _rank(weights[i], i))
    if todo == [] or todo[0] != 2 or laid.size <= _AT_ONCE:
        result = torch.from_numpy(plain(laid, np.float32))
    else:
        todo = todo[1:]
        result = _first(laid, weights[2])
    for axis in todo:
        result = _along(result, weights[axis], axis)
    back = result.contiguous().numpy().transpose(np.argsort(order))
    return np.asfortranarray(back)


def plain(data: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """``data`` in C order as torch takes it, a copy where it is not so.

    NumPy calls an array contiguous whatever the stride of an axis of length 1, a flipped one included. Of memory that
    may not be written to torch makes a tensor with a warning.
    """
    laid = np.ascontiguousarray(data, dtype=dtype)
    return laid.copy(order="C") if min(laid.strides, default=0) < 0 or not laid.flags.writeable else laid


def _rank(weight: Tensor, axis: int) -> tuple[float, int]:
    rows, columns = weight.shape
    return rows / columns, -axis if rows < columns else axis


def _is_identity(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and bool(np.array_equal(matrix, np.eye(len(matrix))))


def _first(laid: np.ndarray, weight: Tensor) -> Tensor:
    """The fastest axis of a large array, converted to float32 a few slices at a time."""
    import torch

    result = torch.empty((laid.shape[0], laid.shape[1], weight.shape[0]))
    step = max(1, _AT_ONCE // (laid.shape[1] * laid.shape[2]))
    transposed = weight.T
    for start in range(0, laid.shape[0], step):
        part = plain(laid[start : start + step], np.float32)
        torch.matmul(torch.from_numpy(part), transposed, out=result[start : start + step])
    return result


def _along(data: Tensor, weight: Tensor, axis: int) -> Tensor:
    """``weight`` along one axis of a contiguous tensor of three."""
    if axis == 2:
        return data @ weight.T
    if axis == 1:
        if data.shape[2] < _NARROW:
            return (data.transpose(1, 2) @ weight.T).transpose(1, 2).contiguous()
        return weight @ data
    return (weight @ data.reshape(data.shape[0], -1)).reshape(-1, *data.shape[1:])
