"""What `pip install` brings: types, the licence of bundles, the shipped bundle."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_holds_what_is_no_python(tmp_path: Path) -> None:
    # Not imported: setuptools refuses to be, once the standard library's distutils is.
    versions = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    if "pip" not in versions or int(versions.get("setuptools", "0").split(".")[0]) < 77:
        pytest.skip("pip and setuptools 77 or newer build this project")
    # A copy: what an earlier build left beside the sources must not get in.
    source = tmp_path / "source"
    shutil.copytree(ROOT / "medattn_core", source / "medattn_core", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run([*command, "--wheel-dir", tmp_path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("medattn-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {info.filename: info.file_size for info in archive.infolist()}
    assert wheel.name.endswith("-py3-none-any.whl")
    there = {
        str(path.relative_to(source).as_posix()): path.stat().st_size
        for path in (source / "medattn_core").rglob("*")
        if path.is_file()
    }
    for name in ("medattn_core/py.typed", "medattn_core/bundles/apache-2.0.txt", "medattn_core/cli/__init__.py"):
        assert name in packed
    assert {name: packed.get(name) for name in there} == there  # the shipped bundle's files among them
    assert [name for name in packed if not name.startswith("medattn_core/") and ".dist-info/" not in name] == []


def test_a_source_distribution_builds_the_package_and_brings_no_tests(tmp_path: Path) -> None:
    versions = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    if int(versions.get("setuptools", "0").split(".")[0]) < 77:
        pytest.skip("setuptools 77 or newer builds this project")
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "build", "dist", "*.egg-info")
    for name in ("medattn_core", "tests", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    top = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt")
    for name in (*top, "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("medattn-*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    package = {path.relative_to(source).as_posix() for path in (source / "medattn_core").rglob("*") if path.is_file()}
    assert package | set(top) <= names
    assert {name.partition("/")[0] for name in names} & {"tests", "benchmarks", "docs"} == set()
