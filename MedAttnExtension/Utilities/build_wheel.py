"""Build the wheel of medattn that the extension carries: ``build_wheel.py ROOT FOLDER``.

From a copy, so that what an earlier build left beside the sources gets neither into the wheel nor in its way. Needs
pip, and setuptools 77 or newer, or a way to a package index from which pip takes it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
SETUPTOOLS = 77
"""The first version that knows licences as pyproject.toml states them."""


def build(root: Path, folder: Path) -> Path:
    """Build it; older wheels of medattn in the folder are replaced.

    Args:
        root: of the repository.
        folder: where the wheel goes.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    with tempfile.TemporaryDirectory(prefix="medattn-wheel-") as place:
        source, made = Path(place, "source"), Path(place, "made")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "medattn_core", source / "medattn_core", ignore=ignored)
        for name in SOURCES:
            shutil.copy(root / name, source)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(made), str(source)]
        if has_setuptools():
            command.insert(4, "--no-build-isolation")
        subprocess.run(command, check=True)
        (wheel,) = made.glob("medattn-*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("medattn-*.whl"):
            old.unlink()
        return Path(shutil.copy(wheel, folder))


def has_setuptools() -> bool:
    """Whether this Python can build without loading anything."""
    try:
        return int(metadata.version("setuptools").split(".")[0]) >= SETUPTOOLS
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(build(arguments.root, arguments.folder))
