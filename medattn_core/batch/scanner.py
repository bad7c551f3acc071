"""One scan from file to files: what a thread here and an actor on a cluster do alike."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medattn_core import volumes
from medattn_core.batch.jobs import Job
from medattn_core.batch.memory import Budget, expected_voxels, scan_bytes
from medattn_core.batch.settings import Settings
from medattn_core.bundles.claims import percent_of
from medattn_core.errors import known_error
from medattn_core.outputs import ResultWriter, tables
from medattn_core.outputs.answer import Answer, quantity
from medattn_core.outputs.files import make_folder

if TYPE_CHECKING:
    from medattn_core.inference import BasePredictor, Prediction


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a job.

    Attributes:
        job: which.
        record: object of predictions.json.
        stamp: of the input's files, taken before they were read.
        files: names of the files it left in the output folder, with their bytes.
        said: the result in a few words; empty for an error.
        seconds: from its turn to its last file.
        trace: of the error, for ``--verbose`` alone: its text may quote a header.
    """

    job: Job
    record: dict[str, Any]
    stamp: list[list[int]]
    files: dict[str, int]
    said: str = ""
    seconds: float = 0.0
    trace: str = ""


class Scanner:
    """Predicts and writes scans; to be called from several threads.

    Args:
        predictor: of the model.
        output: folder of the results.
        settings: of the batch.
        budget: of memory.
        lanes: scans computed (resampled, through the network, map made and packed) at a time; further threads read
            meanwhile.
        threads: of torch for each lane.
    """

    def __init__(
        self, predictor: BasePredictor, output: Path, settings: Settings, *, budget: Budget, lanes: int, threads: int
    ) -> None:
        from medattn_core.inference import Predictor

        self.predictor, self.settings, self.budget = predictor, settings, budget
        if settings.batch_size and isinstance(predictor, Predictor):
            predictor.slices_at_once = settings.batch_size
        self.writer = ResultWriter(make_folder(output), report=settings.report, evidence_dtype=settings.evidence_dtype)
        self._lanes = threading.BoundedSemaphore(lanes)
        self._threads = threads

    def __call__(self, job: Job) -> Done:
        """Predict and write one scan. Never raises for the scan's sake: what is wrong is in the record."""
        start, stamp = time.perf_counter(), job.stamp(self.writer.folder)
        try:
            prediction, record, paths = self._predict(job)
            files = {path.name: path.stat().st_size for path in paths.values()}
        except Exception as error:  # one bad input never stops the others
            record = tables.error_record(str(job.path), known_error(error, job.path))
            return Done(job=job, record=record, stamp=stamp, files={}, trace=_trace(error))
        said = "" if record["error"] else words_of(prediction)
        seconds = time.perf_counter() - start
        return Done(job=job, record=record, stamp=stamp, files=files, said=said, seconds=seconds)

    def _predict(self, job: Job) -> tuple[Prediction, dict[str, Any], dict[str, Path]]:
        import torch

        torch.set_num_threads(self._threads)  # OpenMP counts for each thread of Python by itself
        further = sum(scan_bytes(expected_voxels(path)) for path in job.channels)
        with self.budget.lend(scan_bytes(expected_voxels(job.path)) + further, str(job.path)) as loan:
            start = time.perf_counter()
            source: Any = job.path
            series = job.series
            if not self.predictor.foreign:  # those read by themselves
                source = volumes.read(job.path, series=series, modality=self.predictor.task.modality)
                loan.grow(scan_bytes(source.data.size) + further)
                series = None
            read = time.perf_counter() - start  # without the further channels
            with self._lanes:
                prediction = self.predictor((source, *job.channels), mask=job.mask, series=series)
                timings = {**prediction.timings, "read": read + prediction.timings.get("read", 0.0)}
                prediction = prediction.annotated(timings=timings)
                record, paths = self.writer.write(prediction, job.name)
            return prediction, record, paths


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def words_of(prediction: Prediction) -> str:
    """The result in a few words."""
    if prediction.value is not None:
        return quantity(prediction, lambda value: f"{value:.4g}")
    answer = Answer.of(prediction)
    gap = "  " if prediction.task.takes_one else " "
    shown = {label: f"{label}{gap}{probability:.3f}" for label, probability in prediction.probabilities.items()}
    parts = [shown[label] for label in answer.said]
    for label in answer.undecided:
        low, high = (percent_of(end) for end in prediction.limits[label])
        when = f"below {high}" if prediction.task.kind == "multiclass" else f"from {low} to {high}"
        parts.append(f"undecided {when}: {shown[label]}")
    if parts:
        return "  ".join(parts)
    if answer.below:
        return f"{answer.words}{gap}{prediction.probabilities[answer.best]:.3f}"
    likely = "" if len(shown) == 1 else "most probable: "
    return f"{answer.words}  ({likely}{shown[answer.best]})"
