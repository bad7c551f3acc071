"""A real scene for every test, and the worker in the environment of medattn_core."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1]
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE), str(MODULE)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("MEDATTN_PYTHON", str(ROOT / ".venv" / "bin" / "python"))

from stand_ins import modules  # noqa: E402

modules.install()

from stand_ins import widgets  # noqa: E402

widgets.install()

from stand_ins.desk import Camera, Desk  # noqa: E402
from stand_ins.shell import Shell  # noqa: E402

SAMPLES = ROOT / "sample_data"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A scene with three slice views."""
    made = Desk()
    yield made
    made.close()


@pytest.fixture
def camera(desk: Desk) -> Iterator[Camera]:
    """Off-screen pictures of the slice views. Before any data: displayable managers look at what is added."""
    made = Camera(desk)
    yield made
    made.close()


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """One worker process for all tests that do not end it."""
    from MedAttnLib.process import Worker

    made = Worker()
    yield made
    made.stop()


@pytest.fixture
def logic(desk: Desk, engine: Any) -> Iterator[Any]:
    """The logic on the scene of the desk."""
    from MedAttnLib.logic import MedAttnLogic

    made = MedAttnLogic(engine)
    yield made
    made.cancel()


@pytest.fixture
def brain(desk: Desk) -> Any:
    """The sample volume, read by Slicer."""
    return desk.load(SAMPLES / "brain1_image.nrrd", "brain1")


@pytest.fixture
def shell(desk: Desk, engine: Any) -> Iterator[Shell]:
    """The module as the application holds it, with the worker of all tests."""
    made = Shell(desk, engine)
    yield made
    made.close()
