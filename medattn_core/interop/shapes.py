"""Sizes that a bundle's metadata state for an image, and one that fits them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence

SMALLEST = 32
"""Voxels along an axis whose size is free: most networks halve an image five times."""
LARGEST = 4096
"""Voxels along an axis that are believed."""
_TRIES = 1024
_EXPONENT = 32
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def fitting_shape(stated: Sequence[int | str]) -> tuple[int, ...]:
    """A small shape that fits the ``spatial_shape`` of a bundle's metadata.

    By MONAI's bundle specification an item is a number, ``"*"`` for any size, or an expression of variables of one
    letter, which all items share: ``"32*n"``, ``"2**p"``, ``"2**p*n"``. All variables get the same value here: the
    least for which no such item falls below :data:`SMALLEST`. Nothing is evaluated as Python.

    Args:
        stated: one item an axis.

    Returns:
        Voxels along each axis.

    Raises:
        ValueError: another item, or no such size up to :data:`LARGEST`.
    """
    items = [_parsed(one) for one in stated]
    found: tuple[int, ...] = ()
    for value in range(1, _TRIES + 1):
        found = tuple(one if isinstance(one, int) else _value(one, value) for one in items)
        free = [size for size, one in zip(found, items, strict=True) if not isinstance(one, int)]
        if all(size >= SMALLEST for size in free):
            break
    if not all(1 <= size <= LARGEST for size in found):
        raise ValueError(f"spatial_shape {list(stated)} gives {list(found)}; accepted: 1 to {LARGEST}")
    return found


def _parsed(item: int | str) -> int | ast.expr:
    """A number as it is, an expression as its tree."""
    if isinstance(item, int) and not isinstance(item, bool):
        return item
    if item == "*":
        return SMALLEST
    if not isinstance(item, str) or len(item) > 100:
        raise ValueError(f"spatial_shape has {item!r:.60}; a number, '*' or an expression such as '32*n' is needed")
    try:
        tree = ast.parse(item.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(f"spatial_shape has {item!r}, which is no expression") from None
    varies = any(isinstance(node, ast.Name) for node in ast.walk(tree))
    return tree if varies else _value(tree, 1)


def _value(tree: ast.expr, variable: int) -> int:
    match tree:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if len(name) == 1:
            return variable
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            first, second = _value(left, variable), _value(right, variable)
            # What would be a number of millions of digits is none of these.
            if abs(first) > LARGEST**2 or (isinstance(op, ast.Pow) and not 0 <= second <= _EXPONENT):
                raise ValueError(f"spatial_shape has {ast.unparse(tree)}, which is out of range")
            if isinstance(op, ast.FloorDiv) and second == 0:
                raise ValueError(f"spatial_shape has {ast.unparse(tree)}, which divides by zero")
            return _OPERATORS[type(op)](first, second)
    raise ValueError(f"spatial_shape has {ast.unparse(tree)}; accepted: numbers, letters, + - * // **")
