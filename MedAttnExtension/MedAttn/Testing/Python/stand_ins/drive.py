"""Make the logic work until it is done, as the timer of the panel would, and look at the clock meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

BUNDLE = "brain_tumor_t1ce"


class Failed(Exception):
    """The logic said that it could not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"[{code}] {message}")
        self.code = code
        self.message = message


def finish(logic: Any, start: Callable[..., None], *, timeout_s: float = 120.0) -> Any:
    """Start something and poll until it is done.

    Raises:
        Failed: it failed, with its code and message.
    """
    ended: dict[str, Any] = {}
    start(
        done=lambda result: ended.update(result=result),
        failed=lambda code, message: ended.update(error=(code, message)),
    )
    until(logic, lambda: bool(ended), timeout_s=timeout_s)
    if "error" in ended:
        raise Failed(*ended["error"])
    return ended["result"]


def until(logic: Any, condition: Callable[[], bool], *, timeout_s: float = 120.0) -> None:
    """Poll until something holds."""
    end = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end, "it took too long"
        logic.poll()
        time.sleep(0.004)


def apply(logic: Any, volume: Any, **options: Any) -> Any:
    """Predict a volume with the shipped bundle and wait for the finding."""
    return finish(logic, lambda **ends: logic.apply(volume, BUNDLE, **options, **ends))


def command_line(inputs: list[Path], output: Path, *options: str) -> list[dict[str, Any]]:
    """What ``medattn predict`` says of files, in another process and environment."""
    command = [os.environ["MEDATTN_PYTHON"], "-m", "medattn_core", "predict", *map(str, inputs)]
    subprocess.run(
        [*command, "--bundle", BUNDLE, "--output", str(output), *options],
        check=True,
        capture_output=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    )
    return json.loads((output / "predictions.json").read_text(encoding="utf-8"))


def write_with_slicer(node: Any, path: Path) -> Path:
    """A volume as file through Slicer's own writer: the geometry takes no way of ours."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    node.GetScene().AddNode(storage)
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    assert storage.WriteData(node)
    node.GetScene().RemoveNode(storage)
    return path


def matrix_of(node: Any) -> np.ndarray:
    """IJK to RAS, through Slicer."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def memory_mib() -> float:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
