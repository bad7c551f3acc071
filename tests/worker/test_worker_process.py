"""The process: cancelled, left alone, orphaned, and how long it takes."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from itertools import combinations
from pathlib import Path

import pytest

from medattn_core.worker.parent import is_alive
from tests.worker.conftest import ROOT, Client, overload, until

BUNDLE = "brain_tumor_t1ce"
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")


def cancel_at(worker: Client, brain1: str, moment: float) -> tuple[float, dict]:
    """Cancel a prediction after ``moment`` seconds: seconds until its final answer, and that answer."""
    number = worker.send("predict", path=brain1, bundle=BUNDLE)
    time.sleep(moment)
    start = time.perf_counter()
    cancel = worker.send("cancel", target=number)
    answers: dict[int, dict] = {}
    while len(answers) < 2:
        message = worker.receive()
        if message["type"] != "progress":
            answers[message["id"]] = message
    seconds = time.perf_counter() - start
    # What was not cancelled had just ended; its answer may come after that of the cancel.
    assert answers[cancel]["result"]["cancelled"] or answers[number]["type"] == "result"
    return seconds, answers[number]


@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_cancel_at_random_moments(worker: Client, brain1: str, moments: int) -> None:
    before = worker.ask("predict", path=brain1, bundle=BUNDLE)
    whole = before["timings_s"]["total"]
    rng, times, cancelled, last = random.Random(moments), [], 0, before["prediction"]
    for _ in range(moments):
        seconds, answer = cancel_at(worker, brain1, rng.uniform(0, whole))
        times.append(seconds)
        if answer["type"] == "error":
            assert answer["error"]["code"] == "cancelled"
            cancelled += 1
        else:  # it had just been ready
            last = answer["result"]["prediction"]
        assert worker.ask("what_if", prediction=last, without=[])["label"] == "glioma"  # the one before is still there
    middle = sorted(times)[moments // 2]
    print(f"{cancelled} of {moments} cancelled; answer after at most {max(times):.3f} s, median {middle:.3f} s")
    assert max(times) < 1.0
    assert cancelled > 0
    after = worker.ask("predict", path=brain1)
    assert after["probabilities"] == pytest.approx(before["probabilities"], rel=0, abs=1e-6)


def test_what_waits_is_cancelled_at_once(worker: Client, brain1: str) -> None:
    # In one piece: the first is not over before the last has come.
    numbers = [worker.count + 1, worker.count + 2, worker.count + 3]
    cancel = worker.count = worker.count + 4
    lines = [{"id": number, "type": "predict", "path": brain1, "bundle": BUNDLE} for number in numbers]
    worker.write(b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {"id": cancel, "type": "cancel"}]))
    answers = {}
    while set(answers) != {*numbers, cancel}:
        message = worker.receive()
        if message["type"] != "progress":
            answers[message["id"]] = message
    assert answers[cancel]["result"]["cancelled"] == numbers
    assert [answers[number]["error"]["code"] for number in numbers] == ["cancelled"] * 3
    assert worker.ask("cancel") == {"cancelled": []}


def test_progress_grows_and_tells_stages(worker: Client, brain1: str) -> None:
    number = worker.send("predict", path=brain1, bundle=BUNDLE)
    told = []
    while (message := worker.receive())["type"] == "progress":
        assert message["id"] == number
        told.append(message)
    fractions = [one["fraction"] for one in told]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0
    assert fractions[-1] <= 1
    stages = list(dict.fromkeys(one["stage"] for one in told))
    assert stages == ["load", "read", "prepare", "network", "evidence"]
    assert len({one["fraction"] for one in told if one["stage"] == "network"}) >= 4
    assert all(one["text"] for one in told)


def test_what_if_and_first_result_are_quick(start, brain1: str, sample_data: Path, tmp_path: Path) -> None:
    """With a warm worker: click to answer, by way of the streams. The limits are those of the extension's promise."""
    client: Client = start()
    client.ask("load", bundle=BUNDLE)
    begin = time.perf_counter()
    result = client.ask("predict", path=brain1, evidence=str(tmp_path / "map.nii"))
    first = time.perf_counter() - begin
    times = []
    for fields in ({"without": [1]}, {"only": [1]}, {"without": [], "mask": str(sample_data / "brain1_label.nrrd")}):
        for _ in range(5):
            begin = time.perf_counter()
            number = client.send("what_if", prediction=result["prediction"], **fields)
            answer = client.receive()
            times.append(time.perf_counter() - begin)
            # No progress comes first: neither is the scan read nor does the network run again.
            assert (answer["id"], answer["type"]) == (number, "result")
    middle = sorted(times)[len(times) // 2]
    print(f"first result {first:.2f} s; what-if {max(times) * 1000:.0f} ms at most, median {middle * 1000:.1f} ms")
    # Seconds are what is promised, so they are measured: on a machine that others use, too, by as much more.
    assert first < 5.0 * overload()
    assert max(times) < 0.2 * overload()


def test_no_memory_is_kept_from_run_to_run(worker: Client, brain1: str) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")

    def resident() -> float:
        pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    sizes = []
    for _ in range(12):
        worker.ask("predict", path=brain1, bundle=BUNDLE)
        sizes.append(resident())
    settled = sizes[4:]
    # The median of all pairs (Theil 1950): the heap comes and goes in steps of 5 to 12 MiB, which are no trend.
    pairs = [(settled[j] - settled[i]) / (j - i) for i, j in combinations(range(len(settled)), 2)]
    grown = statistics.median(pairs)
    print(f"grown by {grown:.2f} MiB a run")
    assert grown < 5  # a map has 6.3


def test_the_end_of_the_stream_ends_it(start, tmp_path: Path, brain1: str) -> None:
    folder = tmp_path / "medattn-scratch"
    folder.mkdir()
    client: Client = start(folder=folder)
    client.send("predict", path=brain1, bundle=BUNDLE)
    time.sleep(0.3)  # in the middle of importing or of the prediction
    client.process.stdin.close()
    begin = time.perf_counter()
    assert client.end() == 0
    assert time.perf_counter() - begin < 2.0
    assert not folder.exists()


PARENT = """
import json, os, subprocess, sys, time
folder, keep_open = sys.argv[1], sys.argv[2] == "1"
worker = subprocess.Popen([sys.executable, "-m", "medattn_core.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
hello = {"id": 1, "type": "hello", "protocol": 1, "folder": folder, "parent": os.getpid()}
worker.stdin.write(json.dumps(hello).encode() + b"\\n"); worker.stdin.flush()
assert json.loads(worker.stdout.readline())["type"] == "result"
sister = 0
if keep_open:  # a process that inherited the other end of the stream and outlives us
    sister = subprocess.Popen(["sleep", "60"], pass_fds=[worker.stdin.fileno()]).pid
print(worker.pid, sister, flush=True)
time.sleep(60)
"""


@POSIX
@pytest.mark.parametrize("keep_open", [False, True])
def test_it_dies_with_its_parent(tmp_path: Path, keep_open: bool) -> None:
    """kill -9 of the parent, also where somebody else keeps the stream open."""
    folder = tmp_path / "medattn-scratch"
    folder.mkdir()
    command = [sys.executable, "-c", PARENT, str(folder), str(int(keep_open))]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    worker, sister = map(int, parent.stdout.readline().split())
    try:
        assert is_alive(worker)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        seconds = until(lambda: not is_alive(worker) or is_zombie(worker), patience=5)
        print(f"ended {seconds:.2f} s after its parent")
        assert not folder.exists()
    finally:
        if sister:
            os.kill(sister, signal.SIGKILL)


def is_zombie(process: int) -> bool:
    """Dead, but nobody has asked for its status: in a container there may be no one who does."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_no_file_is_left(start, tmp_path: Path, brain1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    client: Client = start(TMPDIR=str(temporary), TEMP=str(temporary), TMP=str(temporary))
    result = client.ask("predict", path=brain1, bundle=BUNDLE, evidence=str(tmp_path / "map.nii"))
    client.ask("evidence", prediction=result["prediction"], path=str(tmp_path / "map.nrrd"))
    assert (
        client.refused("evidence", prediction=result["prediction"], path=str(tmp_path / "map.txt"))[0] == "bad_argument"
    )
    gone = str(tmp_path / "gone" / "map.nii")
    assert client.refused("evidence", prediction=result["prediction"], path=gone)[0] == "unwritable"
    client.ask("quit")
    client.end()
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.nii", "map.nrrd", "tmp"]


@pytest.mark.parametrize("greeted", [False, True])
def test_killed_it_leaves_no_folder_but_its_clients(start, tmp_path: Path, greeted: bool) -> None:
    """Who kills it removes the folder that it was given, and knows of no other."""
    temporary, folder = tmp_path / "tmp", tmp_path / "medattn-scratch"
    temporary.mkdir()
    folder.mkdir()
    client: Client = start(greet=False, TMPDIR=str(temporary), TEMP=str(temporary), TMP=str(temporary))
    client.refused("regions", prediction="1")  # it runs, and was not greeted
    if greeted:
        client.ask("hello", protocol=1, folder=str(folder), warm=False)
    client.process.kill()
    client.end()
    assert list(temporary.iterdir()) == []


@POSIX
@pytest.mark.parametrize(
    ("how", "own"), [("quit", True), ("end of stream", False), ("SIGTERM", True), ("SIGINT", False)]
)
def test_no_unpacked_scan_is_left(start, tmp_path: Path, how: str, own: bool) -> None:
    """Ended in the middle of unpacking: a scan in a folder of temporary files is a patient's."""
    temporary, folder = tmp_path / "tmp", tmp_path / "medattn-scratch"
    temporary.mkdir()
    folder.mkdir()
    packed = tmp_path / "scan.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("scan.nii", bytes(200_000_000))
    client: Client = start(folder=None if own else folder, warm=False, TMPDIR=str(temporary))
    client.send("predict", path=str(packed), bundle=BUNDLE)
    until(lambda: bool([*temporary.rglob("scan.nii"), *folder.rglob("scan.nii")]))
    if how == "quit":
        client.send("quit")
    elif how == "end of stream":
        client.process.stdin.close()
    else:
        client.process.send_signal(signal.Signals[how])
    status = client.end()
    assert status == (0 if how in ("quit", "end of stream") else 128 + signal.Signals[how])
    assert list(temporary.iterdir()) == []
    assert folder.exists() == own


def test_cleaned_folders_are_made_anew_and_all_removed(start, tmp_path: Path) -> None:
    """Somebody tidies temporary files while the worker waits."""
    temporary, first, second = (tmp_path / name for name in ("tmp", "medattn-1", "medattn-2"))
    for folder in (temporary, first, second):
        folder.mkdir()
    packed = tmp_path / "scan.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("scan.nii", bytes(1000))
    client: Client = start(folder=first, warm=False, TMPDIR=str(temporary))
    client.ask("hello", protocol=1, folder=str(second), warm=False)
    second.rmdir()
    assert client.refused("predict", path=str(packed), bundle="hippocampus_volume")[0] == "not_an_image"
    client.ask("quit")
    client.end()
    assert [*temporary.iterdir(), *tmp_path.glob("medattn-*")] == []


def test_answers_are_one_line_each(worker: Client) -> None:
    for line in worker.everything:
        assert line.endswith(b"\n")
        assert line.isascii()
        json.loads(line)
