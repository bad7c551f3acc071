"""The client that runs in the main thread of 3D Slicer, against a real worker."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.extension.conftest import Drive, blocked, processes_of_group
from tests.extension.kept import Kept
from tests.worker.conftest import overload

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
BUNDLE = "brain_tumor_t1ce"


@pytest.fixture(scope="module")
def warm() -> Drive:
    """One worker with the model loaded, for the tests of this file that leave it whole."""
    from MedAttnLib.process import Worker

    one = Drive(Worker())
    one.ask("load", bundle=BUNDLE)
    yield one
    one.engine.stop()


def test_first_result_and_what_if_never_block_the_main_thread(warm: Drive, brain1: str) -> None:
    warm.longest = warm.wall = 0.0
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
    print(f"first result {first:.2f} s, what-if {max(times) * 1000:.0f} ms, {warm.told()}")
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
    with Kept() as kept:
        one.engine.start(done=greeted.append)
    assert kept.seconds < blocked()
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
    warm.longest = warm.wall = 0.0
    first = warm.engine.pid
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
    print(f"not busy again after at most {max(times):.2f} s ({restarted}), {warm.told()}")
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
