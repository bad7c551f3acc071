"""Start and end the process of the worker: which Python, with which paths, and how nothing of it stays behind.

Standard library only. On Linux and macOS the process leads a group of its own, so that one signal ends it together with
all its children, also where a launcher (PythonSlicer) stands in front of the real Python. On Windows ``taskkill /T``
does that.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WINDOWS = os.name == "nt"

PYTHON_VARIABLE = "MEDATTN_PYTHON"
"""Environment variable with the Python that runs the worker."""

MODULE = "medattn_core.worker"


def python_executable(given: str | os.PathLike[str] | None = None) -> str:
    """The Python that runs the worker.

    What is given, else the environment variable ``MEDATTN_PYTHON``, else ``PythonSlicer``: inside 3D Slicer
    ``sys.executable`` may be the application itself, while PythonSlicer is its Python with the same packages, which
    starts no window. Outside 3D Slicer it is the Python that asks.
    """
    wanted = os.fspath(given) if given else os.environ.get(PYTHON_VARIABLE, "")
    if wanted:
        return shutil.which(wanted) or wanted
    beside = Path(sys.executable).with_name("PythonSlicer.exe" if WINDOWS else "PythonSlicer")
    if beside.is_file():
        return str(beside)
    return shutil.which("PythonSlicer") or sys.executable


def source_checkout() -> Path | None:
    """Root of the repository where this library is used from it, so that the core beside it is taken."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "medattn_core" / "worker" / "__main__.py").is_file() else None


def environment(
    python: str, paths: Sequence[str | os.PathLike[str]] = (), variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Environment of the process.

    Args:
        python: of :func:`python_executable`.
        paths: where else packages are looked for, first.
        variables: added last.
    """
    env = dict(os.environ)
    foreign = "PYTHONHOME" in env and "pythonslicer" not in Path(python).name.lower() and python != sys.executable
    if foreign:  # what makes the embedded Python of 3D Slicer work breaks every other
        for name in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            env.pop(name, None)
    found = [os.fspath(path) for path in paths]
    checkout = source_checkout()
    if checkout is not None:
        found.append(str(checkout))
    if env.get("PYTHONPATH"):
        found.append(env["PYTHONPATH"])
    if found:
        env["PYTHONPATH"] = os.pathsep.join(found)
    env.update({"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", **(variables or {})})
    return env


def start(
    python: str, *, folder: Path, log: Path, env: Mapping[str, str], arguments: Sequence[str] = ("-m", MODULE)
) -> subprocess.Popen[bytes]:
    """Start the process.

    Args:
        python: executable.
        folder: its working directory: an empty one, where no module lies that could be taken for another.
        log: file to which its standard error is added. A file, not a pipe: nobody has to keep up with reading.
        env: environment.
        arguments: of Python.

    Raises:
        OSError: it cannot be started.
    """
    special: dict[str, object] = {}
    if sys.platform == "win32":
        special["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    else:
        special["start_new_session"] = True
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [python, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=dict(env),
            bufsize=0,
            **special,  # type: ignore[call-overload]
        )
    if not WINDOWS:
        os.set_blocking(process.stdout.fileno(), False)
        os.set_blocking(process.stdin.fileno(), False)
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all its children, at once and without waiting."""
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        if process.poll() is None:
            subprocess.Popen(command, creationflags=subprocess.CREATE_NO_WINDOW, stdout=subprocess.DEVNULL)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # unsent bytes of a process that is no more


def is_gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process that was ended is no more, nor any of its children; without waiting."""
    if process.poll() is None:
        return False
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return True
        return False
    return True


def read(process: subprocess.Popen[bytes], most: int = 1 << 16) -> bytes | None:
    """What the process has written, without waiting; ``b""`` if there is nothing, None at the end."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    if sys.platform == "win32":
        waiting = _waiting_on_windows(descriptor)
        if waiting is None:
            return None
        return os.read(descriptor, min(most, waiting)) if waiting else b""
    try:
        return os.read(descriptor, most) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None


def write(process: subprocess.Popen[bytes], data: bytes) -> int | None:
    """Send bytes without waiting; how many went, None if nobody reads any more."""
    assert process.stdin is not None
    try:
        return os.write(process.stdin.fileno(), data)
    except BlockingIOError:
        return 0
    except (OSError, ValueError):
        return None


def _waiting_on_windows(descriptor: int) -> int | None:
    """Bytes that can be read from a pipe, None if its other end is closed."""
    import ctypes
    import msvcrt

    handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))  # type: ignore[attr-defined]
    count = ctypes.c_ulong(0)
    there = ctypes.windll.kernel32.PeekNamedPipe(handle, None, 0, None, ctypes.byref(count), None)  # type: ignore[attr-defined]
    return count.value if there else None
