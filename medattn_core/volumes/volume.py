"""Volume: voxels, world geometry, where they came from, and what was odd about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes import geometry
from medattn_core.volumes.filenames import title_of


@dataclass(frozen=True, kw_only=True)
class Series:
    """Identity of a DICOM series: nothing that names a patient.

    Attributes:
        series_instance_uid, study_instance_uid: DICOM UIDs.
        modality: DICOM Modality, such as ``"MR"``.
        number: SeriesNumber or None.
        slices: number of image slices found.
    """

    series_instance_uid: str
    study_instance_uid: str = ""
    modality: str = ""
    number: int | None = None
    slices: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Volume:
    """A scalar image in world space.

    Attributes:
        data: ``(I, J, K)``; a 2D image has K = 1.
        affine: ``(4, 4)`` float64, voxel index to RAS millimetres.
        spatial_dims: 2 for a 2D picture (.png, .jpg, a 2D file), else 3.
        spacing_known: False where the file states no pixel size (the affine then has unit spacing, but for pixels
            that are told to be higher than wide, or lower).
        source: path as the user gave it.
        format: ``"nifti"``, ``"nrrd"``, ``"metaimage"``, ``"png"``, ``"jpeg"``, ``"dicom"``, ``"memory"``.
        modality: DICOM modality code where known, else ``""``.
        series: DICOM identity, or None.
        warnings: what the reader noticed.

    Raises:
        VolumeError: ``bad_argument``: no array of voxels or no 4 x 4 matrix; ``too_many_dimensions``;
            ``singular_affine``.
    """

    data: np.ndarray
    affine: np.ndarray
    spatial_dims: int = 3
    spacing_known: bool = True
    source: str = ""
    format: str = "memory"
    modality: str = ""
    series: Series | None = None
    warnings: tuple[Notice, ...] = field(default=())

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(self.data, np.ndarray):
            raise VolumeError(
                "bad_argument",
                f"{name}: data is a {type(self.data).__name__}; give a NumPy array (I, J, K), such as np.asarray(data)",
            )
        try:
            affine = np.asarray(self.affine, dtype=np.float64)
        except (TypeError, ValueError):
            affine = np.empty(0)
        if affine.shape != (4, 4):
            raise VolumeError(
                "bad_argument",
                f"{name}: affine is no matrix of 4 x 4 numbers; give voxel index to RAS millimetres, or np.eye(4) with "
                "spacing_known=False where it is not known",
            )
        object.__setattr__(self, "affine", affine)
        if self.data.ndim != 3:
            raise VolumeError(
                "too_many_dimensions", f"{name}: voxels have shape {self.data.shape}; (I, J, K) is needed"
            )
        if not self.data.size:
            raise VolumeError(
                "bad_argument", f"{name}: data of shape {self.data.shape} hold no voxel; give a whole scan"
            )
        if geometry.is_singular(affine):
            raise VolumeError(
                "singular_affine",
                f"{name}: the voxel-to-world matrix cannot be inverted (spacing {geometry.spacing(affine).tolist()}); "
                "export the scan again with its geometry",
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._words()}>"

    def _words(self) -> str:
        """What it is, on one line, without its voxels."""
        size = " x ".join(map(str, self.shape[: self.spatial_dims]))
        spacing = " x ".join(f"{mm:.3g}" for mm in self.spacing[: self.spatial_dims])
        told = (size, str(self.data.dtype), f"{spacing} mm" if self.spacing_known else "no pixel size", self.modality)
        return ", ".join(filter(None, (*told, title_of(self.source))))

    @property
    def name(self) -> str:
        """How messages call it: its source, or ``the volume`` where it was made in memory."""
        return self.source or "the volume"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each index axis."""
        return tuple(int(n) for n in self.data.shape)  # type: ignore[return-value]

    @property
    def spacing(self) -> np.ndarray:
        """Voxel edge lengths, mm, ``(3,)``."""
        return geometry.spacing(self.affine)

    @property
    def orientation_known(self) -> bool:
        """Whether the file says how the scan lies in the body; False where left and right are an assumption."""
        return self.spacing_known and all(notice.code != "no_geometry" for notice in self.warnings)

    @property
    def axis_codes(self) -> str:
        """Direction each index axis runs towards, such as ``"LPS"``."""
        return geometry.axis_codes(self.affine)

    def identity(self) -> dict[str, Any]:
        """Everything but the voxels and the warnings: what a map made from this scan shares with it."""
        names = ("affine", "spatial_dims", "spacing_known", "source", "modality", "series")
        return {name: getattr(self, name) for name in names}
