"""Shared fixtures: real data beside the repository (skipped with the reason where absent) and the shipped samples."""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # whichever tests run: sums of several threads depend on their number
# Beside hypothesis' own profile of CI: examples are found anew, and a busy machine is no fault of them.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "CI" not in os.environ:
    settings.load_profile("here")

Write = Callable[[str, Any], Path]

ROOT = Path(__file__).resolve().parents[1]

WHOLE = ("interop",)
"""Rooms whose files share what takes long to make."""
TOGETHER = {"test_client_process.py": "test_client.py"}
"""Files that run in the process of another: times are taken there, and theirs are the processes that would disturb."""


def _seed(name: str) -> None:
    """The name's own state of every global generator: networks of two names differ, those of one never do."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> None:
    """A fixture that many tests share begins alike, whichever of them comes first in this process."""
    if fixturedef.scope != "function":
        _seed(f"{fixturedef.baseid}::{fixturedef.argname}[{getattr(request, 'param_index', 0)}]")


@pytest.fixture(autouse=True)
def _same_chance(request: pytest.FixtureRequest) -> None:
    """Each test draws the same numbers in every run, alone or after others: what fails, fails again."""
    _seed(request.node.nodeid)


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
