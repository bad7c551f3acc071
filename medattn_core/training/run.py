"""What the steps of a training hand on: what is asked for, what is settled from it, and what has been trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.bundles import Bundle, Recipe
from medattn_core.datalists import Case
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.loop import Progress
from medattn_core.training.processes import Processes
from medattn_core.training.reliability import HeldOut
from medattn_core.training.work_folder import logs_of, work_of


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Arguments of :func:`medattn_core.training.train`, each checked by itself.

    Attributes:
        device: torch device; that of a process among several is of ``processes``.
        processes: that train together, of which only the first speaks.
    """

    data: Path
    output: Path
    section: str
    folds: int | None
    validation_fold: int | None
    resume: bool
    overwrite: bool
    device: str
    processes: Processes
    say: Callable[[str], None]
    progress: Progress | None
    reading: Callable[[int, int], None] | None

    @property
    def work(self) -> Path:
        """Folder of the checkpoints."""
        return work_of(self.output)

    @property
    def log_dir(self) -> Path:
        """Folder of the curves."""
        return logs_of(self.output)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that is settled before any image is read; what every fold shares.

    Attributes:
        cases: of the list, those that are held out among them.
        held_out: for each network ``(N,)``, which cases it does not train on.
        where: the held-out cases come from, in words; empty without any.
        size: of the images, on the model grid.
        network: its settings.
        about: part ``bundle`` of the configuration.
        start: bundle whose weights are the first.
        started_from: origin of the bundle, as that notes it.
        trained_on: fingerprint of the list.
    """

    asked: Asked
    cases: Sequence[Case]
    held_out: Sequence[np.ndarray]
    where: str
    task: TaskSpec
    size: tuple[int, ...]
    network: dict[str, Any]
    settings: TrainingConfig
    about: dict[str, Any]
    start: Bundle | None
    started_from: dict[str, str]
    trained_on: str
    recipe: Recipe

    def identity(self) -> dict[str, Any]:
        """What a finished bundle has to say of itself to be this training's, as JSON has it."""
        told: dict[str, Any] = {
            "task": self.task.to_dict(),
            "network": self.network,
            "training": self.settings.to_dict(),
            "trained_on": self.trained_on,
        }
        told |= {"started_from": self.started_from} if self.started_from else {}
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The networks of all folds.

    Attributes:
        members: one a fold, on the CPU.
        found: what each said of the cases that it was not trained on.
        kept: which epochs early stopping chose, in words.
    """

    members: list[AttentionCNN]
    found: list[HeldOut]
    kept: list[str]
