"""The user's cache: exported networks and measured choices. All of it can be deleted; none of it is trusted.

A file is its content after a line with the content's SHA-256. One that is cut off, changed or of another kind counts as
absent and is made again. Files are put in place in one step, so processes side by side never see half of one.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from medattn_core.files import replacing


def folder() -> Path:
    """``MEDATTN_CACHE``, else the platform's folder for caches of a user; it need not exist."""
    named = os.environ.get("MEDATTN_CACHE")
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "medattn" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "medattn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medattn"


def get(name: str) -> bytes | None:
    """The content kept under a name; None where there is none, or it is damaged."""
    try:
        whole = (folder() / name).read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    digest, _, content = whole.partition(b"\n")
    return content if digest == hashlib.sha256(content).hexdigest().encode() else None


def age(name: str) -> float:
    """Seconds since a content was kept; endless where there is none, and of one from the future."""
    try:
        seconds = time.time() - (folder() / name).stat().st_mtime
    except (OSError, RuntimeError):
        return math.inf
    return seconds if seconds >= 0 else math.inf


def put(name: str, content: bytes) -> None:
    """Keep a content; where the folder cannot be written it is not kept, and made again next time."""
    with suppress(OSError, RuntimeError):
        path = folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=False) as temporary:
            temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def kept(name: str, make: Callable[[], bytes]) -> bytes:
    """The content under a name, made and kept where it is not there."""
    content = get(name)
    if content is None:
        content = make()
        put(name, content)
    return content
