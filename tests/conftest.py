"""Shared fixtures: real data beside the repository (skipped with the reason where absent) and the shipped samples."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the repository, which may not be copied into it."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the shared data folder lies not beside this checkout")
    return path


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The small, licensed samples of this repository."""
    return ROOT / "sample_data"
