"""Who hears of the text of a foreign error, which may quote a header: those who ask for it, and nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAILS = """
import logging, sys
from medattn_core.evaluation import Settings, evaluate
from medattn_core.evaluation.saliency import PEERS

def fails(x, label):
    raise RuntimeError("patient Anna")

PEERS["occlusion"] = lambda network: fails
bundle, data, output = sys.argv[1:]
"""
OF_PYTHON = """
settings = Settings(compare=("occlusion",), compared_cases=1, bootstrap=0, examples=0)
found = evaluate(bundle, data, output, settings=settings, device="cpu")
assert [error["code"] for error in found["map_errors"]] == ["internal"]
"""
OF_COMMAND = """
from medattn_core import cli
options = ["--compare", "occlusion", "--compared-cases", "1", "--bootstrap", "0", *{more}]
cli.app(["evaluate", bundle, "--data", data, "--output", output, *options])
"""


@pytest.mark.parametrize(
    ("code", "heard"),
    [
        (OF_PYTHON, False),
        (f"logging.basicConfig()\n{OF_PYTHON}", True),
        (OF_COMMAND.format(more=[]), False),
        (OF_COMMAND.format(more=["--verbose"]), True),
    ],
    ids=("python", "python that logs", "command", "verbose command"),
)
def test_a_foreign_error_is_heard_by_who_asks(
    trained: tuple[Path, Path], folds: tuple[Path, Path], tmp_path: Path, code: str, heard: bool
) -> None:
    # A process of its own: pytest handles what is logged here, so that Python does not print it.
    command = [sys.executable, "-c", FAILS + code, *map(str, (trained[0], folds[1], tmp_path / "out"))]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("patient Anna" in ran.stderr) == heard
    assert ran.stderr.count("unexpected error") == heard
    assert ("Traceback" in ran.stderr) == heard
    assert "Anna" not in ran.stdout
