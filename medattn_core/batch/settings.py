"""What a batch is asked to do, and what of it decides the results."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medattn_core.arguments import path_of, truth_value, whole_number
from medattn_core.bundles.load import locate
from medattn_core.errors import MedAttnError
from medattn_core.inference.inputs import RESULT_TABLES, detached_data, is_result_name
from medattn_core.ranges import Range
from medattn_core.version import __version__

if TYPE_CHECKING:
    from medattn_core.inference import BasePredictor

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one batch; it can be sent to another machine.

    Attributes:
        bundle: shipped name or folder.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:N`` of several cards (not with Ray).
        trust: whether a foreign bundle may run its code.
        report: also write a picture and a page a scan.
        runtime: what computes the network (:class:`medattn_core.inference.Predictor`).
        evidence_dtype: how maps are stored (:class:`medattn_core.outputs.ResultWriter`).
        mask: region of interest of the one input.
        series: SeriesInstanceUID of the one input.
        workers: scans computed at a time (with Ray: processes on the cluster); 0 chooses.
        batch_size: images that go through the network together; 0 chooses. Only for slicewise models.
        memory: bytes that this process may take, or a text as of :func:`bytes_of`; 0 chooses
            (:mod:`medattn_core.batch.memory`).

    Raises:
        MedAttnError: ``bad_argument``: a value that is none of these, such as a text where a number is meant.
    """

    bundle: str
    device: str = "auto"
    trust: bool = False
    report: bool = False
    runtime: str = "torch"
    evidence_dtype: str = "int16"
    mask: Path | None = None
    series: str | None = None
    workers: int = 0
    batch_size: int = 0
    memory: int = 0

    def __post_init__(self) -> None:
        path_of("bundle", self.bundle)  # kept as it is: a bare name is that of a shipped one
        for name in ("trust", "report"):
            truth_value(name, getattr(self, name))
        if self.mask is not None:
            object.__setattr__(self, "mask", path_of("mask", self.mask))
        if isinstance(self.memory, str):
            object.__setattr__(self, "memory", bytes_of(self.memory))
        for name in ("workers", "batch_size", "memory"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), Range(low=0)))

    def open(self, say: Callable[[str], object] | None = None) -> BasePredictor:
        """The predictor.

        Args:
            say: told when the runtime ``auto`` begins to measure.

        Raises:
            MedAttnError: as :func:`medattn_core.interop.open_predictor`.
        """
        from medattn_core.interop import open_predictor

        return open_predictor(self.bundle, trust=self.trust, device=self.device, runtime=self.runtime, say=say)

    def model(self, device: str) -> dict[str, str]:
        """What all rows of one table share: version of MedAttn, hash of the bundle's files, kind of device.

        Args:
            device: where the network really runs, such as ``"cuda:0"``.
        """
        return {
            "version": __version__,
            "bundle": folder_hash(locate(self.bundle))[:16],
            "device": device.partition(":")[0],
        }

    def fingerprint(self, device: str, runtime: str = "torch", *, model: Mapping[str, str] | None = None) -> str:
        """What a row of an input has to share with this batch to be taken over: 16 hex digits.

        In it: the model, and the options that decide a result or which files it has. Not in it: how many scans are
        computed at a time, and memory; nor mask and series, which belong to one input as its channels do
        (:class:`medattn_core.batch.jobs.Job`).

        Args:
            device: where the network really runs, such as ``"cuda:0"``.
            runtime: what really computes it: never ``auto``, which may choose anew.
            model: of :meth:`model`, where it is known: it reads the whole bundle.
        """
        decisive: dict[str, Any] = {
            **(model or self.model(device)),
            "report": self.report,
            "runtime": runtime,
            "evidence_dtype": self.evidence_dtype,
            "batch_size": self.batch_size,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files of a bundle: a foreign one may read any of them.

    Left out is what makes no other bundle: results of a batch, hidden files as file managers leave them, and what
    Python compiles of its code.
    """
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        results = not set(RESULT_TABLES).isdisjoint(names)
        if results and Path(parent) != folder:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            result = results and (name in RESULT_TABLES or is_result_name(name))
            if name.startswith(".") or result or not path.is_file():  # a link that leads nowhere is no file
                continue
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def stamp(path: Path, *, output: Path | None = None) -> tuple[int, int]:
    """Bytes and latest change (nanoseconds since 1970) of a file; (-1, -1) if it is gone.

    An input of several files (a folder, a DICOMDIR with what lies around it, a header with its voxels in another file)
    has in place of the change a number made from the names, sizes and changes of all: the latest change alone does not
    tell that one file was swapped for an older one.

    With the path this tells whether an input is the one of the last run. Hashing ten thousand scans instead would cost
    as much as reading them.

    Args:
        path: the input.
        output: folder of the results: what a batch writes there is no part of an input that it lies in.
    """
    try:
        if path.is_dir() or path.name.upper() == "DICOMDIR":
            folder = str(path if path.is_dir() else path.parent)
            found = _walk(folder, "" if output is None else os.path.realpath(output))
            return _stamp_of((file[len(folder) :], file) for file in found)
        header, data = path.stat(), detached_data(path)
        if data is None:
            return header.st_size, header.st_mtime_ns
        return _stamp_of([(path.name, str(path)), (data.name, str(data))])
    except (OSError, ValueError):
        return -1, -1


def _walk(folder: str, output: str) -> Iterator[str]:
    """Files of a folder and of those in it, without what a batch writes into ``output``, journal and lock included."""
    for parent, _, names in os.walk(folder):
        ours = os.path.realpath(parent) == output
        yield from (os.path.join(parent, name) for name in names if not (ours and _written(name)))


def _written(name: str) -> bool:
    return name.startswith(".") or is_result_name(name)  # a lock, files that are being written


def _stamp_of(files: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Of several files, each with its name within the input: that of a folder typed in another way is the same."""
    total, digest = 0, hashlib.sha256()
    for name, path in sorted(files):
        try:
            found = os.stat(path)
            size, change = found.st_size, found.st_mtime_ns
        except OSError:  # a link that leads nowhere must not hide what becomes of the others
            size, change = 0, -1
        total += size
        digest.update(os.fsencode(name) + f"\0{size}\0{change}\0".encode())
    return total, int.from_bytes(digest.digest()[:8], "big")


def bytes_of(text: str) -> int:
    """``"4G"``, ``"1.5 GB"``, ``"800M"`` in bytes (1 G is 1024 M); 0 for ``"auto"``.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    if text.strip().lower() == "auto":
        return 0
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = 0.0 if match is None else float(match[1]) * _UNITS[match[2].upper()]
    if not 1 <= size < 1 << 60:  # less than a byte would be 0, which means auto
        raise MedAttnError("bad_argument", f"--memory {text!r}; accepted: a size such as 4G or 800M, or auto")
    return int(size)


def count_of(text: str, option: str) -> int:
    """A number from 1, or 0 for ``"auto"``.

    Raises:
        MedAttnError: ``bad_argument``.
    """
    if text.strip().lower() == "auto":
        return 0
    if not re.fullmatch(r"\d{1,6}", text.strip()) or int(text) == 0:
        raise MedAttnError("bad_argument", f"{option} {text!r}; accepted: a whole number from 1, or auto")
    return int(text)
