"""Squares to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.squares import write_squares


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """CSV of 32 PNG files, two classes, two folds."""
    return write_squares(tmp_path)
