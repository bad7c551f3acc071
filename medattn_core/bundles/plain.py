"""Data that stays data where it stands in a configuration of MONAI, which runs code."""

from __future__ import annotations

from typing import Any

from medattn_core.values import would_be_code


def would_be_evaluated(data: Any) -> str | None:
    """The first text or key in data that MONAI would not take as data, if the data stood in a configuration."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str) or key.startswith(("_", "$", "@", "%", "+")) or "#" in key or "::" in key:
                return repr(key)
            if (found := would_be_evaluated(value)) is not None:
                return found
        return None
    if isinstance(data, (list, tuple)):
        return next((found for value in data if (found := would_be_evaluated(value)) is not None), None)
    return repr(data[:60]) if isinstance(data, str) and would_be_code(data) else None
