"""All commands into a pipe that is closed or onto a disk that is full; predict: test_predict_pipes.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.squares import SETTINGS, write_squares

POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes, devices and locales of POSIX")
COMMAND = (sys.executable, "-m", "medattn_core")
UNWRITABLE = "error [unwritable] standard output cannot be written (No space left on device)\n"


def unread(arguments: Sequence[object], *, both: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command whose stdout, or stderr too, nobody reads."""
    out, into = os.pipe()
    os.close(out)
    try:
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(command, stdout=into, stderr=into if both else subprocess.PIPE, text=True)
    finally:
        os.close(into)


@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", ["--version", "--help", "bundle --help", "bundles", "bundles --json", "info {scan}"])
def test_a_full_disk_behind_stdout_is_one_line(words: str, sample_data: Path) -> None:
    command = [*COMMAND, *words.format(scan=sample_data / "brain1_image.nrrd").split()]
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (1, UNWRITABLE)


@POSIX
@pytest.mark.parametrize("words", ["--version", "bundles", "info {scan}", "info {scan} --json"])
def test_a_reader_that_has_gone_is_no_error(words: str, sample_data: Path) -> None:
    ran = unread(words.format(scan=sample_data / "brain1_image.nrrd").split())
    assert (ran.returncode, ran.stderr) == (0, "")


@POSIX
@pytest.mark.parametrize("both", [False, True])
def test_a_check_that_nobody_reads_has_its_own_status(both: bool, tmp_path: Path) -> None:
    """With bars on stderr: rich would end the process there."""
    data = write_squares(tmp_path)
    ran = unread(["data", "check", data, "--json"], both=both)
    assert ran.returncode == 0
    assert both or ran.stderr.endswith(f"{data}: ready for training\n")
    data.write_text(data.read_text().replace(".png", ".gone", 1))
    assert unread(["data", "check", data, "--json"], both=both).returncode == 1


@POSIX
@pytest.mark.parametrize("full", [False, True])
def test_an_evaluation_that_nobody_reads_still_names_what_failed(
    full: bool, tiny: Path, sample_data: Path, tmp_path: Path
) -> None:
    if full and not Path("/dev/full").exists():
        pytest.skip("a device of Linux")
    shutil.copy(sample_data / "brain1_image.nrrd", tmp_path / "good.nrrd")
    (tmp_path / "bad.nrrd").touch()
    (tmp_path / "list.csv").write_text("image,label\ngood.nrrd,glioma\nbad.nrrd,pituitary\n")
    arguments = ["evaluate", tiny, "--data", tmp_path / "list.csv", "--output", tmp_path / "out", "--bootstrap", 0,
                 "--compare", "none", "--device", "cpu"]  # fmt: skip
    if full:
        with open("/dev/full", "w", encoding="utf-8") as stream:
            command = [*COMMAND, *map(str, arguments)]
            ran = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True)
    else:
        ran = unread(arguments)
    assert ran.returncode == 1
    assert "error [empty_file]" in ran.stderr
    assert f"results in {tmp_path / 'out'}\n{UNWRITABLE if full else ''}" in ran.stderr
    assert ran.stderr.count("unwritable") == full
    assert "internal" not in ran.stderr
    assert (tmp_path / "out" / "metrics.json").exists()


@POSIX
def test_a_training_that_nobody_reads_is_trained(tmp_path: Path) -> None:
    data = write_squares(tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    options = ["--config", tmp_path / "settings.json", "--output", tmp_path / "out", "--epochs", 1, "--device", "cpu"]
    assert unread(["train", "--data", data, *options], both=True).returncode == 0
    assert (tmp_path / "out" / "configs" / "metadata.json").exists()


@pytest.mark.parametrize("words", ["evaluate nope --data x --output y", "train --data x --output y", "data check x"])
def test_an_error_before_the_first_bar_is_one_line(run: Run, words: str) -> None:
    ran = run(*words.split())
    assert ran.err.startswith("error [")
    assert ran.err.count("\n") == 1


@POSIX
def test_names_beyond_ascii_in_a_bare_locale(sample_data: Path, tiny: Path, tmp_path: Path) -> None:
    bare = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    bare |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shutil.copy(sample_data / "brain1_image.nrrd", tmp_path / "é.nrrd")
    (tmp_path / "list.txt").write_text("é.nrrd\n", encoding="utf-8")
    options = ["--bundle", str(tiny), "--output", str(tmp_path / "out"), "--device", "cpu"]
    command = [*COMMAND, "predict", str(tmp_path / "list.txt"), *options]
    ran = subprocess.run(command, env=bare, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    assert "é.nrrd" in ran.stdout
