"""The module as the application holds it: entered and left, set up and reloaded."""

from __future__ import annotations

import importlib
import sys
import types
import weakref
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import overlay
from PySide6.QtCore import QTimer
from stand_ins import application, drive
from stand_ins.desk import Desk
from stand_ins.shell import Shell


def test_entries_leave_nothing_behind(shell: Shell) -> None:
    """One object and one connection at a time, and no observer more than before."""
    shell.widget.enter()
    node = shell.widget.logic.getParameterNode()
    before = str(node).count("vtkCommand")
    calls: list[Any] = []
    for _ in range(4):
        before_exit = weakref.ref(shell.parameters)
        shell.widget.exit()
        shell.widget.enter()
        assert before_exit() is None, "it would observe the node for as long as it lives"
        shell.widget.enter()
    first = shell.parameters
    assert str(node).count("vtkCommand") == before
    tag = node.AddObserver("ModifiedEvent", lambda *_: calls.append(None))
    shell.ui.exportName.text = "case8"
    assert (first.export_name, len(calls)) == ("case8", 1)
    node.RemoveObserver(tag)
    first.export_name = "case9"
    assert shell.ui.exportName.text == "case9"


def fresh(desk: Desk, entered: bool) -> Any:
    """The widget of the module, not set up; and no worker that could start."""
    application.install(desk)
    sys.modules.pop("MedAttn", None)
    file = importlib.import_module("MedAttn")
    return file.MedAttnWidget(types.SimpleNamespace(isEntered=entered))


@pytest.mark.parametrize("entered", [False, True])
def test_setup_enters_only_a_module_that_is_entered(desk: Desk, entered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The application calls enter() after the first setup(); it does not after a reload."""
    widget, calls = fresh(desk, entered), []
    monkeypatch.setattr(widget, "enter", lambda: calls.append(None))
    widget.setup()
    assert len(calls) == int(entered)
    widget.cleanup()


def test_cleanup_and_reload_after_a_setup_that_failed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedAttnLib import panel

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no panel")

    widget = fresh(desk, True)
    widget.cleanup()
    monkeypatch.setattr(panel, "Panel", broken)
    with pytest.raises(RuntimeError, match="no panel"):
        widget.setup()
    widget.enter()
    widget.exit()
    widget.cleanup()
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "MedAttnLib"}
    try:
        widget.onReload()
    finally:
        sys.modules.update(kept)


def test_the_test_of_the_application_needs_what_is_installed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A build farm has no torch: the test says what is missing, and touches neither the scene nor the network."""
    from MedAttnLib import installation, launch

    fresh(desk, False)
    file = sys.modules["MedAttn"]
    ran: list[str] = []
    monkeypatch.setattr(file.MedAttnTest, "setUp", lambda self: ran.append("scene"))
    monkeypatch.setattr(file.MedAttnTest, "test_sample", lambda self: ran.append("sample"))
    monkeypatch.setattr(installation, "known_plan", lambda: installation.Plan(torch="torch>=2.6", packages=("monai",)))
    monkeypatch.delenv(launch.PYTHON_VARIABLE)
    file.MedAttnTest().runTest()
    assert ran == []
    assert capsys.readouterr().out == "MedAttnTest: SKIPPED, not installed: torch>=2.6; monai\n"
    monkeypatch.setattr(installation, "known_plan", installation.Plan)
    file.MedAttnTest().runTest()
    assert ran == ["scene", "sample"]


def test_fitting_keeps_an_oblique_view(desk: Desk) -> None:
    """The field of view is that of the scan, the orientation that of the user: also in an oblique scan."""
    tilt = np.deg2rad(20)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    scan = desk.volume(np.zeros((20, 30, 40), np.int16), matrix @ np.diag([2.0, 2.0, 2.0, 1.0]))
    for composite in overlay.composites(desk.scene):
        composite.SetBackgroundVolumeID(scan.GetID())
    for name, logic in desk.slices.items():
        node = logic.GetSliceNode()
        node.SetSliceToRASByNTP(0.3, 0.2, 0.9, 0.8, 0.1, -0.3, 0.0, 0.0, 0.0, 0)
        node.SetFieldOfView(1.0, 1.0, 1.0)
        before = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :3].copy()
        overlay.fit_views()
        assert np.allclose(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :3], before), name
        assert min(node.GetFieldOfView()[:2]) > 40


