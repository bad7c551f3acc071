"""What tests of several rooms do alike: a refusal is asked for its code, a key is set in the data of a JSON file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medattn_core.errors import MedAttnError

ABSENT = object()
"""As a value: the key is taken out."""


def refused(
    run: Callable[..., object], *given: Any, code: str, kind: type[MedAttnError] = MedAttnError, **options: Any
) -> str:
    """The message of the error with which ``run(*given, **options)`` ends, of this kind and code, in one line."""
    with pytest.raises(kind) as caught:
        run(*given, **options)
    assert caught.value.code == code, caught.value
    assert "\n" not in caught.value.message
    return caught.value.message


def setting(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """What sets a key, given with those above it, in data that are changed in place."""

    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        if value is ABSENT:
            del data[keys[-1]]
        else:
            data[keys[-1]] = value

    return change
