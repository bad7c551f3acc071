"""The client that runs in the main thread of 3D Slicer, against a real worker."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extension.conftest import MODULE, Drive, processes_of_group
from tests.worker.conftest import overload

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
BUNDLE = "brain_tumor_t1ce"


def blocked() -> float:
    """Seconds that the main thread may be kept at most: 0.05, and more where others wait for the processors too.

    What is waited for in a restart is that the new process gets its first turn; our own work in it takes 0.5 ms.
    """
    return 0.05 * overload()


@pytest.fixture(scope="module")
def warm() -> Drive:
    """One worker with the model loaded, for the tests of this file that leave it whole."""
    from MedAttnLib.process import Worker

    one = Drive(Worker())
    one.ask("load", bundle=BUNDLE)
    yield one
    one.engine.stop()


def script(path: Path, lines: str) -> str:
    path.write_text(lines)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_first_result_and_what_if_never_block_the_main_thread(warm: Drive, brain1: str) -> None:
    warm.longest = 0.0
    begin = time.perf_counter()
    answer = warm.send("predict", path=brain1, bundle=BUNDLE, evidence=warm.engine.file("map.nii"), name="scan").wait()
    first = time.perf_counter() - begin
    assert answer.result["label"] == "glioma"
    assert len(answer.progress) >= 4
    times = []
    for without in ([1], [], [1], []):
        begin = time.perf_counter()
        told = warm.ask("what_if", prediction=answer.result["prediction"], without=without)
        times.append(time.perf_counter() - begin)
    assert told["probabilities"] == answer.result["probabilities"]
    print(f"first result {first:.2f} s, what-if {max(times) * 1000:.0f} ms, longest poll {warm.longest * 1000:.1f} ms")
    assert first < 5.0 * overload()
    assert max(times) < 0.2 * overload()
    assert warm.longest < blocked()


def test_both_engines_say_the_same(warm: Drive, drive, brain1: str, tmp_path: Path) -> None:
    from MedAttnLib.process import LocalEngine

    local = drive(LocalEngine())
    told = []
    for one in (warm, local):
        result = one.ask("predict", path=brain1, bundle=BUNDLE, name="scan", evidence=one.engine.file("map.nii"))
        answers = [one.ask("what_if", prediction=result["prediction"], without=[1])]
        answers.append(one.ask("regions", prediction=result["prediction"], label="pituitary"))
        answers.append(
            one.ask("evidence", prediction=result["prediction"], path=one.engine.file("o.nii"), against="glioma")
        )
        errors = []
        for kind, fields in (
            ("predict", {"path": brain1 + "x", "name": "scan"}),
            ("what_if", {"prediction": "old", "without": []}),
            ("what_if", {"prediction": result["prediction"]}),
            ("fly", {}),
        ):
            errors.append(one.send(kind, **fields).wait().error)
        told.append((one.engine.hello, result, answers, errors))
    (hello, result, answers, errors), (hello2, result2, answers2, errors2) = told
    assert hello["bundles"] == hello2["bundles"]
    assert set(result) == set(result2)
    assert result["probabilities"] == pytest.approx(result2["probabilities"], rel=0, abs=1e-6)
    assert [set(one) for one in answers] == [set(one) for one in answers2]
    assert answers[0]["probabilities"] == pytest.approx(answers2[0]["probabilities"], rel=0, abs=1e-6)
    assert [one[0] for one in errors] == [one[0] for one in errors2]
    assert [one[0] for one in errors] == ["not_found", "no_prediction", "bad_request", "bad_request"]


def test_states_are_told(drive, brain1: str) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker())
    assert one.engine.state == "stopped"
    greeted = []
    begin = time.perf_counter()
    one.engine.start(done=greeted.append)
    assert time.perf_counter() - begin < blocked()
    assert one.engine.state == "starting"
    one.until(lambda: bool(greeted))
    one.until(lambda: one.engine.state == "idle")
    one.engine.start(done=greeted.append)  # a second start only tells again
    one.until(lambda: len(greeted) == 2)
    assert greeted[0] == greeted[1]
    one.send("load", bundle=BUNDLE).wait()
    one.engine.stop()
    assert one.states == ["starting", "idle", "busy", "idle", "stopped"]


@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_cancel_at_random_moments(warm: Drive, brain1: str, moments: int) -> None:
    rng, times = random.Random(moments), []
    before = warm.ask("predict", path=brain1, bundle=BUNDLE)
    for _ in range(moments):
        answer = warm.send("predict", path=brain1, bundle=BUNDLE)
        warm.rest(rng.uniform(0, before["timings_s"]["total"]))
        begin = time.monotonic()
        warm.engine.cancel()
        warm.until(lambda: not warm.engine.busy)
        times.append(time.monotonic() - begin)
        assert answer.calls == 1
        assert answer.result is not None or answer.error[0] == "cancelled"
    print(f"not busy again after at most {max(times):.3f} s")
    assert max(times) < 1.0
    after = warm.ask("predict", path=brain1, bundle=BUNDLE)
    assert after["probabilities"] == pytest.approx(before["probabilities"], rel=0, abs=1e-6)


def test_cancel_before_the_greeting(drive, brain1: str) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker())
    answer = one.send("predict", path=brain1, bundle=BUNDLE)
    one.engine.cancel()
    assert one.until(lambda: answer.calls > 0) < 1.0
    assert answer.error[0] == "cancelled"
    assert not one.engine.busy
    assert one.ask("load", bundle=BUNDLE)["bundle"]["name"] == BUNDLE


@LINUX
def test_killed_in_the_middle_it_says_so_and_starts_again(drive, brain1: str) -> None:
    from MedAttnLib.process import Worker

    one = drive(Worker())
    before = one.ask("predict", path=brain1, bundle=BUNDLE)
    first = one.engine.pid
    answer = one.send("predict", path=brain1, bundle=BUNDLE)
    one.until(lambda: len(answer.progress) >= 3)
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
    assert "exit status 3" in answer.error[1]
    assert failed == [answer.error]


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


def test_a_callback_that_raises_costs_no_other_its_call(warm: Drive) -> None:
    def wrong(result: dict) -> None:
        raise RuntimeError("a fault of the caller")

    warm.engine.request("cancel", done=wrong)
    others = [warm.send("cancel") for _ in range(3)]
    time.sleep(0.3)  # so that all answers come in one part
    with pytest.raises(RuntimeError, match="a fault of the caller"):
        warm.until(lambda: False, patience=5)
    for one in others:
        one.wait()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scan that takes longer to read and to resample than a cancel may: 384 x 384 x 256 voxels."""
    import numpy as np
    from MedAttnLib.exchange import write_scan

    path = tmp_path_factory.mktemp("large") / "large.nrrd"
    k, j, i = np.ogrid[-1:1:256j, -1:1:384j, -1:1:384j]
    head = (np.sqrt(i**2 + j**2 + k**2) < 0.9) * 400.0
    write_scan(
        path,
        (head + np.random.default_rng(0).integers(0, 50, head.shape)).astype(np.int16),
        np.diag([0.6, 0.6, 0.7, 1]),
    )
    return str(path)