def test_fitting_where_the_function_takes_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    logic = types.SimpleNamespace(FitSliceToAll=lambda: calls.append("fit"))
    monkeypatch.setattr(slicer, "app", types.SimpleNamespace(applicationLogic=lambda: logic), raising=False)
    overlay.fit_views()
    assert calls == ["fit"]


# --- what the application and scripts call


def test_cleanup_leaves_no_process_no_observer_and_no_timer(desk: Desk) -> None:
    from MedAttnLib.process import Worker

    own = Worker()
    shell = Shell(desk, own)
    scene, node = desk.scene, shell.widget.logic.getParameterNode()
    desk.load(SAMPLES / "brain1_image.nrrd", "brain1")
    shell.apply()
    folder, pid = own.folder, own.pid
    assert shell.app.slots["aboutToQuit()"]
    assert shell.panel._timer.isActive()
    assert shell.widget.Observations
    shell.widget.cleanup()
    assert not own.running
    assert not drive.alive(pid)
    assert not folder.exists()
    assert shell.app.slots["aboutToQuit()"] == []
    assert not any(timer.isActive() for timer in (shell.panel._timer, shell.panel._later))
    assert not shell.widget.Observations
    assert (shell.panel._observed, shell.panel._scan_observed, shell.panel.question._painted) == ([], [], [])
    shell.detach()
    before = (str(node).count("vtkCommand"), str(scene).count("vtkCommand"))
    again = Shell(desk, Worker())
    again.widget.cleanup()
    again.detach()
    assert (str(node).count("vtkCommand"), str(scene).count("vtkCommand")) == before


@pytest.mark.parametrize("answer", [True, False])
def test_ready_asks_before_anything_is_installed(
    shell: Shell, brain: Any, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    """Declined, nothing is predicted; installed, the worker of before is ended, for it would not see what is new."""
    from MedAttnLib import installation, launch

    plan = installation.Plan(packages=("nibabel>=5.2",), megabytes=4.0)
    asked: list[str] = []
    installed: list[list[str]] = []

    def pip(arguments: list[str]) -> None:
        installed.append(arguments)
        monkeypatch.setattr(installation, "known_plan", installation.Plan)

    doors = installation.Doors(lambda text: (asked.append(text), answer)[1], lambda version: True, pip)
    shell.widget.enter()
    monkeypatch.setattr(installation, "known_plan", lambda: plan)
    monkeypatch.setattr(installation, "slicer_doors", lambda: doors)
    monkeypatch.delenv(launch.PYTHON_VARIABLE)
    assert shell.widget.show_installation()
    assert "nibabel" in shell.ui.setupLabel.text
    assert not shell.ui.setupSection.collapsed
    stops: list[bool] = []
    stop = shell.work.stop
    monkeypatch.setattr(shell.work, "stop", lambda: (stops.append(True), stop()))
    shell.ui.setupButton.click()
    assert len(asked) == 1
    assert "nibabel>=5.2" in asked[0]
    assert len(installed) == len(stops) == int(answer)
    assert shell.ui.setupButton.enabled != answer
    if not answer:
        shell.ui.applyButton.click()
        assert len(asked) == 2, "asked again, at Apply"
        assert not shell.work.working
        assert installed == []


def test_an_installation_that_fails_is_a_line_in_the_panel(
    shell: Shell, brain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedAttnLib import installation, launch

    shell.widget.enter()
    monkeypatch.setattr(installation, "known_plan", lambda: installation.Plan(problems=("No room on the disk.",)))
    monkeypatch.delenv(launch.PYTHON_VARIABLE)
    shell.ui.applyButton.click()
    assert shell.ui.statusLabel.text == "No room on the disk."
    assert not shell.work.working


def test_a_script_waits_with_the_window_alive(shell: Shell, brain: Any) -> None:
    """As in the README; the time that is given is kept to."""
    logic, found, beats = shell.widget.logic, [], []
    timer = QTimer()
    timer.setInterval(0)
    timer.timeout.connect(lambda: beats.append(None))
    timer.start()
    logic.work.apply(brain, "brain_tumor_t1ce", done=found.append)
    with pytest.raises(TimeoutError, match="not finished in time"):
        logic.wait(timeout_s=0.0)
    assert not found
    logic.wait()
    timer.stop()
    assert found[0].result["label"] == "glioma"
    assert not logic.work.working
    assert len(beats) > 10
