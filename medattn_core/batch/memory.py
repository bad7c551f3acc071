"""A budget of bytes: scans wait until there is room for them, large ones take more of it.

The process may take ``limit`` bytes. What it has taken once the model is loaded comes off; the rest is lent to
scans, from before they are read until their files are written. What a scan takes was measured (docs/benchmarks.md,
"Batch"): PER_SCAN for the network's work and, with every voxel, PER_VOXEL for its copies on the way to the map.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medattn_core.batch.stamps import stamp
from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.volumes.memory import available_bytes

PER_SCAN = 220 << 20
"""Bytes of one scan besides its voxels: at most 205 MB were measured (hippocampus_volume, 48 x 48 x 48)."""
PER_VOXEL = 28
"""Bytes a native voxel: 26 to 30 were measured on 256^3 and 512 x 512 x 60, with the fixed part in it."""
_SHARE = 0.8
"""Of the free memory, where no limit is given."""


def default_limit() -> int:
    """Bytes to take where none are stated: four fifths of what is free now, or 4 GiB where the system does not say."""
    free = available_bytes()
    return 4 << 30 if free is None else resident_bytes() + int(_SHARE * free)


def resident_bytes() -> int:
    """Bytes this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def scan_bytes(voxels: int) -> int:
    """What predicting and writing a scan of so many voxels takes at its peak."""
    return PER_SCAN + PER_VOXEL * voxels


def expected_voxels(path: Path) -> int:
    """Voxels of an input by its header, read cheaply; by its size on disk where that is not possible; 0 if it is gone.

    It is a first guess: once the scan is read, the true number replaces it.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            import nibabel

            shape = nibabel.load(path).shape  # type: ignore[attr-defined]
            return max(0, math.prod(shape))  # a damaged one can be negative
        if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
            from medattn_core.volumes.headers import parse_metaimage, parse_nrrd

            stored = (parse_nrrd if name.endswith((".nrrd", ".nhdr")) else parse_metaimage)(path, name)
            return max(0, math.prod(stored.sizes))
    except Exception:  # it is damaged: the reader will say how
        return 0
    # DICOM and pictures: two bytes a voxel, packed up to about twice.
    return max(0, stamp(path)[0])


class Budget:
    """Lends bytes, first come first served: a large scan is not overtaken for ever by small ones.

    Args:
        limit: bytes in all.
        strict: whether a scan that needs more than all is refused; else it has the whole budget for itself.
    """

    def __init__(self, limit: int, *, strict: bool = False) -> None:
        self.limit, self.strict = max(limit, 1), strict
        self._lent = 0
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextmanager
    def lend(self, need: int, name: str) -> Iterator[Loan]:
        """Wait for ``need`` bytes.

        Raises:
            VolumeError: ``too_large``, with ``strict``.
        """
        loan = Loan(self, name)
        with self._turn:
            loan.grow(need, wait=True)
        try:
            yield loan
        finally:
            loan.give_back()

    @property
    def lent(self) -> int:
        """Bytes out now."""
        return self._lent


class Loan:
    """Bytes of one scan."""

    def __init__(self, budget: Budget, name: str) -> None:
        self._budget, self._name, self.size = budget, name, 0

    def grow(self, need: int, *, wait: bool = False) -> None:
        """Have at least ``need`` bytes. Without ``wait`` at once: the scan is in memory, and others wait instead.

        Raises:
            VolumeError: ``too_large``, with a strict budget.
        """
        budget = self._budget
        if need > budget.limit and budget.strict:
            raise VolumeError(
                "too_large",
                f"{self._name}: predicting it takes about {need >> 20} MB, and {budget.limit >> 20} MB are left for "
                "scans; give a larger --memory, or crop the scan",
            )
        need = min(need, budget.limit)
        with budget._freed:
            if wait:
                budget._freed.wait_for(lambda: budget._lent + need - self.size <= budget.limit)
            if need > self.size:
                budget._lent += need - self.size
                self.size = need
            elif need < self.size:
                budget._lent -= self.size - need
                self.size = need
                budget._freed.notify_all()

    def give_back(self) -> None:
        """Return all of it."""
        with self._budget._freed:
            self._budget._lent -= self.size
            self.size = 0
            self._budget._freed.notify_all()


def budget_of(memory: int) -> Budget:
    """The budget for scans once the model is loaded.

    Args:
        memory: bytes for the whole process; 0 chooses.

    Raises:
        MedAttnError: ``bad_argument``: less than the model and one small scan take.
    """
    taken, limit = resident_bytes(), memory or default_limit()
    if memory and limit - taken < PER_SCAN:
        least = (taken + 2 * PER_SCAN) >> 20
        stated = f"{memory >> 20} MB" if memory >= 1 << 20 else f"{memory} bytes"
        raise MedAttnError(
            "bad_argument",
            f"--memory of {stated}: model and libraries hold {taken >> 20} MB; give {least} MB or more",
        )
    return Budget(max(limit - taken, PER_SCAN), strict=bool(memory))


def steady_heap() -> None:
    """Keep glibc from holding freed memory back in an arena of each thread; elsewhere this does nothing."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-8, 2)  # M_ARENA_MAX
