"""Kill -9 at any moment: the run goes on, ends in the same weights, and no half bundle ever bears the final name."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medattn_core.bundles import load, load_network
from tests.squares import SETTINGS

EPOCHS = 12


def start(squares: Path, output: Path, config: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "medattn_core", "train", "--data", str(squares), "--output", str(output)]
    command += ["--config", str(config), "--resume", "--device", "cpu"]
    with output.with_suffix(".err").open("wb") as said:  # a pipe that nobody reads would stop it when full
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def said(output: Path) -> str:
    """What the training into this folder said last."""
    return output.with_suffix(".err").read_text(encoding="utf-8")


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(squares: Path, tmp_path: Path, kills: int) -> None:
    config = tmp_path / "config.json"
    settings = {**SETTINGS, "training": {**SETTINGS["training"], "epochs": EPOCHS}}
    config.write_text(json.dumps(settings))
    began = time.monotonic()
    process = start(squares, tmp_path / "whole", config)
    assert process.wait(300) == 0, said(tmp_path / "whole")
    usual = time.monotonic() - began
    whole = load_network(load(tmp_path / "whole")).state_dict()
    moments = random.Random(0)
    done, rounds = 0, 0
    while done < kills:
        # Another folder after each run that came to its end, so that kills fall on every part of one, the last too.
        folder = tmp_path / f"killed{rounds}"
        began = time.monotonic()
        process = start(squares, folder, config)
        try:
            process.wait(moments.uniform(0.2, 1.05) * usual)
            assert process.returncode == 0, said(folder)
            check(folder, whole)
            rounds += 1
            usual = min(usual, max(time.monotonic() - began, 0.5 * usual))  # the first may have been a slow one
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        if folder.exists():
            load(folder)  # complete, every hash right
    process = start(squares, folder, config)
    assert process.wait(300) == 0, said(folder)
    check(folder, whole)


def check(folder: Path, whole: dict[str, torch.Tensor]) -> None:
    """The bundle of an interrupted run is that of the uninterrupted one, and nothing else is left."""
    for name, value in load_network(load(folder)).state_dict().items():
        assert torch.equal(value, whole[name]), name
    assert not folder.with_name(f"{folder.name}.training").exists()
