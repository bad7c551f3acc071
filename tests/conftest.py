"""Shared fixtures: real data beside the repository (skipped with the reason where absent) and the shipped samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, Any], Path]

ROOT = Path(__file__).resolve().parents[1]

WHOLE = ("interop",)
"""Rooms whose files share what takes long to make."""
TOGETHER = {"test_client_process.py": "test_client.py"}
"""Files that run in the process of another: times are taken there, and theirs are the processes that would disturb."""


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


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a data list beside the (empty) files a.nii, b.nii, c.nii and m.nii."""
    for name in "abcm":
        (tmp_path / f"{name}.nii").touch()

    def _write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return _write


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where pytest-xdist runs several processes: files stay whole, and rooms whose fixtures take long, too."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        room = item.path.parent
        whole = room if room.name in WHOLE else room / TOGETHER.get(item.path.name, item.path.name)
        item.add_marker(pytest.mark.xdist_group(str(whole)))
