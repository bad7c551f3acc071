"""Settings as people write them, in JSON and YAML, against the types that a dataclass or a function states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from medattn_core import tasks
from medattn_core.errors import TrainingError


def refuse_unknown(given: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    """Only keys that there are.

    Raises:
        TrainingError: ``bad_config`` with the first of the others, in the order of the alphabet, and what is accepted.
    """
    accepted = list(known)
    unknown = sorted(set(given) - set(accepted), key=str)
    if unknown:
        what = f"unknown key {unknown[0]!r}{tasks.comma_hint(unknown[0])}"
        raise TrainingError("bad_config", f"{where}: {what}; accepted: {', '.join(accepted)}")


def fits(value: Any, kind: Any, number: Callable[[Any], bool] = tasks.is_number) -> bool:
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
