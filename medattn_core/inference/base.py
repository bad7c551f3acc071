"""What a predictor of MedAttn's own bundles and one of a stranger's have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from medattn_core.bundles.trust import Trust
from medattn_core.inference.masks import MaskLike
from medattn_core.inference.prediction import Prediction
from medattn_core.tasks import TaskSpec
from medattn_core.volumes import Volume

Source = str | os.PathLike[str] | Volume


class BasePredictor(ABC):
    """Predicts scans with the model of one bundle, of whatever kind.

    Args:
        task: what the model takes and gives.
        trust: the bundle's rules about its own reliability.
        device: torch device.
        runtime: what computes the network.

    Attributes:
        foreign: whether the bundle is of another format: it reads files by its own code, takes one scan at a time, and
            its predictions have a Grad-CAM map in place of evidence.
    """

    foreign: ClassVar[bool]

    def __init__(self, *, task: TaskSpec, trust: Trust, device: str, runtime: str) -> None:
        self.task, self.trust, self.device, self.runtime = task, trust, device, runtime

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name} {self.version}, {self.runtime} on {self.device}>"

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the bundle."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the bundle."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """Folder of the bundle."""

    @abstractmethod
    def __call__(
        self, source: Source | Sequence[Source], mask: MaskLike | None = None, series: str | None = None
    ) -> Prediction:
        """Predict one scan.

        Args:
            source: file, DICOM folder, or a Volume; a list of them where the task has several channels.
            mask: region of interest, where the model allows one.
            series: SeriesInstanceUID to take from a DICOM folder.

        Raises:
            MedAttnError: the scan cannot be read or does not fit the task; the code says why.
        """
