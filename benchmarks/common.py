"""What every benchmark prints the same way."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine() -> str:
    """Processor, cores, and the versions that matter, in one line."""
    import monai
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{model}, {os.cpu_count()} cores{gpu}; Python {platform.python_version()}, torch {torch.__version__}, "
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


def with_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (of a sample); one value by itself."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def print_progress(step: int, steps: int, losses: dict[str, float]) -> None:
    """Training progress for a log file."""
    if step % 50 == 0 or step == steps:
        print(step, steps, " ".join(f"{k} {v:.3f}" for k, v in losses.items()), flush=True)
