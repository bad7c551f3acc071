"""A bundle that tells bright from dark squares, trained once for all tests of this folder."""

from __future__ import annotations

import copy
import csv
from pathlib import Path

import numpy as np
import pytest

from medattn_core.evaluation.saliency import Peers
from medattn_core.inference.prediction import Prediction
from medattn_core.training import train
from medattn_core.transforms.conform import conform
from tests.squares import SETTINGS, write_list, write_squares


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundle, and the list it was trained on (fold 1 held out)."""
    folder = tmp_path_factory.mktemp("squares")
    squares = write_squares(folder)
    settings = copy.deepcopy(SETTINGS)
    settings["training"] |= {"epochs": 40, "learning_rate": 5e-3, "ema_decay": 0.9}
    train(squares, folder / "out" / "squares", config=settings, device="cpu", validation_fold=1)
    return folder / "out" / "squares", squares


@pytest.fixture(scope="session")
def folds(trained: tuple[Path, Path]) -> tuple[Path, Path]:
    """The training fold and the held-out fold as two lists."""
    rows = list(csv.DictReader(trained[1].open()))
    return tuple(  # type: ignore[return-value]
        write_list(trained[1].with_name(f"fold{fold}.csv"), [row for row in rows if row["fold"] == str(fold)])
        for fold in (0, 1)
    )


def other_map(peers: Peers, prediction: Prediction, label: str, method: str) -> np.ndarray:
    """The map of another method on the scan's voxels."""
    conformed = conform(prediction.volume, prediction.task, ())
    pixels = peers.maps(conformed.image[..., 0], prediction.task.index(label))[method]
    return conformed.grid.spread(pixels[..., None], 1)
