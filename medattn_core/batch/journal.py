"""predictions.jsonl: one line a finished scan, appended and on the disk before the scan counts as finished.

A line is the object of predictions.json with one more key, ``batch``: which run it is of (``run``, the fingerprint of
bundle and options; ``of``, its number of inputs), the ``model`` that all rows share, the ``channels``, ``mask`` and
``series`` besides the input, the ``stamp`` of all their files, the ``name`` and ``files`` of the result with their
bytes, and ``kept`` where the input is none of the last run's: whether the run that it is of was finished. The line of a
failure has ``shown``, too: its message for a page, which is passed on without folders; that of an input that was no
longer there has ``gone`` and the result of before. A line that was cut off by the end of the process is no line; its
scan is predicted again.

Of a row that was dropped while files of its result still lie there, a line with ``batch`` alone stays (``dropped``): no
other input gets their name, or a page of one patient would lie beside the map of another. Such a line is also on the
disk before the files of a scan are written, so that a kill between them and the row leaves no file without its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from medattn_core.batch.jobs import Job
from medattn_core.batch.lines import RESULT, Lines, changed, dropped, line, of_before, place_of, reservation
from medattn_core.batch.lock import locked, unwritable
from medattn_core.batch.scanner import Done
from medattn_core.errors import MedAttnError
from medattn_core.outputs.files import replacing, without_folders
from medattn_core.volumes.filenames import UniqueNames

NAME = "predictions.jsonl"
FINISHED, STOPPED = "finished", "stopped"
_LEFT = re.compile(r"\.medattn-[0-9a-f]{32}\.part|\.[0-9a-f]{12}\.tmp")
"""Names under which files are written before they get their own; a killed process leaves them."""


class Journal:
    """The rows of one batch on disk; in memory only where each begins.

    Rows of other inputs that earlier runs with the same model left in the folder stay under their names, failures too
    and whatever options they were made with: the tables say what the folder holds. A row whose files are gone goes;
    what is left of them keeps its name. The row of an input that is done again, because it failed or has changed or an
    option has, stays until the new one is there.

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
            results by another model; ``unwritable``: another process writes there, or the disk refuses.
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
        self._of = len({place_of(job.path) for job in jobs})  # rows of an input that is listed twice tell of one place
        self._places: dict[int, int] = {}
        self._kept: list[int] = []
        self._old: dict[int, tuple[int, set[str]]] = {}
        """Of inputs that are done again: where the row of before begins, and its files."""
        self._begun: dict[int, Mapping[str, int]] = {}
        self._untidy = False
        self._writing = threading.Lock()
        self._lock = locked(folder)
        try:
            before = Lines(self.path)
            self._stopped = self._stopped_runs(before)
            if not restart:
                self._refuse_mixing(before, {place_of(job.path) for job in jobs})
            self.jobs = self._named(before, jobs, restart)
            self._take_over(before, {place_of(job.path): job for job in self.jobs}, restart)
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
        return len(self._kept) + len(self._places) + len(self._old)

    def __contains__(self, job: Job) -> bool:
        return job.index in self._places

    def reserve(self, job: Job) -> None:
        """Note, from any thread, that files of a job may be written from now on; after this no kill loses their name.

        Raises:
            VolumeError: ``unwritable``.
        """
        taken = reservation(self.folder, place_of(job.path), job.name)
        self._untidy = True
        self._begun[job.index] = taken["batch"]["files"]
        self._write(taken)

    def append(self, done: Done) -> Mapping[str, Any]:
        """Write a row; after this returns a kill does not lose it.

        Of an earlier result, or of one that came to nothing, no file is left that is not in the row. An input whose
        files are no longer there (a share that is not mounted) keeps its result of before, with a warning.

        Returns:
            What its row says, as in predictions.json.

        Raises:
            VolumeError: ``unwritable``.
        """
        before = self._before(done)
        if before is not None:
            return self._settle(done.job, before)
        batch = {
            "run": self.run,
            "of": self._of,
            "model": self.model,
            "name": done.job.name,
            "place": place_of(done.job.path),
            **_beside(done.job),
            "stamp": done.stamp,
            "files": done.files,
        }
        if done.record["error"]:  # here all paths are known that its message may name
            batch["shown"] = without_folders(done.record["error"]["message"], map(str, done.job.files))
        _, stale = self._old.get(done.job.index, (0, set()))
        stale = stale | changed(self.folder, self._begun.get(done.job.index, {}))
        try:
            for name in stale - set(done.files):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder / name, error) from error
        return self._settle(done.job, {**done.record, "batch": batch})

    def _settle(self, job: Job, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row of a job instead of what there was; what it says."""
        self._places[job.index] = self._write(row)
        self._untidy |= self._old.pop(job.index, None) is not None
        self._begun.pop(job.index, None)
        return {key: value for key, value in row.items() if key != "batch"}

    def _before(self, done: Done) -> dict[str, Any] | None:
        """The row of an input that is gone: its earlier result, where that answers the same question and is whole."""
        index, error = done.job.index, done.record["error"]
        if not error or error["code"] != "not_found" or index not in self._old:
            return None
        if changed(self.folder, self._begun.get(index, {})):
            return None
        with open(self.path, "rb") as file:
            file.seek(self._old[index][0])
            return of_before(json.loads(file.readline()), {"run": self.run, "of": self._of, **_beside(done.job)})

    def _write(self, row: Mapping[str, Any]) -> int:
        """Append a line; where it begins."""
        text = line(row)
        try:
            with self._writing:
                place = self._file.tell()
                self._file.write(text)
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error
        return place

    def rows(self, *, replaced: bool = True) -> Iterator[dict[str, Any]]:
        """All rows, one at a time, with their key ``batch``: those of other inputs, then the inputs in their order.

        Args:
            replaced: those, too, that are to be replaced in this run and whose files are still theirs.
        """
        old = {
            index: place
            for index, (place, _) in self._old.items()
            if replaced and not changed(self.folder, self._begun.get(index, {}))
        }
        own = old | self._places
        with open(self.path, "rb") as file:
            for place in (*self._kept, *(own[index] for index in sorted(own))):
                file.seek(place)
                yield json.loads(file.readline())

    def close(self) -> None:
        """Let other processes write here."""
        try:
            with contextlib.suppress(OSError), self._writing:  # what a full disk did not take was said by append
                self._file.close()
            if self._untidy and not self._begun:  # else a scan may still be under way
                with contextlib.suppress(MedAttnError, OSError):  # as it is the next run reads it as well
                    self._tidy()
        finally:
            self._lock.close()

    def _tidy(self) -> None:
        """A line a result again: without rows that were replaced, and names that are reserved for nothing."""
        with self._anew() as kept:
            for row in Lines(self.path):
                if "dropped" not in row["batch"] or self._lies_there(row):
                    kept.write(line(row))

    @contextlib.contextmanager
    def _anew(self) -> Iterator[BinaryIO]:
        """A new journal, which takes the place of the old one when it is whole and on the disk."""
        with replacing(self.path, sync=True) as temporary, open(temporary, "wb") as kept:
            yield kept

    def _refuse_mixing(self, before: Lines, inputs: Set[str]) -> None:
        """Refuse to drop what an earlier run has done: an unfinished batch, or results by another model.

        Those of the inputs of this run, too: they would go before the new ones are there, or lie in one table with them
        if this run is stopped.
        """
        lost: set[str] = set()
        other: dict[str, Any] | None = None
        for row in before.rows():
            batch = row["batch"]
            if batch["run"] != self.run and self._was(row) == STOPPED:
                made = f"bundle {row['bundle']} {row['bundle_version']}" if row["bundle"] else "another bundle"
                raise MedAttnError(
                    "other_run",
                    f"{self.folder}: an unfinished batch lies there, of {made} with other files, options or version of "
                    "MedAttn than now; finish it as it was begun, choose another --output, or drop it with --restart",
                )
            if not self._same_model(row) and not row["error"] and self._complete(row):
                other = row
                lost.add(batch["place"])
        if other is not None:
            elsewhere = "" if lost & inputs else "other "
            many = f"results of {len(lost)} {elsewhere}inputs lie" if len(lost) > 1 else "a result lies"
            if elsewhere and len(lost) == 1:
                many = "a result of another input lies"
            raise MedAttnError(
                "other_run",
                f"{self.folder}: {many} there, made with {_difference(other, self.model)}, and rows of both are not "
                "mixed in one table; choose another --output, or drop those with --restart",
            )

    def _named(self, before: Lines, jobs: Sequence[Job], restart: bool) -> list[Job]:
        """Jobs under their names of before, else under free ones: scans of one name in different folders are common."""
        inputs = {place_of(job.path) for job in jobs}
        names, own = UniqueNames(), dict[str, str]()
        for row in before:
            batch = row["batch"]
            if batch["place"] in inputs:
                if not restart and "dropped" not in batch and self._same_model(row):
                    own[batch["place"]] = batch["name"]
            elif ("dropped" not in batch and self._stays(row)) or self._lies_there(row):
                names.take(batch["name"])
        # An input in this folder that looks like a result is not written over.
        for path in {path for job in jobs for path in job.files}:
            result = RESULT.fullmatch(path.name)
            if result is not None and os.path.abspath(path.parent) == os.path.abspath(self.folder):
                names.take(path.name.removesuffix(f"_{result[1]}"))
        held = {path: names.take(name) for path, name in own.items()}
        # Taken out: an input that is listed twice has one name of before.
        return [replace(job, name=held.pop(place_of(job.path), "") or names.take(job.name)) for job in jobs]

    def _stopped_runs(self, before: Lines) -> set[str]:
        """Runs that have fewer rows than they had inputs; of rows that were kept it is known already."""
        inputs: dict[str, set[str]] = {}
        of: dict[str, int] = {}
        for row in before.rows():
            batch = row["batch"]
            if not batch.get("kept"):
                inputs.setdefault(batch["run"], set()).add(batch["place"])
                of[batch["run"]] = batch["of"]
        return {run for run, count in of.items() if len(inputs[run]) < count}

    def _was(self, row: Mapping[str, Any]) -> str:
        """Whether the run that a row is of was finished or stopped."""
        kept: str | None = row["batch"].get("kept")
        return kept or (STOPPED if row["batch"]["run"] in self._stopped else FINISHED)

    def _take_over(self, before: Lines, jobs: Mapping[str, Job], restart: bool) -> None:
        """Keep the rows that are still true, in a new file; note where they begin.

        Files of results of these inputs that have no such row are removed, before the file that knows their names is
        replaced: if one fails now, the map of an earlier run must not lie beside its error.
        """
        stale: set[str] = set()
        held: set[str] = set()
        needed = {os.path.abspath(path) for job in jobs.values() for path in job.files}

        def ours(names: Set[str]) -> set[str]:
            """Only names that are written here, whatever the journal says, and no input."""
            found = {name for name in names if RESULT.fullmatch(name)}
            return {name for name in found if os.path.abspath(self.folder / name) not in needed}

        with self._anew() as kept:
            for row in before:
                batch = row["batch"]
                job, stays = jobs.get(batch["place"]), not restart and "dropped" not in batch and self._stays(row)
                if job is None:
                    if stays:
                        self._kept.append(kept.tell())
                        batch["kept"] = self._was(row)
                    elif self._lies_there(row):
                        row = dropped(batch)
                    else:
                        continue
                elif job.index in self._places or job.index in self._old:
                    continue
                elif not (stays and batch["name"] == job.name):
                    stale.update(batch["files"])
                    continue
                elif self._holds(row, job):
                    self._places[job.index] = kept.tell()
                    batch["of"] = self._of
                    batch.pop("kept", None)
                else:
                    self._old[job.index] = kept.tell(), ours(set(batch["files"]))
                    batch["kept"] = self._was(row)
                held.update(batch["files"])
                kept.write(line(row))
            for name in ours(stale - held):
                (self.folder / name).unlink(missing_ok=True)

    def _holds(self, row: Mapping[str, Any], job: Job) -> bool:
        """Whether a row that stays is what this run would make. Failures are tried again: a disk may be back."""
        batch = row["batch"]
        if any(note["code"] == "report_failed" for note in row.get("warnings") or ()):
            return False
        if row["error"] or batch.get("gone") or batch["run"] != self.run or batch["stamp"] != job.stamp(self.folder):
            return False
        return all(batch.get(key) == value for key, value in _beside(job).items())  # two may have one size and time

    def _stays(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is of the same model and its files are there; a failure has none.

        Its options may be others: a report or the type of the stored map changes no number, and its row says what
        computed it (``runtime``).
        """
        return self._same_model(row) and self._complete(row)

    def _same_model(self, row: Mapping[str, Any]) -> bool:
        return bool(row["batch"].get("model", {}) == self.model)

    def _lies_there(self, row: Mapping[str, Any]) -> bool:
        """Whether a file of a result is still there, be it whole or not."""
        return any(RESULT.fullmatch(name) and os.path.lexists(self.folder / name) for name in row["batch"]["files"])

    def _complete(self, row: Mapping[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            return all((self.folder / name).stat().st_size == size for name, size in row["batch"]["files"].items())
        return False


def _beside(job: Job) -> dict[str, Any]:
    """What besides its path tells an input from another."""
    return {
        "channels": [place_of(path) for path in job.channels],
        "mask": None if job.mask is None else place_of(job.mask),
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
