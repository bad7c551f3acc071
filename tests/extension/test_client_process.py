"""The process of the worker: that it dies, does not listen, cannot be started, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extension.conftest import MODULE, blocked, processes_of_group

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
BUNDLE = "brain_tumor_t1ce"


def script(path: Path, lines: str) -> str:
    path.write_text(lines)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@LINUX
def test_killed_in_the_middle_it_says_so_and_starts_again(drive, brain1: str) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker())
    before = one.ask("predict", path=brain1, bundle=BUNDLE)
    first = one.engine.pid
    for _ in range(5):
        answer = one.send("predict", path=brain1, bundle=BUNDLE)
        one.until(lambda answer=answer: len(answer.progress) >= 3)
        os.kill(first, signal.SIGSTOP)
        one.rest(0.1)
        if not answer.calls:
            break
        os.kill(first, signal.SIGCONT)  # it was over already: once more
    os.kill(first, signal.SIGKILL)
    answer.wait()
    assert answer.error[0] == "worker_died"
    assert "SIGKILL" in answer.error[1]
    assert "started again" in answer.error[1]
    assert one.messages == [answer.error[1]]
    old = one.send("what_if", prediction=before["prediction"], without=[]).wait()
    assert old.error[0] == "no_prediction"
    after = one.ask("predict", path=brain1, bundle=BUNDLE)
    assert one.engine.pid != first
    assert after["probabilities"] == pytest.approx(before["probabilities"], rel=0, abs=1e-6)
    assert processes_of_group(first) == []
    assert one.longest < blocked()


@LINUX
def test_one_that_dies_again_and_again_is_left_alone(drive) -> None:
    from MedAttnLib.process import MOST_DEATHS, Worker

    one = drive(Worker(warm=False))
    for count in range(1, MOST_DEATHS + 1):
        one.engine.start()
        one.until(lambda: one.engine.state == "idle")
        os.kill(one.engine.pid, signal.SIGKILL)
        one.until(lambda count=count: len(one.messages) == count)
    assert one.engine.state == "stopped"
    assert "Press Apply to start it again" in one.messages[-1]
    assert one.ask("load", bundle=BUNDLE)["bundle"]["name"] == BUNDLE


DEAF = """#!/bin/sh
exec "{python}" -c '
import json, sys, time, subprocess
number = json.loads(sys.stdin.readline())["id"]
subprocess.Popen(["sleep", "600"])
print(json.dumps({{"id": number, "type": "result", "result": {{"bundles": []}}}}), flush=True)
time.sleep(600)
'
"""


@LINUX
def test_one_that_does_not_listen_is_ended_by_force(drive, tmp_path: Path, brain1: str) -> None:
    """And so is the process that it started."""
    from MedAttnLib.process import Worker

    one = drive(Worker(script(tmp_path / "python", DEAF.format(python=sys.executable))))
    answer = one.send("predict", path=brain1)
    one.until(lambda: one.engine.hello is not None)
    one.rest(0.1)
    group = one.engine.pid
    assert len(processes_of_group(group)) == 2
    begin = time.monotonic()
    one.engine.cancel()
    one.until(lambda: not one.engine.busy)
    seconds = time.monotonic() - begin
    print(f"ended by force after {seconds:.2f} s")
    assert seconds < 1.0
    assert answer.error[0] == "cancelled"
    one.until(lambda: processes_of_group(group) == [], patience=1)
    one.until(lambda: one.engine.state == "idle")
    assert one.longest < blocked()


@LINUX
@pytest.mark.parametrize("front", ["exec", ""], ids=["replaced", "kept"])
def test_a_launcher_in_front_of_python(drive, tmp_path: Path, front: str) -> None:
    """As PythonSlicer is: the process that was started is not the one that works."""
    from MedAttnLib.process import Worker

    launcher = script(tmp_path / "PythonSlicer", f'#!/bin/sh\n{front} "{sys.executable}" "$@"\nexit $?\n')
    one = drive(Worker(launcher))
    one.ask("load", bundle=BUNDLE)
    group = one.engine.pid
    assert len(processes_of_group(group)) == (1 if front else 2)
    folder = one.engine.folder
    one.engine.stop()
    assert processes_of_group(group) == []
    assert not folder.exists()
    assert one.engine.state == "stopped"


def test_what_cannot_be_started_is_said(drive, tmp_path: Path) -> None:
    from MedAttnLib.process import Worker

    missing = drive(Worker(str(tmp_path / "no_python")))
    answer = missing.send("load", bundle=BUNDLE).wait()
    assert answer.error[0] == "worker_unavailable"
    assert "no_python" in answer.error[1]
    assert missing.engine.state == "stopped"

    ends = drive(Worker(script(tmp_path / "ends", "#!/bin/sh\nexit 3\n")))
    failed = []
    ends.engine.start(failed=lambda code, message: failed.append((code, message)))
    answer = ends.send("load", bundle=BUNDLE).wait()
    assert answer.error[0] == "worker_unavailable"
    assert "exit status 3): it said nothing." in answer.error[1]
    assert failed == [answer.error]

    speaks = "#!/bin/sh\necho 'Traceback:' >&2\necho 'ImportError: no libgomp.so.1' >&2\nexit 1\n"
    answer = drive(Worker(script(tmp_path / "speaks", speaks))).send("load", bundle=BUNDLE).wait()
    assert answer.error[1].endswith("did not start (exit status 1): ImportError: no libgomp.so.1")
    assert str(tmp_path / "speaks") in answer.error[1]


def test_a_python_without_the_packages(drive, tmp_path: Path) -> None:
    """The same interpreter without its site-packages, as Slicer's Python is before the installation."""
    from MedAttnLib.process import Worker

    bare = drive(Worker(script(tmp_path / "bare", f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')))
    answer = bare.send("load", bundle=BUNDLE).wait()
    assert answer.error[0] == "missing_dependency"
    assert "numpy" in answer.error[1]
    assert bare.engine.state == "stopped"

    other = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module('medattn_core_of_another_name')"
    without = drive(Worker(script(tmp_path / "without", f'#!/bin/sh\nexec "{sys.executable}" -c "{other}"\n')))
    answer = without.send("load", bundle=BUNDLE).wait()
    assert answer.error[0] == "worker_unavailable"
    assert "medattn_core_of_another_name is not installed" in answer.error[1]


def test_another_protocol_is_said(drive, monkeypatch: pytest.MonkeyPatch) -> None:
    from MedAttnLib import process

    monkeypatch.setattr(process, "PROTOCOL", 2)
    one = drive(process.Worker())
    answer = one.send("load", bundle=BUNDLE).wait()
    assert answer.error[0] == "version_mismatch"
    assert "protocol 2" in answer.error[1]
    assert one.engine.state == "stopped"


def test_stop_ends_what_is_under_way(drive, brain1: str) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker())
    answer = one.send("predict", path=brain1, bundle=BUNDLE)
    one.until(lambda: one.engine.hello is not None)
    folder, group = one.engine.folder, one.engine.pid
    one.engine.stop()
    assert answer.error[0] == "cancelled"
    assert not folder.exists()
    if Path("/proc").is_dir():
        assert processes_of_group(group) == []


@LINUX
@pytest.mark.parametrize("how", ["falls off the end", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_client_that_forgets_to_stop_leaves_nothing(tmp_path: Path, how: str) -> None:
    code = (
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(MODULE)!r})\n"
        "from MedAttnLib.process import Worker\n"
        "one = Worker(); one.start()\n"
        "while one.hello is None: one.poll(); time.sleep(0.01)\n"
        "print(one.pid, one.folder, flush=True)\n" + ("" if how.startswith("falls") else how)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    group, folder = done.stdout.split()
    end = time.monotonic() + 5
    while (processes_of_group(int(group)) or Path(folder).exists()) and time.monotonic() < end:
        time.sleep(0.02)
    assert processes_of_group(int(group)) == []
    assert not Path(folder).exists()
    assert done.stderr == ""


def test_files_stay_in_the_folder(drive) -> None:
    from MedAttnLib.process import Worker

    engine = drive(Worker()).engine
    path = Path(engine.file("scan.nrrd"))
    assert path.parent.is_dir()
    assert path.parent.name.startswith("medattn-")
    for name in ("", "..", "a/b", "../x"):
        with pytest.raises(ValueError, match="plain name"):
            engine.file(name)


def test_the_python_of_the_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from MedAttnLib import launch

    monkeypatch.delenv(launch.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.python_executable() == sys.executable
    slicer = script(tmp_path / "PythonSlicer", "#!/bin/sh\n")
    assert launch.python_executable() == slicer
    monkeypatch.setenv(launch.PYTHON_VARIABLE, "another_python")
    assert launch.python_executable() == "another_python"
    assert launch.python_executable("given") == "given"


def test_the_environment_of_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 3D Slicer sets for its own Python would break every other."""
    from MedAttnLib import launch

    monkeypatch.setenv("PYTHONHOME", "slicer")
    monkeypatch.setenv("PYTHONPATH", "slicer")
    monkeypatch.setenv("LD_LIBRARY_PATH", "slicer")
    other = launch.environment("python3.12", paths=["more"], variables={"X": "1"})
    assert {"PYTHONHOME", "LD_LIBRARY_PATH"} & set(other) == set()
    assert other["PYTHONPATH"].split(os.pathsep)[0] == "more"
    assert "slicer" not in other["PYTHONPATH"].split(os.pathsep)
    assert (other["PYTHONUTF8"], other["X"]) == ("1", "1")
    own = launch.environment(str(Path("bin") / "PythonSlicer"))
    assert own["PYTHONHOME"] == "slicer"
    assert own["PYTHONPATH"].split(os.pathsep)[-1] == "slicer"
