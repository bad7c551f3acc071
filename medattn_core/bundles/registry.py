"""The bundles that come with the package."""

from __future__ import annotations

from medattn_core.bundles.bundle import Bundle
from medattn_core.bundles.load import load, shipped_names


def list_bundles() -> list[Bundle]:
    """All shipped bundles, checked, by name.

    Raises:
        BundleError: a shipped bundle is damaged: the installation is broken, which a list must not hide.
    """
    return [load(name) for name in shipped_names()]
