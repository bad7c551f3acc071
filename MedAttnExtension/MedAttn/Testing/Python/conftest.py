"""A real scene for every test, and the worker in the environment of medattn_core."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1]
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE), str(MODULE)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("MEDATTN_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
os.environ.setdefault("OMP_NUM_THREADS", "2")

from stand_ins import modules  # noqa: E402

modules.install()

from stand_ins.desk import Desk  # noqa: E402

SAMPLES = ROOT / "sample_data"
BUNDLE = "brain_tumor_t1ce"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A scene with three slice views."""
    made = Desk()
    yield made
    made.close()