def test_cancel_in_a_stage_that_cannot_be_interrupted(warm: Drive, large: str, brain1: str) -> None:
    """Where the worker does not answer in time it is ended and started again; the window never waits."""
    warm.longest, first = 0.0, warm.engine.pid
    times = []
    for moment in (0.15, 0.4, 0.8):
        warm.ask("load", bundle=BUNDLE)
        answer = warm.send("predict", path=large, bundle=BUNDLE)
        warm.rest(moment)
        begin = time.monotonic()
        warm.engine.cancel()
        warm.until(lambda: not warm.engine.busy)
        times.append(time.monotonic() - begin)
        assert answer.error[0] == "cancelled"
    restarted = "restarted" if warm.engine.pid != first else "the same process"
    print(f"not busy again after at most {max(times):.2f} s ({restarted}), longest poll {warm.longest * 1000:.1f} ms")
    assert max(times) < 1.0
    assert warm.longest < blocked()
    assert warm.ask("predict", path=brain1, bundle=BUNDLE)["label"] == "glioma"


@LINUX
@pytest.mark.slow
def test_a_hundred_runs_leave_nothing_behind(warm: Drive, brain1: str) -> None:
    def resident(process: int | str) -> float:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def state() -> tuple:
        files = sorted(path.name for path in warm.engine.folder.iterdir())
        return files, len(os.listdir("/proc/self/fd")), processes_of_group(warm.engine.pid)

    seen = []
    for count in range(100):
        told = warm.ask("predict", path=brain1, bundle=BUNDLE, evidence=warm.engine.file("map.nii"))
        warm.ask("what_if", prediction=told["prediction"], without=[1])
        if count % 10 == 9:
            seen.append((resident(warm.engine.pid), resident("self"), state()))
    print("MiB of worker and client:", [f"{one[0]:.0f} {one[1]:.0f}" for one in seen])
    assert all(one[2] == seen[0][2] for one in seen)
    assert seen[-1][0] - seen[1][0] < 30
    assert seen[-1][1] - seen[1][1] < 5
