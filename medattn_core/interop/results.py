"""What `monai.bundle run` leaves behind: predictions.csv and the evidence of each input on its own grid."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from medattn_core.bundles.trust import Trust
from medattn_core.errors import CODES, MedAttnError, Notice, PredictionError
from medattn_core.inference.doubts import doubts
from medattn_core.inference.head import Head, Pooled
from medattn_core.inference.prediction import Prediction
from medattn_core.interop.engine import EvidenceInferer, Handler
from medattn_core.interop.scans import cause
from medattn_core.spreadsheets import safe_text
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.dictionary import as_volume
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import write
from medattn_core.volumes.filenames import UniqueNames, name_of

DECISION = ("label", "present", "label_set", "abstained", "undecided")
"""Columns of what was decided, rather than measured."""


def columns(task: TaskSpec) -> list[str]:
    """Columns of predictions.csv: those of ``medattn predict`` that a bundle can fill, in its order."""
    labels = [] if task.kind == "regression" else [f"probability_{label}" for label in task.labels]
    return [
        *("input", "label", "label_set", "present", *labels, "value", "value_low", "value_high", "unit"),
        *("coverage", "confidence", "abstained", "calibrated", "undecided", "evidence_path", "evidence_label"),
        *("warnings", "error_code", "error_message"),
    ]


def row_of(prediction: Prediction) -> dict[str, str]:
    """The row of a result, every cell as it is written; what does not apply is left out.

    ``label`` is the most probable one, as everywhere; what is said of the scan is in ``present``.
    """
    row: dict[str, Any] = {}
    claims = prediction.claims
    if prediction.task.kind == "regression":
        low, high = claims.interval or (None, None)
        row |= {"value": prediction.value, "unit": prediction.unit, "value_low": low, "value_high": high}
    else:
        row |= {"label": prediction.label, "present": "|".join(prediction.present)}
        row |= {f"probability_{label}": p for label, p in prediction.probabilities.items()}
        row |= {"confidence": claims.confidence, "calibrated": claims.calibrated}
    for name, labels in (("label_set", claims.label_set), ("undecided", prediction.undecided)):
        row[name] = None if labels is None else "|".join(labels)
    row |= {"coverage": prediction.trust.coverage, "abstained": prediction.abstained}
    return {name: _cell(value) for name, value in row.items()}


def without_input_check(prediction: Prediction) -> Prediction:
    """A prediction as a run knows it, which has no input check: its warning takes back what is claimed of the scan."""
    known = tuple(notice for notice in prediction.warnings if notice.code != "unlike_training")
    return prediction.annotated(warnings=known)


def rules_in(metadata: str | Path) -> Trust:
    """The rules of a bundle about its own reliability, from its ``configs/metadata.json``.

    Raises:
        BundleError: ``bad_bundle``: they are invalid.
    """
    # Read as data: label names are keys in there, and in a configuration MONAI evaluates keys.
    data = json.loads(Path(metadata).read_text(encoding="utf-8"))
    return Trust.from_calibration(data.get("medattn", {}).get("calibration", {}), str(metadata))


class SaveResults(Handler):
    """Writes a row an input to ``predictions.csv``, and with evidence ``<name>_evidence.nii.gz``.

    The evidence is that of the most probable label, as a density (logit/mL, logit/cm2 for pictures, logit/pixel where
    they state no pixel size, the target's unit per mL), the same that ``medattn predict`` writes; the row names the
    file. An input that could not be used, or whose evidence could not be written, has a row with the reason and no map:
    one of its name from an earlier run is removed.

    Args:
        output_dir: made if absent.
        task: of the model, or its ``to_dict`` data.
        inferer: whose logits and evidence are written.
        metadata: ``configs/metadata.json`` with the bundle's rules to abstain and for label sets; None for no rules.
        inputs: every input of the run, as :func:`medattn_core.interop.engine.inputs_in` gives them, so that no number
            behind a repeated name makes the name of another; without them names are still given once.
    """

    def __init__(
        self,
        output_dir: str,
        task: TaskSpec | Mapping[str, Any],
        inferer: EvidenceInferer,
        metadata: str | None = None,
        inputs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.folder = Path(output_dir)
        self.task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))
        self.inferer = inferer
        self.trust = Trust() if metadata is None else rules_in(metadata)
        self.every = [name_of(str(one["source"])) for one in inputs if "source" in one]
        self._begin()

    def _begin(self) -> None:
        """Nothing is written yet."""
        self.names = UniqueNames(self.every)
        self.count = self.failed = 0

    @property
    def table(self) -> Path:
        """Where the rows go."""
        return self.folder / "predictions.csv"

    def __call__(self, engine: Any) -> None:
        """Write the items of a batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.table.open("a" if self.count else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns(self.task))
            if not self.count:
                writer.writerow({name: _cell(name) for name in writer.fieldnames})
            for index, item in enumerate(engine.state.batch):
                writer.writerow(self._row(item, index))

    def finish(self, engine: Any) -> None:
        """Say how many inputs failed, if any did; a further run begins anew, in place of this one."""
        if self.failed:
            message = "%d of %d inputs could not be predicted: see error_message in %s"
            logging.getLogger(__name__).warning(message, self.failed, self.count, self.table)
        self._begin()

    def _row(self, item: Mapping[str, Any], index: int) -> dict[str, str]:
        """Write the evidence of an item of the batch; its row."""
        source = str(item["source"])
        self.count += 1
        # Failed inputs have a name, too: what the others are called does not hang on them.
        place = self.folder / f"{self.names.take(name_of(source))}_evidence.nii.gz"
        try:
            if item.get("error_code"):
                raise MedAttnError(item["error_code"], item["error_message"])
            prediction = self._prediction(item, index)
            codes = self._warnings(item, prediction)
            known = prediction.annotated(warnings=tuple(Notice(code, CODES[code]) for code in codes))
            row = {"input": _cell(source), **row_of(known), "warnings": ";".join(codes)}
            if prediction.pooled.contributions.size:
                write(prediction.evidence().density(), place)
                row |= {"evidence_path": _cell(place.name), "evidence_label": _cell(prediction.label)}
        except Exception as error:  # whatever is wrong with one scan, the next one is not to pay for it
            self.failed += 1
            found = cause(error, source)
            said = {"error_code": found.code, "error_message": found.message}
            row = {name: _cell(value) for name, value in ({"input": source} | said).items()}
        if "evidence_path" not in row:
            with suppress(OSError):  # what may not be removed is named by no row
                place.unlink(missing_ok=True)  # of an earlier run: it would pass for the evidence of this one
        return row

    def _prediction(self, item: Mapping[str, Any], index: int) -> Prediction:
        """What Predictor would return, from what the inferer kept of an item of the batch."""
        source = str(item["source"])
        volume = as_volume(item.get("grid", source), self.task.modality, spatial_dims=self.task.spatial_dims)
        grid = plan_grid(volume, self.task)
        logits, evidence = self.inferer.logits, self.inferer.evidence
        assert logits is not None
        found = logits[index].double().cpu().numpy()
        cells: np.ndarray = np.zeros((len(found), 0))
        stride = 1
        if evidence is not None:
            cells = evidence[index].double().cpu().numpy()
            stride = self.inferer.stride or round(grid.shape[0] / cells.shape[1])
            cells = cells.reshape(len(found), *grid.cells(stride))
        if not (np.isfinite(found).all() and np.isfinite(cells).all()):
            raise PredictionError(
                "non_finite_logits",
                f"{source}: the network gave NaN or infinite values; check the bundle's weights and the scan",
            )
        head = cast(Head, _Answered(Pooled(found, np.zeros_like(cells), cells)))
        return Prediction(volume=volume, task=self.task, head=head, grid=grid, stride=stride, trust=self.trust)

    def _warnings(self, item: Mapping[str, Any], prediction: Prediction) -> list[str]:
        """Codes, those of the scan first, then those of the result, in Predictor's order."""
        codes = [code for code in str(item.get("warnings", "")).split(";") if code]
        return list(dict.fromkeys([*codes, *(notice.code for notice in doubts(prediction))]))


@dataclass(frozen=True)
class _Answered:
    """Stands for a head of which only the answer is known: the mean of an ensemble keeps no scores to ask again."""

    pooled: Pooled

    def pool(self) -> Pooled:
        """What was answered."""
        return self.pooled


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula, as in the tables of ``medattn predict``; nine digits."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value)
    if isinstance(value, float):
        return f"{value:.9g}"
    return safe_text(str(value))
