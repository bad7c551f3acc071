"""Settings as people write them, in JSON and YAML, against the types that a dataclass or a function states."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from medattn_core.arguments import shown, whole
from medattn_core.errors import TrainingError
from medattn_core.values import comma_hint, comma_hint_of, is_json_number, is_number


def refuse_unknown(given: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    """Only keys that there are.

    Raises:
        TrainingError: ``bad_config`` with the first of the others, in the order of the alphabet, and what is accepted.
    """
    accepted = list(known)
    unknown = sorted(set(given) - set(accepted), key=str)
    if unknown:
        what = f"unknown key {unknown[0]!r}{comma_hint(unknown[0])}"
        raise TrainingError("bad_config", f"{where}: {what}; accepted: {', '.join(accepted)}")


def fits(value: Any, kind: Any, number: Callable[[Any], bool] = is_number) -> bool:
    """Whether a value is of a type as JSON knows them: text is no truth value, true and false are no numbers.

    Whole numbers may be written ``8.0``. Lists are of numbers, whole ones not asked for.

    Args:
        value: as it was given.
        kind: ``bool``, ``str``, ``dict``, ``int``, ``float``, a list or tuple, or one of several of them; what is none
            of these (an object of settings, a sequence) is for others to check, and fits.
        number: what counts as a number.
    """
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one, number) for one in get_args(kind))
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(map(number, value))
    if kind in (bool, str, dict, NoneType):
        return isinstance(value, kind)
    if kind is int:
        return number(value) and float(value).is_integer()
    return kind is not float or number(value)


def check_fields(kind: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A dictionary as a dataclass of settings takes it: known keys, numbers where numbers are wanted.

    Whole numbers may be written ``8.0``, and numbers as text (YAML reads ``1e-3`` as one).

    Raises:
        TrainingError: ``bad_config`` with the key, what it is and what is accepted.
    """
    refuse_unknown(given, (one.name for one in fields(kind)), where)
    kinds = get_type_hints(kind)
    taken = {}
    for name, value in given.items():
        wanted, value = kinds[name], plain(value)
        if wanted in (int, float) and isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)
        number = whole(value) if wanted is int else None
        if number is None if wanted is int else not fits(value, wanted, is_json_number):
            hint = "" if wanted is bool else comma_hint_of(value)
            named = "list of numbers" if get_origin(wanted) else wanted.__name__
            raise TrainingError(
                "bad_config",
                f"{where}: {name}={shown(given[name])}{hint}; a value of type {named} is needed",
            )
        taken[name] = value if number is None else number
    return taken


def plain(value: Any) -> Any:
    """Settings as JSON has them: numbers and arrays of numpy as numbers and lists, tuples as lists, paths as texts."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
