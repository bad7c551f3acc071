"""predictions.jsonl: one line a finished scan, appended and on the disk before the scan counts as finished.

A line is the object of predictions.json with one more key, ``batch``: which run it is of (``run``, the fingerprint of
bundle and options; ``of``, its number of inputs), the ``model`` that all rows share, the ``channels``, ``mask`` and
``series`` besides the input, the ``stamp`` of all their files, the ``name`` and ``files`` of the result with their
bytes, and ``kept`` where the input is none of the last run's: whether the run that it is of was finished. The line of a
failure has ``shown``, too: its message for a page, which is passed on without folders. A line that was cut off by the
end of the process is no line; its scan is predicted again.

Of a row that was dropped while files of its result still lie there, a line with ``batch`` alone stays (``dropped``): no
other input gets their name, or a page of one patient would lie beside the map of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from medattn_core.batch.jobs import Job
from medattn_core.batch.scanner import Done
from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.outputs.files import UniqueNames, replacing, without_folders

NAME = "predictions.jsonl"
_LOCK = ".predictions.lock"
FINISHED, STOPPED = "finished", "stopped"
_LEFT = re.compile(r"\.medattn-[0-9a-f]{32}\.part|\.[0-9a-f]{12}\.tmp")
"""Names under which files are written before they get their own; a killed process leaves them."""
_OF_DROPPED = ("place", "name", "files")
_RESULT = re.compile(r"[\w.\-]+_(evidence\.nii\.gz|overlay\.png|report\.html)")


class Journal:
    """The rows of one batch on disk; in memory only where each begins.

    Results of other inputs that earlier runs with the same model left in the folder keep their rows and their names,
    whatever options they were made with: the tables say what the folder holds. A row whose files are gone goes; what is
    left of them keeps its name.

    Args:
        folder: of the results, which exists.
        jobs: of this batch.
        run: fingerprint of bundle and options.
        model: of :meth:`medattn_core.batch.settings.Settings.model`.
        restart: take nothing over.

    Attributes:
        jobs: of this batch, under names that no result of another input has.

    Raises:
        MedAttnError: ``other_run``: the folder holds an unfinished batch of another bundle or other options, or
            results of other inputs by another model; ``unwritable``: another process writes there, or the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        run: str,
        *,
        model: Mapping[str, str] | None = None,
        restart: bool = False,
    ) -> None:
        self.folder, self.path, self.run, self.model = folder, folder / NAME, run, dict(model or {})
        self._of = len({_place(job.path) for job in jobs})  # rows of an input that is listed twice tell of one place
        self._places: dict[int, int] = {}
        self._kept: list[int] = []
        self._lock = _locked(folder)
        try:
            self._stopped = self._stopped_runs()
            if not restart:
                self._refuse_mixing({_place(job.path) for job in jobs})
            self.jobs = self._named(jobs, restart)
            stale = self._take_over({_place(job.path): job for job in self.jobs}, restart)
            for old in stale:
                (folder / old).unlink(missing_ok=True)
            for left in folder.iterdir():
                if _LEFT.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            self._file: BinaryIO = open(self.path, "ab")  # noqa: SIM115 (open as long as the batch runs)
        except OSError as error:
            self._lock.close()
            raise unwritable(self.path, error) from error
        except MedAttnError:
            self._lock.close()
            raise

    def __len__(self) -> int:
        return len(self._kept) + len(self._places)

    def __contains__(self, job: Job) -> bool:
        return job.index in self._places

    def append(self, done: Done) -> None:
        """Write a row; after this returns a kill does not lose it.

        Raises:
            VolumeError: ``unwritable``.
        """
        batch = {
            "run": self.run,
            "of": self._of,
            "model": self.model,
            "name": done.job.name,
            "place": _place(done.job.path),
            **_beside(done.job),
            "stamp": done.stamp,
            "files": done.files,
        }
        if done.record["error"]:  # here all paths are known that its message may name
            batch["shown"] = without_folders(done.record["error"]["message"], map(str, done.job.files))
        line = _line({**done.record, "batch": batch})
        try:
            place = self._file.tell()
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._places[done.job.index] = place

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, one at a time, with their key ``batch``: those of other inputs, then the inputs in their order."""
        with open(self.path, "rb") as file:
            for place in (*self._kept, *(self._places[index] for index in sorted(self._places))):
                file.seek(place)
                yield json.loads(file.readline())

    def close(self) -> None:
        """Let other processes write here."""
        try:
            with contextlib.suppress(OSError):  # what a full disk did not take was said by append
                self._file.close()
        finally:
            self._lock.close()

    def _refuse_mixing(self, inputs: Set[str]) -> None:
        """Refuse to drop what an earlier run has done: an unfinished batch, or results of other inputs."""
        lost: set[str] = set()
        other: dict[str, Any] | None = None
        for row in _lines(self.path):
            batch = row["batch"]
            if batch["run"] != self.run and self._was(row) == STOPPED:
                made = f"bundle {row['bundle']} {row['bundle_version']}" if row["bundle"] else "another bundle"
                raise MedAttnError(
                    "other_run",
                    f"{self.folder}: an unfinished batch lies there, of {made} with other files, options or version of "
                    "MedAttn than now; finish it as it was begun, choose another --output, or drop it with --restart",
                )
            if batch["place"] not in inputs and not self._same_model(row) and not row["error"] and self._complete(row):
                other = row
                lost.add(batch["place"])
        if other is not None:
            many = "a result of another input lies" if len(lost) == 1 else f"results of {len(lost)} other inputs lie"
            raise MedAttnError(
                "other_run",
                f"{self.folder}: {many} there, made with {_difference(other, self.model)}, and rows of both are not "
                "mixed in one table; choose another --output, or drop theirs with --restart",
            )

    def _named(self, jobs: Sequence[Job], restart: bool) -> list[Job]:
        """Jobs under their names of before, else under free ones: scans of one name in different folders are common."""
        inputs = {_place(job.path) for job in jobs}
        names, own = UniqueNames(), dict[str, str]()
        for row in chain(_dropped(self.path), _lines(self.path)):
            batch = row["batch"]
            if batch["place"] in inputs:
                if not restart and "dropped" not in batch and self._same_model(row):
                    own[batch["place"]] = batch["name"]
            elif ("dropped" not in batch and self._stays(row)) or self._lies_there(row):
                names.take(batch["name"])
        # An input in this folder that looks like a result is not written over.
        for path in {path for job in jobs for path in job.files}:
            result = _RESULT.fullmatch(path.name)
            if result is not None and os.path.abspath(path.parent) == os.path.abspath(self.folder):
                names.take(path.name.removesuffix(f"_{result[1]}"))
        held = {path: names.take(name) for path, name in own.items()}
        # Taken out: an input that is listed twice has one name of before.
        return [replace(job, name=held.pop(_place(job.path), "") or names.take(job.name)) for job in jobs]

    def _stopped_runs(self) -> set[str]:
        """Runs that have fewer rows than they had inputs; of rows that were kept it is known already."""
        inputs: dict[str, set[str]] = {}
        of: dict[str, int] = {}
        for row in _lines(self.path):
            batch = row["batch"]
            if not batch.get("kept"):
                inputs.setdefault(batch["run"], set()).add(batch["place"])
                of[batch["run"]] = batch["of"]
        return {run for run, count in of.items() if len(inputs[run]) < count}

    def _was(self, row: Mapping[str, Any]) -> str:
        """Whether the run that a row is of was finished or stopped."""
        kept: str | None = row["batch"].get("kept")
        return kept or (STOPPED if row["batch"]["run"] in self._stopped else FINISHED)

    def _take_over(self, jobs: Mapping[str, Job], restart: bool) -> set[str]:
        """Keep the rows that are still true, in a new file; note where they begin.

        Returns:
            Files of earlier results of inputs that are done again now: if one fails, the map of an earlier run must not
            lie beside its error.
        """
        stale: set[str] = set()
        held: set[str] = set()
        needed = {os.path.abspath(path) for job in jobs.values() for path in job.files}
        with replacing(self.path) as temporary, open(temporary, "wb") as kept:
            for row in chain(_dropped(self.path), _lines(self.path)):
                job = jobs.get(row["batch"]["place"])
                dropped = "dropped" in row["batch"]
                if job is None and not (dropped or restart) and self._stays(row):
                    self._kept.append(kept.tell())
                    row["batch"]["kept"] = self._was(row)
                    held.update(row["batch"]["files"])
                    kept.write(_line(row))
                elif job is None and self._lies_there(row):
                    held.update(row["batch"]["files"])
                    kept.write(_line({"batch": {key: row["batch"][key] for key in _OF_DROPPED} | {"dropped": True}}))
                if job is None or job.index in self._places:
                    continue
                if restart or dropped or not self._holds(row, job):
                    stale.update(row["batch"]["files"])
                    continue
                self._places[job.index] = kept.tell()
                row["batch"]["of"] = self._of
                row["batch"].pop("kept", None)
                held.update(row["batch"]["files"])
                kept.write(_line(row))
            kept.flush()
            os.fsync(kept.fileno())
        # Only names that are written here, whatever the journal says, and no input.
        return {
            name
            for name in stale - held
            if _RESULT.fullmatch(name) and os.path.abspath(self.folder / name) not in needed
        }

    def _holds(self, row: Mapping[str, Any], job: Job) -> bool:
        """Whether a row is this job's result with the same model. Failures are tried again: a disk may be back."""
        batch = row["batch"]
        if row["error"] or batch["run"] != self.run or batch["name"] != job.name:
            return False
        if batch["stamp"] != job.stamp(self.folder):
            return False
        if any(batch.get(key) != value for key, value in _beside(job).items()):  # two may have one size and time
            return False
        return self._complete(row)

    def _stays(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of another input is a whole result of the same model. Of failures nothing is there.

        Its options may be others: a report or the type of the stored map changes no number, and its row says what
        computed it (``runtime``).
        """
        return not row["error"] and self._same_model(row) and self._complete(row)

    def _same_model(self, row: Mapping[str, Any]) -> bool:
        return bool(row["batch"].get("model", {}) == self.model)

    def _lies_there(self, row: Mapping[str, Any]) -> bool:
        """Whether a file of a result is still there, be it whole or not."""
        return any(_RESULT.fullmatch(name) and os.path.lexists(self.folder / name) for name in row["batch"]["files"])

    def _complete(self, row: Mapping[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            return all((self.folder / name).stat().st_size == size for name, size in row["batch"]["files"].items())
        return False


def _place(path: str | os.PathLike[str]) -> str:
    """Which file or folder a path means, whatever folder it was typed in; a hash, which names nobody."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]


def _beside(job: Job) -> dict[str, Any]:
    """What besides its path tells an input from another."""
    return {
        "channels": [_place(path) for path in job.channels],
        "mask": None if job.mask is None else _place(job.mask),
        "series": job.series,
    }


def _difference(row: Mapping[str, Any], model: Mapping[str, str]) -> str:
    """What a row was made with that is not as it is now, for a person."""
    before = row["batch"].get("model", {})
    if not before:
        return "an earlier version of MedAttn"
    words = {
        "version": f"MedAttn {before.get('version')} (now {model.get('version')})",
        "bundle": f"bundle {row['bundle']} {row['bundle_version']} (now another, or with other files)",
        "device": f"device {before.get('device')} (now {model.get('device')})",
    }
    return ", ".join(text for key, text in words.items() if before.get(key) != model.get(key))


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="backslashreplace") + b"\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a journal; what is no row of one is passed over."""
    for row in _objects(path):
        try:
            batch = row["batch"]
            whole = {"run", "of", "name", "channels", "stamp", "files"} <= set(batch)
            if "place" not in batch:  # of an older version, which knew what was typed alone
                known_place = all(os.path.isabs(one) for one in (row["input"], *batch["channels"]))
                batch["place"] = _place(row["input"]) if known_place else f"typed {row['input']}"
                batch["channels"] = [_place(one) for one in batch["channels"]]
            known = {"input", "error", "bundle", "bundle_version"} <= set(row)
        except (ValueError, TypeError, KeyError):
            continue
        if whole and known:
            yield row


