"""Checkpoints: written whole or not at all, and refused by a run of other settings or other cases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medattn_core.errors import TrainingError
from medattn_core.files import replacing
from medattn_core.training.config import TrainingConfig, differing
from medattn_core.training.early_stop import EarlyStop
from medattn_core.training.ema import MovingAverage


def store(
    path: Path,
    identity: dict[str, Any],
    epoch: int,
    network: nn.Module,
    average: MovingAverage,
    optimizer: Any,
    stop: EarlyStop,
) -> None:
    """Write the state after an epoch.

    Raises:
        TrainingError: ``unwritable``.
    """
    state = {
        "identity": identity,
        "epoch": epoch,
        "network": network.state_dict(),
        "average": average.network.state_dict(),
        "average_steps": average.steps,
        "optimizer": optimizer.state_dict(),
        "early_stop": stop.state_dict(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # By this name the work folder knows what a kill has left.
        with replacing(path, temporary=f".{path.name}.{os.getpid()}") as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch raises the second where a disk is full
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise TrainingError(
            "unwritable", f"{path}: the checkpoint cannot be written ({reason}); make room there, then --resume"
        ) from error


def restore(
    path: Path, identity: dict[str, Any], network: nn.Module, average: MovingAverage, optimizer: Any, stop: EarlyStop
) -> int:
    """Put a stored state back, in place; the number of epochs that were finished.

    Raises:
        TrainingError: ``bad_config``: the file is damaged, or of other settings or cases.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        stored = dict(state["identity"])
    except Exception as error:  # torch raises what its archive and pickle readers raise
        raise TrainingError(
            "bad_config", f"{path}: the checkpoint is damaged; delete it, or train without resuming"
        ) from error
    if TrainingConfig.from_dict(identity["config"]).same_as(stored.get("config")):
        stored["config"] = identity["config"]
    if stored != identity:
        changed = ", ".join(
            _named(key, stored.get(key), value) for key, value in identity.items() if stored.get(key) != value
        )
        raise TrainingError(
            "bad_config",
            f"{path}: the checkpoint was made with another {changed}; resume with the same settings, "
            "or give another output folder",
        )
    network.load_state_dict(state["network"])
    average.network.load_state_dict(state["average"])
    average.steps = state["average_steps"]
    optimizer.load_state_dict(state["optimizer"])
    stop.load_state_dict(state["early_stop"])
    return int(state["epoch"])


def _named(part: str, before: Any, now: Any) -> str:
    """A part of the settings, and which of its keys differ where it has keys."""
    keys = differing(before, now) if isinstance(now, dict) else []
    return f"{part} ({', '.join(keys)})" if keys else part
