"""A batch outlives each of its scans; an export stays in its folder, whatever it is called."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from conftest import ROOT, SAMPLES
from MedAttnLib import exchange, nodes, results
from MedAttnLib.steps import TaskError
from stand_ins import drive
from stand_ins.desk import Desk

NAMES = (
    *("scan", "brain 1", "T1/contrast", "../up", "a:b*", "///", "..", "._-x-_.", "nul", "COM1.x", "Scha\u0308del 脳"),
    *("é" * 100, "a" * 119 + "._-" + "b" * 9, "tab\tline\n", "C:\\x"),
)


def test_names_are_those_of_the_core() -> None:
    code = (
        "import json, sys; from medattn_core.volumes.filenames import clean_name; "
        "print(json.dumps([clean_name(name) for name in json.load(sys.stdin)]))"
    )
    command = [os.environ["MEDATTN_PYTHON"], "-c", code]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, input=json.dumps(NAMES)).stdout
    assert [results.clean_name(name) for name in NAMES] == json.loads(told)


def test_an_export_stays_in_its_folder_and_keeps_the_earlier_one(logic: Any, brain: Any, tmp_path: Path) -> None:
    drive.apply(logic, brain)
    for number, name in enumerate(("T1/contrast", "../up", "a:b*")):
        chosen, clean = tmp_path / str(number), results.clean_name(name)
        for folder in (chosen, chosen / f"{clean}_export_2"):
            files = drive.finish(
                logic,
                lambda name=name, chosen=chosen, **ends: logic.export(
                    brain, str(chosen), name, nrrd=True, report=False, **ends
                ),
            )
            assert {Path(path).parent for path in files.values()} == {folder}
            assert Path(files["evidence_nrrd"]).name == f"{clean}_evidence.nrrd"
            assert all(Path(path).is_file() for path in files.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"], "nothing beside the chosen folders"


def rows(table: Any) -> list[str]:
    """Each row of a batch table as one text."""
    columns = range(table.GetNumberOfColumns())
    return ["|".join(table.GetCellText(row, column) for column in columns) for row in range(table.GetNumberOfRows())]


@pytest.fixture
def hollow(desk: Desk) -> Any:
    """A volume that was cropped to nothing."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName("hollow")
    node.SetAndObserveImageData(vtk.vtkImageData())
    return desk.scene.AddNode(node)


def test_a_volume_without_voxels_is_no_scan(desk: Desk, logic: Any, hollow: Any, brain: Any) -> None:
    assert nodes.scans(desk.scene) == [brain]
    with pytest.raises(TaskError, match="no volume with voxels"):
        logic.check(hollow)
    first, second = rows(drive.finish(logic, lambda **ends: logic.run_batch([hollow, brain], drive.BUNDLE, **ends)))
    assert "[bad_argument] no volume with voxels" in first
    assert "glioma" in second


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "[unwritable] the scan cannot be handed over: its temporary file"),
        (RuntimeError("Doe^John"), "[internal] RuntimeError"),
    ],
)
def test_one_scan_does_not_end_the_batch(
    desk: Desk, logic: Any, brain: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    write, second = exchange.write_scan_steps, desk.load(SAMPLES / "brain2_image.nrrd", "brain2")
    errors = [error]

    def failing_once(*arguments: Any) -> Iterator[float]:
        if errors:
            raise errors.pop()
        yield from write(*arguments)

    monkeypatch.setattr(exchange, "write_scan_steps", failing_once)
    bad, good = rows(drive.finish(logic, lambda **ends: logic.run_batch([second, brain], drive.BUNDLE, **ends)))
    assert told in bad
    assert "Doe" not in bad
    assert "glioma" in good


def test_a_batch_is_still_cancelled(desk: Desk, logic: Any) -> None:
    flat = desk.volume(np.full((5, 64, 64), 7, np.int16), np.eye(4), "flat")
    ended: list[str] = []
    logic.run_batch([flat, flat], drive.BUNDLE, done=ended.append, failed=lambda code, message: ended.append(code))
    logic.poll()
    logic.cancel()
    assert ended == ["cancelled"]
    assert not logic.working
