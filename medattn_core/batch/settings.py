"""What a batch is asked to do, and what of it decides the results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medattn_core.arguments import path_of, truth_value, whole_number
from medattn_core.batch.stamps import folder_hash
from medattn_core.bundles.load import locate
from medattn_core.errors import MedAttnError
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
