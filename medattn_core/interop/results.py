"""What `monai.bundle run` leaves behind: predictions.csv and the evidence of each input on its own grid."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.inference.evidence import Evidence
from medattn_core.interop.engine import EvidenceInferer, Handler
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.dictionary import as_volume
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import write

_ENDINGS = re.compile(r"(\.nii)?(\.gz|\.nii|\.nrrd|\.nhdr|\.mha|\.mhd|\.png|\.jpe?g|\.dcm|\.zip)$", re.IGNORECASE)


def spread_evidence(source: Any, task: TaskSpec, contributions: np.ndarray, label: int) -> Evidence:
    """Contributions of the evidence cells as a map on the grid of the scan, whose sum is the logit minus the bias.

    Args:
        source: path of the scan (its first channel), or a Volume.
        task: of the model.
        contributions: ``(*cells)`` of one output, with three axes in 3D and slice-wise tasks.
        label: index of that output.

    Returns:
        The map; ``density()`` is what is written to files.
    """
    volume = as_volume(source, task.modality)
    grid = plan_grid(volume, task)
    stride = round(grid.shape[0] / contributions.shape[0])
    cells = contributions.astype(np.float64).reshape(grid.cells(stride))
    data = grid.spread(cells, stride)
    total = float(data.sum(dtype=np.float64))
    unit = (task.unit or "unit") if task.kind == "regression" else "logit"
    return Evidence(
        **volume.identity(),
        data=data,
        label=task.labels[label],
        unit=unit,
        total=total,
        residual=float(cells.sum()) - total,
    )


class SaveResults(Handler):
    """Writes a row an input to ``predictions.csv``, and with evidence ``<name>_evidence.nii.gz``.

    The evidence is that of the most probable label, as a density (logit/mL, logit/cm2 for pictures, the target's unit
    per mL), the same that ``medattn predict`` writes.

    Args:
        output_dir: made if absent.
        task: of the model, or its ``to_dict`` data.
        inferer: whose evidence is written; None for the table alone.
    """

    def __init__(
        self, output_dir: str, task: TaskSpec | Mapping[str, Any], inferer: EvidenceInferer | None = None
    ) -> None:
        self.folder = Path(output_dir)
        self.task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))
        self.inferer = inferer
        self.names: set[str] = set()

    def __call__(self, engine: Any) -> None:
        """Write the items of a batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = self.folder / "predictions.csv"
        first = not self.names
        with table.open("w" if first else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if first:
                writer.writerow(["input", "label", *self.task.labels])
            for index, (item, output) in enumerate(zip(engine.state.batch, engine.state.output, strict=True)):
                values = np.asarray(output["pred"].detach().cpu(), np.float64).reshape(-1)
                best = int(values.argmax())
                source = str(item["source"])
                writer.writerow([source, self.task.labels[best], *(f"{value:.9g}" for value in values)])
                name = self._name(source)
                if self.inferer is not None and self.inferer.evidence is not None:
                    contributions = self.inferer.evidence[index, best].float().cpu().numpy()
                    evidence = spread_evidence(item.get("grid", source), self.task, contributions, best)
                    write(evidence.density(), self.folder / f"{name}_evidence.nii.gz")

    def _name(self, source: str) -> str:
        name = re.sub(r"[^\w.\-]+", "_", _ENDINGS.sub("", Path(source).name)).strip("._-") or "image"
        free, count = name, 1
        while free.casefold() in self.names:  # "scan_2" may be the name of another scan, too
            count += 1
            free = f"{name}_{count}"
        self.names.add(free.casefold())
        return free
