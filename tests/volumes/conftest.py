"""The small files of this room stand for large ones."""

from __future__ import annotations

import pytest

from medattn_core.volumes import payload


@pytest.fixture(autouse=True)
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are unpacked another way than small ones, which test_payload.py has too."""
    monkeypatch.setattr(payload, "_SMALL", 0)
