"""A Predictor for any bundle: MedAttn's own, and after trust any MONAI classification bundle."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.bundles import load
from medattn_core.bundles.bundle import METADATA
from medattn_core.bundles.files import member, read_json
from medattn_core.bundles.load import locate
from medattn_core.bundles.trust import Trust
from medattn_core.device import resolve_device
from medattn_core.errors import BundleError, Notice, PredictionError, VolumeError
from medattn_core.inference import BasePredictor, Evidence, Prediction, Predictor, Region, WhatIf
from medattn_core.inference.base import Source
from medattn_core.inference.head import Head
from medattn_core.interop.code import code_in
from medattn_core.interop.foreign import ForeignModel, most_probable
from medattn_core.interop.places import PlaceError, to_native
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import Volume, geometry, read, write

NOT_ADDITIVE = "Grad-CAM (not additive)"
"""Unit of a map that is no sum."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Saliency(Evidence):
    """A map of what a network is sensitive to, in [0, 1]; its sum means nothing, so ``total`` is NaN."""

    additive: bool = False
    unit: str = NOT_ADDITIVE
    total: float = float("nan")
    residual: float = float("nan")

    @property
    def density_unit(self) -> str:
        """The same unit: the map is no density."""
        return self.unit

    def density(self) -> Volume:
        """The map as it is."""
        return Volume(data=self.data, **self.identity())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ForeignPrediction(Prediction):
    """Result of a bundle without evidence: probabilities, and Grad-CAM of the most probable class.

    Attributes:
        scores: ``(K,)`` what the network gave; the logits of ``shares`` where it gave probabilities.
        shares: ``(K,)`` probabilities.
        cam: the map on the native grid, or zeros where there is none.
    """

    scores: np.ndarray = field(repr=False)
    shares: np.ndarray = field(repr=False)
    cam: np.ndarray = field(repr=False)

    @property
    def logits(self) -> np.ndarray:
        """What the network gave, ``(K,)``; where that were probabilities, their logits."""
        return self.scores

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each class."""
        return {label: float(p) for label, p in zip(self.task.labels, self.shares, strict=True)}

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.task.labels[most_probable(self.shares, self.scores)]

    @property
    def present(self) -> tuple[str, ...]:
        """Labels that are said to be there, most probable first, by the probabilities that the bundle gave."""
        said = self.task.said(self.shares, best=most_probable(self.shares, self.scores))
        found = {label for label, yes in zip(self.task.labels, said, strict=True) if yes}
        return tuple(label for label, _ in self._ranked() if label in found)

    def evidence(self, label: str | None = None, against: str | None = None) -> Evidence:
        """Grad-CAM of the most probable class.

        Raises:
            PredictionError: ``not_additive``: another class, or a difference, is asked for.
        """
        if against is not None or label not in (None, self.label):
            raise PredictionError(
                "not_additive", f"this bundle has a Grad-CAM map of {self.label} alone; no other class was asked for"
            )
        return Saliency(**self.volume.identity(), data=self.cam, label=self.label)

    def contributions(self, label: str | None = None, against: str | None = None) -> np.ndarray:
        """There are none.

        Raises:
            PredictionError: ``not_additive``.
        """
        raise PredictionError("not_additive", "a Grad-CAM map has no contributions; use a MedAttn bundle for them")

    def regions(self, label: str | None = None, limit: int | None = None) -> list[Region]:
        """None: a region is ranked by its contribution, and here is none."""
        return []

    def without(self, region: Any) -> WhatIf:
        """Cannot be known without evidence that sums.

        Raises:
            PredictionError: ``not_additive``.
        """
        raise PredictionError("not_additive", "what the model would say otherwise is known of MedAttn bundles only")

    only = without


class ForeignPredictor(BasePredictor):
    """Predicts scans with a trusted bundle of another format.

    Args:
        root: its folder.
        device: torch device.

    Raises:
        BundleError: as :class:`medattn_core.interop.foreign.ForeignModel`.
        TaskError: ``bad_task``: its labels are none.
    """

    foreign = True

    def __init__(self, root: Path, device: str = "cpu") -> None:
        self.model = ForeignModel(root, device)
        image = next(iter(self.model.metadata["network_data_format"]["inputs"].values()))
        dims = len(image.get("spatial_shape") or (1, 1, 1))
        self.dims = 2 if dims == 2 else 3
        activation, several = self.model.activation, len(self.model.labels) > 1
        task = TaskSpec(  # of each scan its own spacing
            name=self.model.name[:100],
            description=str(self.model.metadata.get("description", "")),
            kind="multilabel" if several and activation.several and not activation.exclusive else "multiclass",
            activation=activation.name,
            labels=self.model.labels,
            spatial_dims=self.dims,
            spacing=(1.0,) * self.dims,
            threshold=None if activation.exclusive else activation.threshold,
        )
        super().__init__(task=task, trust=Trust(), device=device, runtime="torch")

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.model.name

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.model.version

    @property
    def root(self) -> Path:
        """Folder of the bundle."""
        return self.model.root

    def __call__(self, source: Source | Sequence[Source], mask: Any = None, series: str | None = None) -> Prediction:
        """Predict one scan.

        Args:
            source: a file, DICOM folder, or Volume.
            mask: not for these bundles.
            series: SeriesInstanceUID to take from a DICOM folder.

        Raises:
            MedAttnError: the scan cannot be read, or the bundle cannot take it.
        """
        start = time.perf_counter()
        one = source[0] if isinstance(source, (list, tuple)) and len(source) == 1 else source
        if not isinstance(one, (str, os.PathLike, Volume)) or mask is not None:
            raise PredictionError(
                "bad_argument", f"{self.model.name} is no MedAttn bundle: it takes one path or Volume, and no mask"
            )
        volume = one if isinstance(one, Volume) else _native(Path(one), series)
        if not isinstance(one, Volume) and any(notice.code == "turned" for notice in volume.warnings):
            raise PredictionError(  # the reader of the bundle may leave it as it lies, and the map would lie elsewhere
                "bad_argument", f"{volume.source}: its EXIF orientation is not upright; save it upright for this bundle"
            )
        if isinstance(one, Volume) or volume.format not in ("nifti", "png", "jpeg"):
            # MONAI's readers take the wrong series, or need packages of their own: what was read here is handed on.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "scan.nii"
                write(volume, path)
                scores, shares, cam, image = self.model.predict(str(path))
        else:
            scores, shares, cam, image = self.model.predict(str(one))
        task = replace(self.task, spacing=_spacing(volume, self.dims))
        nothing = np.zeros((len(scores), 1, 1, 1))
        message = f"{self.model.name} is no MedAttn bundle: the map is Grad-CAM; its voxels do not sum to the score"
        native = np.zeros(volume.shape, np.float32)
        if cam is None:
            message = (
                f"{self.model.name} is no MedAttn bundle, and its network or inferer allows no map: the map is empty"
            )
        else:
            made = {"preprocessing": self.model.preprocessing, "key": self.model.image_key}
            try:
                with self.model.alone:  # it may try out the bundle's own steps
                    native = to_native(cam, image, volume, **made)
            except PlaceError as reason:
                message = (
                    f"{self.model.name} is no MedAttn bundle, and where its Grad-CAM map lies on the scan is not "
                    f"known: {reason}; the map is empty"
                )
        return ForeignPrediction(
            volume=volume,
            task=task,
            head=Head(
                scores=nothing,
                values=nothing + scores[:, None, None, None],
                null_scores=np.full(len(scores), -np.inf),
                bias=np.zeros(len(scores)),
                allowed=np.ones((1, 1, 1), bool),
            ),
            grid=plan_grid(replace(volume, spacing_known=True), task),
            stride=8,
            bundle=self.model.name,
            bundle_version=self.model.version,
            weights_sha256=self.model.weights_sha256,
            warnings=(*volume.warnings, Notice("not_additive", message)),
            timings={"network": time.perf_counter() - start},
            scores=scores,
            shares=shares,
            cam=native,
        )


def open_predictor(
    source: str | os.PathLike[str],
    *,
    trust: bool = False,
    device: str = "auto",
    runtime: str = "torch",
    say: Callable[[str], object] | None = None,
) -> BasePredictor:
    """The predictor of a bundle: MedAttn's own as data; another only with trust, by MONAI's own workflow.

    Args:
        source: name or folder.
        trust: a bundle of another kind may run its code.
        device, runtime, say: as for Predictor; a bundle of another kind runs in torch, whatever ``auto`` would take.

    Raises:
        MedAttnError: the device or the runtime cannot be used here.
        BundleError: ``untrusted``: the bundle would run code and is not trusted; else as Predictor.from_bundle.
    """
    root = locate(source)
    if isinstance(read_json(member(root, METADATA)).get("medattn"), dict):
        return Predictor.from_bundle(load(source), device=device, runtime=runtime, say=say)
    if not trust:
        found = code_in(root)
        first = f", first {found[0]}" if found else ""
        raise BundleError(
            "untrusted",
            f"{root}: not a MedAttn bundle; predicting with it runs its code ({len(found)} places{first}); nothing was "
            "run; if you trust whoever made it, say --trust",
        )
    if runtime not in ("torch", "auto"):
        raise PredictionError("bad_argument", f"{root}: not a MedAttn bundle; it runs with the runtime torch alone")
    return ForeignPredictor(root, resolve_device(device))


def _native(path: Path, series: str | None) -> Volume:
    """The scan on its own grid; of a colour picture, which no MedAttn bundle takes, its grey."""
    try:
        return read(path, series=series)
    except VolumeError as error:
        if error.code != "colour_image":
            raise
    import SimpleITK as sitk

    data = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32).mean(axis=-1)
    return Volume(
        data=data.T[..., None], affine=np.eye(4), spatial_dims=2, spacing_known=False, source=str(path), format="png"
    )


def _spacing(volume: Volume, dims: int) -> tuple[float, ...]:
    if dims == 2:
        return (float(volume.spacing[0]), float(volume.spacing[1]))
    axes, _ = geometry.axis_order(volume.affine)
    return tuple(float(volume.spacing[axis]) for axis in axes)
