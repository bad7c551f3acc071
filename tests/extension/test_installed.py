"""The extension as CMake installs it, outside of the checkout, with medattn from the wheel that it carries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.extension.conftest import EXTENSION
from tests.extension.test_lists import STUB

CLIENT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from MedAttnLib import install_plan, launch
from MedAttnLib.process import Worker
assert launch.source_checkout() is None
worker, answer = Worker(sys.argv[2]), {}
failed = lambda *error: answer.update(error=error)
worker.predict(sys.argv[3], bundle="brain_tumor_t1ce", done=answer.update, failed=failed)
while not answer:
    worker.poll()
    time.sleep(0.01)
answer["where"] = worker.hello and worker.hello["bundles"][0]["path"]
worker.stop()
print(json.dumps(answer))
"""


@pytest.mark.slow
def test_it_predicts_with_the_wheel(tmp_path: Path, brain1: str) -> None:
    cmake = shutil.which("cmake")
    if cmake is None or os.name == "nt":
        pytest.skip("cmake is not installed")
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    command = [cmake, "-S", EXTENSION, "-B", build, f"-DSlicer_DIR={STUB}", f"-DSTUB_PYTHON={sys.executable}"]
    subprocess.run([*command, "-Wno-dev"], check=True, capture_output=True)
    subprocess.run([cmake, "--install", build, "--prefix", prefix], check=True, capture_output=True)
    module = prefix / "lib" / "Slicer-5.10" / "qt-scripted-modules"

    # An environment with torch and its like from this one, but medattn from the wheel alone.
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = str(venv / "bin" / "python")
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "zz_others.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (module / "Resources" / "wheels").glob("medattn-*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True)

    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MEDATTN"))}
    command = [python, "-S", "-c", CLIENT, str(module), python, brain1]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told.get("label") == "glioma", told
    assert told["probabilities"]["glioma"] == pytest.approx(0.967105, abs=1e-5)
    assert Path(told["where"]).is_relative_to(venv)