def _dropped(path: Path) -> Iterator[dict[str, Any]]:
    """What a journal says of rows that were dropped."""
    for row in _objects(path, begin=b'{"batch"'):
        batch = row["batch"]
        if isinstance(batch, dict) and {"dropped", *_OF_DROPPED} <= set(batch):
            yield row


def _objects(path: Path, *, begin: bytes = b"{") -> Iterator[dict[str, Any]]:
    """Whole lines of a journal that are objects and begin so: of a million rows not each is read for its first key."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; its absence is no error)
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.startswith(begin) and line.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    yield json.loads(line)


def _locked(folder: Path) -> Any:
    """An open file that holds the folder; the system lets go of it however the process ends."""
    path = folder / _LOCK
    try:
        file = open(path, "ab")  # noqa: SIM115 (open as long as the batch runs)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        import fcntl
    except ImportError:  # Windows: no lock, as before
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise VolumeError(
            "unwritable", f"{folder}: another medattn predict writes there; wait for it, or choose another --output"
        ) from error
    except OSError:  # a file system without locks
        pass
    return file


def unwritable(path: Path, error: OSError) -> VolumeError:
    """The error of a file of the batch that the disk or its permissions refuse."""
    return VolumeError(
        "unwritable", f"{path}: cannot be written ({error.strerror or error}); choose another folder or free space"
    )
