"""Translation of user texts, also where the library runs outside 3D Slicer (its own tests, a script)."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        """The text as it is."""
        return text


__all__ = ["_"]
