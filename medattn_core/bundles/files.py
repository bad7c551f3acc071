"""Files inside a bundle folder, which may come from a stranger: no way out of it, no links, known bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from medattn_core.errors import BundleError

MAX_JSON = 4 * 1024**2
"""Bytes of a configuration file; real ones have a few thousand."""

MAX_WEIGHTS = 4 * 1024**3
"""Bytes of a weights file."""


def member(root: Path, relative: object) -> Path:
    """The regular file ``relative`` (POSIX, as the manifest writes it) inside ``root``.

    Raises:
        BundleError: ``bad_bundle``: a path that leaves the folder, a link anywhere on the way, or no such file.
    """
    parts = PurePosixPath(relative).parts if isinstance(relative, str) else ()
    unsafe = not parts or str(PurePosixPath(*parts)) != relative or any(c in str(relative) for c in '\\:\0"')
    if unsafe or PurePosixPath(*parts).is_absolute() or ".." in parts:
        raise BundleError(
            "bad_bundle",
            f"{root}: its manifest names {relative!r}, which is no plain path inside the bundle; do not use it",
        )
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise BundleError(
                "bad_bundle",
                f"{root}: {path.relative_to(root)} is a symbolic link; copy the file itself into the bundle",
            )
    if not path.is_file():
        raise BundleError("bad_bundle", f"{root}: {relative} is missing; copy the whole bundle folder again")
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        BundleError: ``unreadable``.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise BundleError("unreadable", f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, as data: nothing in it is evaluated.

    Raises:
        BundleError: ``bad_bundle``: too large, not JSON, not an object, NaN or infinity in it; ``unreadable``.
    """

    def refuse(constant: str) -> NoReturn:
        msg = f"{constant} is no JSON number"
        raise ValueError(msg)

    try:
        if path.stat().st_size > MAX_JSON:
            raise BundleError("bad_bundle", f"{path}: {path.stat().st_size} bytes; at most {MAX_JSON} are accepted")
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError("bad_bundle", f"{path}: not valid JSON ({error})") from error
    except OSError as error:
        raise BundleError("unreadable", f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not isinstance(data, dict):
        raise BundleError("bad_bundle", f"{path}: holds a {type(data).__name__}, an object is needed")
    return data
