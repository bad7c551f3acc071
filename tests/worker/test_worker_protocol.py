"""The stream: greeting, garbage, noise, ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medattn_core.version import __version__
from tests.worker.conftest import PATIENCE, ROOT, Client, until

GARBAGE = (
    b"\n   \n",
    b"not json\n",
    b"\x00\x01\x02\xff\n",
    b"{}\n",
    b"[]\nnull\n42\n",
    b'{"id": 7, "type": "fly"}\n',
    b'{"id": 8, "type": "predict"}\n',
    b'{"id": [1], "type": "hello", "protocol": 1}\n',
    b"[" * 200_000 + b"\n",
    b'{"id": 9, "type": "load", "bundle": "' + b"x" * (17 << 20) + b'"}\n',
)


def test_hello_waits_for_nothing_heavy_and_says_what_there_is(start) -> None:
    """From the start of the process to its end after hello: what would make a user wait is never imported."""
    begin = time.perf_counter()
    client: Client = start(greet=False, PYTHONPROFILEIMPORTTIME="1")
    hello = client.ask("hello", protocol=1, warm=False)
    seconds = time.perf_counter() - begin
    print(f"process to hello {seconds:.2f} s")
    assert seconds < 3
    client.process.stdin.close()
    assert client.end() == 0
    until(lambda: b"medattn_core.worker.service" in client.errors)
    imported = {
        line.rpartition("|")[2].strip().split(".")[0] for line in client.errors.decode().splitlines() if "|" in line
    }
    assert imported & {"torch", "monai", "SimpleITK", "nibabel", "pydicom", "scipy", "matplotlib"} == set()
    assert (hello["protocol"], hello["version"], hello["pid"]) == (1, __version__, client.process.pid)
    (bundle,) = [one for one in hello["bundles"] if one["name"] == "brain_tumor_t1ce"]
    assert bundle["labels"] == ["glioma", "meningioma", "pituitary"]
    assert (bundle["kind"], bundle["threshold"], bundle["modality"]) == ("multiclass", 0.5, ["MR"])


def test_hello_is_answered_before_the_worker_warms_up(start) -> None:
    client: Client = start(greet=False, PYTHONPROFILEIMPORTTIME="1")
    client.ask("hello", protocol=1)
    last = b"SimpleITK.SimpleITK"  # told when it is imported, after torch
    assert last not in client.errors
    until(lambda: last in client.errors, patience=PATIENCE)


def test_hello_needs_no_torch() -> None:
    code = (
        "import sys\nfrom medattn_core.worker.service import Service\n"
        "from medattn_core.worker.messages import Request\n"
        "Service().handle(Request(1, 'hello', {'protocol': 1}))\n"
        "print([name for name in ('torch', 'monai', 'SimpleITK', 'nibabel') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_before_hello_and_no_other_version(start) -> None:
    client: Client = start(greet=False)
    code, message = client.refused("load", bundle="brain_tumor_t1ce")
    assert (code, "hello" in message) == ("bad_request", True)
    code, message = client.refused("hello", protocol=99)
    assert code == "version_mismatch"
    assert "99" in message
    assert "speaks 1" in message
    assert __version__ in message
    assert client.ask("hello", protocol=1)["protocol"] == 1  # it goes on


def test_garbage_gets_an_error_each_and_the_worker_goes_on(worker: Client) -> None:
    for line in GARBAGE:
        worker.write(line)
        expected = 0 if not line.strip() else line.count(b"\n")
        for _ in range(expected):
            message = worker.receive()
            assert message["type"] == "error"
            assert message["error"]["code"] == "bad_request"
            assert message["id"] in (None, 7, 8)
            assert "\n" not in message["error"]["message"]
    assert worker.ask("hello", protocol=1)["protocol"] == 1
    assert worker.lines.empty()


@pytest.mark.parametrize(
    ("kind", "fields", "code", "words"),
    [
        ("load", {"bundle": "no_such_bundle"}, "unknown_bundle", "brain_tumor_t1ce"),
        ("load", {"bundle": "brain_tumor_t1ce", "device": "toaster"}, "bad_argument", "toaster"),
        ("what_if", {"prediction": "x", "without": []}, "no_prediction", "predict"),
        ("evidence", {"prediction": "x", "path": "x.nii"}, "no_prediction", "predict"),
        ("hello", {"protocol": 1, "folder": "/nowhere"}, "bad_argument", "medattn-"),
    ],
)
def test_what_cannot_be_done_is_said(worker: Client, kind, fields, code, words) -> None:
    found, message = worker.refused(kind, **fields)
    assert found == code
    assert words in message


def test_predict_before_any_model(start, brain1: str) -> None:
    code, message = start().refused("predict", path=brain1)
    assert (code, "bundle" in message) == ("bad_argument", True)


def test_a_folder_that_is_not_its_own_is_never_removed(start, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    (tmp_path / "medattn-link").symlink_to(precious)
    client: Client = start()
    for folder in (precious, tmp_path / "medattn-link"):
        assert client.refused("hello", protocol=1, folder=str(folder))[0] == "bad_argument"
    client.ask("quit")
    client.end()
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_quit_ends_it_and_removes_the_folder(start, tmp_path: Path) -> None:
    folder = tmp_path / "medattn-scratch"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "scan.nrrd").write_bytes(b"x")
    client: Client = start(folder=folder)
    assert client.ask("quit") == {}
    assert client.end() == 0
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="names of a POSIX library")
def test_nothing_gets_between_the_messages_by_any_way() -> None:
    """print, os.write, the C library and a child process all land on standard error."""
    code = r"""
