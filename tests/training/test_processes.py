"""Two processes give what one gives with the same global batch."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from medattn_core.bundles import load, load_network
from medattn_core.training.processes import GatheredNorm
from tests.squares import SETTINGS


@pytest.mark.parametrize("momentum", [0.1, None])
def test_gathered_statistics_run_as_those_of_torch(momentum: float | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    usual = torch.nn.BatchNorm2d(3, momentum=momentum).train()
    gathered = copy.deepcopy(usual)
    gathered.__class__ = type("Gathered", (GatheredNorm, torch.nn.BatchNorm2d), {})
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        for _ in range(4):
            batch = torch.rand(5, 3, 4, 4)
            torch.testing.assert_close(gathered(batch), usual(batch))
    finally:
        dist.destroy_process_group()
    for name, value in usual.state_dict().items():
        torch.testing.assert_close(gathered.state_dict()[name], value, msg=name)


def test_torchrun_with_two_processes_on_the_cpu(squares: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"epochs": 2, "augmentation": {"rotate": 10}}
    config.write_text(json.dumps(settings))
    for name in ("one", "two"):
        launcher = [sys.executable]
        if name == "two":
            with socket.socket() as free:  # just before it is used
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            launcher += ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
        command = [*launcher, "-m", "medattn_core", "train", "--data", str(squares), "--output", str(tmp_path / name)]
        command += ["--config", str(config), "--device", "cpu"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_network(load(tmp_path / name)).state_dict() for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=5e-3, atol=1e-3, msg=name)
