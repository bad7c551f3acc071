"""Arguments of public functions: whole numbers, truth values, paths, and lists of one that are given without a list.

Numbers of numpy are numbers, and ``8.0`` is a whole one, as in files; texts are no numbers, and true and false neither.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from pathlib import Path
from typing import Any

from medattn_core.errors import MedAttnError
from medattn_core.ranges import Range


def shown(value: Any) -> str:
    """A value for a message: one line, and no long one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def whole(value: Any) -> int | None:
    """The whole number that a value is, None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        number = float(value) if isinstance(value, Real) else 0.5
    return int(number) if number.is_integer() else None


def whole_number(
    name: str,
    value: Any,
    accepted: Range,
    *,
    code: str = "bad_argument",
    kind: type[MedAttnError] = MedAttnError,
) -> int:
    """An argument that is to be a whole number, as one of Python's.

    Args:
        name: of the argument.
        value: as it was given.
        accepted: range that it has to lie in.
        code, kind: of the error.

    Raises:
        MedAttnError: ``bad_argument`` or ``code``: it is no whole number, or lies outside of the range.
    """
    number = whole(value)
    if number is None:
        raise kind(code, f"{name}={shown(value)}; a whole number is needed; accepted: {accepted}")
    if number not in accepted:
        raise kind(code, f"{name}={shown(value)}; accepted: {accepted}")
    return number


def truth_value(name: str, value: Any, *, kind: type[MedAttnError] = MedAttnError) -> bool:
    """An argument that is to be True or False: a text such as ``"no"`` would count as true.

    Raises:
        MedAttnError: ``bad_argument``: it is neither.
    """
    if not isinstance(value, bool):
        raise kind("bad_argument", f"{name}={shown(value)}; True or False is needed")
    return value


def path_of(name: str, value: Any) -> Path:
    """An argument that is to be a path. An empty one is refused: it would be the working directory.

    Raises:
        MedAttnError: ``bad_argument``: it is no path, or an empty text.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise MedAttnError("bad_argument", f"{name}={shown(value)}; a path is needed")
    if value == "":
        raise MedAttnError("bad_argument", f"{name}: a path is empty (an unset variable?); give a file or a folder")
    return Path(value)


def several(name: str, given: Any, *, of: str = "paths") -> tuple[Any, ...]:
    """An argument that is to be a list of paths or names. A single one is a list of one, not one of its letters.

    Args:
        name: of the argument.
        given: as it was given.
        of: ``paths`` (texts or path objects) or ``names`` (texts).

    Raises:
        MedAttnError: ``bad_argument``: it is no list of them.
    """
    single = (str, os.PathLike) if of == "paths" else (str,)
    if isinstance(given, single):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, os.PathLike, Mapping, Set)):
        raise MedAttnError("bad_argument", f"{name}={shown(given)}; a list of {of} is needed")
    taken = tuple(given)
    wrong = [one for one in taken if not isinstance(one, single)]
    if wrong:
        raise MedAttnError("bad_argument", f"{name}: {shown(wrong[0])} is no {of[:-1]}; a list of {of} is needed")
    return taken
