"""What every benchmark prints the same way."""

from __future__ import annotations

import copy
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medattn_core.datalists import Case

RESNET18: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "encoder": "resnet18",
    "width": 128,
}
"""Network of the measurements of speed, whose encoder its peers have, too."""


def machine() -> str:
    """Processor, cores, and the versions that matter, in one line."""
    import monai
    import torch

    from medattn_core.inference.runtimes.auto import processor

    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{processor()}, {os.cpu_count()} cores{gpu}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"monai {monai.__version__}"
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table for docs/benchmarks.md."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def merged(settings: dict[str, Any], changes: str) -> dict[str, Any]:
    """Settings with those of a ``--set`` option, JSON of one or two levels, over them."""
    found = dict(settings)
    for part, values in json.loads(changes).items():
        found[part] = {**found.get(part, {}), **values} if isinstance(values, dict) else values
    return found


def variant_of(name: str, config: dict[str, Any], cases: Sequence[Case]) -> tuple[dict[str, Any], list[Case]]:
    """Settings and cases of a variant of one training.

    Args:
        name: ``labels`` shows no places of findings, ``average`` neither, and pools the same encoder by averaging; any
            other leaves both as they are.
        config: of the training; a copy is changed.
        cases: with boxes or masks; they are copied, too.
    """
    config, own = copy.deepcopy(config), list(cases)
    if name == "average":
        config["network"]["pooling"] = "average"
    if name in ("labels", "average"):
        own = [replace(case, box=None, mask=None) for case in own]
    return config, own


def with_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (of a sample); one value by itself."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def print_progress(step: int, steps: int, losses: dict[str, float]) -> None:
    """Training progress for a log file."""
    if step % 50 == 0 or step == steps:
        print(step, steps, " ".join(f"{k} {v:.3f}" for k, v in losses.items()), flush=True)