import ctypes, os, subprocess, sys
from medattn_core.worker.streams import Answers, claim, lines
requests, answers = claim()
print("noise by print"); sys.stdout.flush()
os.write(1, b"noise by descriptor\n")
library = ctypes.CDLL(None)
library.puts(b"noise by C"); library.fflush(None)
subprocess.run([sys.executable, "-c", "print('noise by child')"])
sys.__stdout__.write("noise by the first stdout\n"); sys.__stdout__.flush()
assert sys.stdin.read() == "" and os.read(0, 10) == b""
Answers(answers).send({"heard": [line.decode() for line in lines(requests)], "word": "Schädel 脳"})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=b"one\ntwo", capture_output=True, check=True)
    assert json.loads(done.stdout) == {"heard": ["one\n", "two"], "word": "Schädel 脳"}
    for way in (b"print", b"descriptor", b"C", b"child", b"the first stdout"):
        assert b"noise by " + way in done.stderr


def test_noise_during_a_prediction(start, tmp_path: Path, brain1: str) -> None:
    """A library that prints without pause, from Python and from C, while the worker works."""
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes, os, threading, time\n"
        "def noise():\n"
        "    c = ctypes.CDLL(None)\n"
        "    while True:\n"
        "        print('noise', flush=True); c.puts(b'NOISE'); c.fflush(None)\n"
        "        os.write(1, b'noise'); time.sleep(0.002)\n"
        "def later():\n"
        "    import sys\n"
        "    while sys.stdout is not sys.stderr: time.sleep(0.001)\n"  # the streams are claimed first of all
        "    noise()\n"
        "threading.Thread(target=later, daemon=True).start()\n"
    )
    client: Client = start(PYTHONPATH=str(tmp_path))
    assert client.ask("predict", path=brain1, bundle="brain_tumor_t1ce")["label"] == "glioma"
    until(lambda: client.errors.count(b"NOISE") > 100)
    for line in client.everything:
        assert json.loads(line)["type"] in ("result", "progress")


@pytest.mark.parametrize("name", ["Schädel ñ 脳 scan.nrrd", "with space & 'quote'.nrrd"])
def test_paths_in_any_writing(worker: Client, tmp_path: Path, brain1: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(Path(brain1).read_bytes())
    evidence = path.with_suffix(".nii")
    result = worker.ask("predict", path=str(path), bundle="brain_tumor_t1ce", evidence=str(evidence))
    assert result["label"] == "glioma"
    assert result["input"] == str(path)
    assert evidence.is_file()
    code, message = worker.refused("predict", path=str(path) + "x")
    assert code == "not_found"
    assert str(path) in message


@pytest.mark.skipif(sys.platform == "win32", reason="locales of POSIX")
def test_a_bare_locale_opens_any_name(start, tmp_path: Path, brain1: str) -> None:
    path = tmp_path / "Schädel.nrrd"
    path.write_bytes(Path(brain1).read_bytes())
    client: Client = start(LC_ALL="C", LANG="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert client.ask("predict", path=str(path), bundle="brain_tumor_t1ce")["input"] == str(path)


def test_without_torch_it_says_so_and_lives(start, tmp_path: Path, brain1: str) -> None:
    """As in 3D Slicer before the installation."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    client: Client = start(PYTHONPATH=str(tmp_path))
    for _ in range(2):
        code, message = client.refused("predict", path=brain1, bundle="brain_tumor_t1ce")
        assert code == "missing_dependency"
        assert "torch" in message
    assert client.ask("hello", protocol=1)["protocol"] == 1
