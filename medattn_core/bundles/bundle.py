"""Bundle: a model on disk, found and checked, not yet loaded. Data alone: it knows no runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medattn_core.bundles.trust import InputCheck
from medattn_core.datalists import TRAINING_SECTION
from medattn_core.tasks import TaskSpec

FORMAT = 2
"""Version of the ``medattn`` part of metadata.json that is read here; ensembles have it, single models have 1."""

SCHEMA_DATE = 20240725
SCHEMA = (
    f"https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_{SCHEMA_DATE}.json"
)
"""MONAI's schema of metadata.json, the newest known here."""

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
WEIGHTS = "models/model.pt"
MEMBER = "models/model_{}.pt"
"""Weights of the further members of an ensemble, numbered from 1."""
INPUT_CHECK = "configs/input_check.json"
TRAIN = "configs/train.json"
EVALUATE = "configs/evaluate.json"
CARD = "docs/README.md"
DATA_LICENSE = "docs/data_license.txt"
LICENSE = "LICENSE"

LISTED_FILES = (INFERENCE, WEIGHTS, CARD, DATA_LICENSE, LICENSE)
"""Files every bundle holds besides its metadata, each with its SHA-256 in the metadata."""

NETWORK_SETTINGS = (
    "spatial_dims",
    "in_channels",
    "out_channels",
    "encoder",
    "encoder_options",
    "evidence_stride",
    "width",
    "pooling",
    "mixing",
    "null_token",
    "null_score",
    "bias",
    "dropout",
    "slicewise",
    "mirror",
)
"""Keyword arguments of AttentionCNN, repeated here so that checking a bundle needs no torch (a test compares)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a bundle was trained, besides task, network and settings: what its `train.json` and `evaluate.json` need.

    Attributes:
        data_list: name of the data list, looked for in ``dataset_dir``.
        size: model grid of the batches.
        hold_out: fold that was left out.
        section: list within a JSON data list that was trained on.
        scored_section: list within it that the held-out cases are in: one that was held out as a whole, or the trained
            one; None where the data list has no other.
        watched: whether the held-out cases decided when to stop.
        started_from: ``name``, ``version`` and ``weights`` (hash) of the bundle whose weights were the first; empty
            where there was none.
    """

    data_list: str
    size: tuple[int, ...]
    hold_out: int | None = None
    section: str = TRAINING_SECTION
    scored_section: str | None = None
    watched: bool = False
    started_from: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, repr=False)
class Bundle:
    """A checked bundle.

    Attributes:
        path: folder.
        name: identifier, kept when the folder is renamed.
        version: of the model.
        description: one line for a person.
        task: what it takes and gives.
        network: keyword arguments of :class:`medattn_core.networks.attention_cnn.AttentionCNN`.
        weights_path: state dict.
        weights_sha256: of that file.
        members: state dicts of the further members of an ensemble, each with its SHA-256.
        stacked: networks in ``weights_path`` itself: an exported ensemble has all its members in one file.
        input_check: what the training scans were like, where the bundle knows.
        calibration: how probabilities were calibrated, as a record: the weights already contain it.
        metadata: all of configs/metadata.json.
    """

    path: Path
    name: str
    version: str
    description: str
    task: TaskSpec
    network: dict[str, Any]
    weights_path: Path
    weights_sha256: str
    members: tuple[tuple[Path, str], ...] = ()
    stacked: int = 1
    input_check: InputCheck | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Bundle {self.name} {self.version}: {self.description}>"
