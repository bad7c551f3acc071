"""Evidence: a volume on the scan's own grid whose sum is the logit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.volumes import Volume, geometry


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evidence(Volume):
    """Contribution of every voxel to one logit (or to the difference of two).

    ``data`` is float32, signed, in ``unit`` a voxel: ``bias + data.sum() + residual`` is the logit.

    Attributes:
        label: the class (or quantity) it speaks for.
        against: the class it is compared with, or None.
        unit: ``"logit"``, or the unit of a regression target.
        total: sum over all voxels.
        residual: what native space lost: contributions without a voxel to lie in, and rounding.
        additive: whether it is such a sum; False for a map of a bundle that has no evidence (Grad-CAM).
    """

    label: str
    against: str | None = None
    unit: str = "logit"
    total: float = 0.0
    residual: float = 0.0
    additive: bool = True

    def _words(self) -> str:
        against = f" against {self.against}" if self.against else ""
        total = f"sum {self.total:.4g} {self.unit}, " if self.additive else ""
        return f"for {self.label}{against}, {total}{super()._words()}"

    @property
    def density_unit(self) -> str:
        """Unit of :meth:`density`: per millilitre, or per square centimetre for a 2D picture.

        A scan that states no pixel size has neither, so its density is per pixel (or voxel).
        """
        flat = self.spatial_dims == 2
        if not self.spacing_known:
            return f"{self.unit}/{'pixel' if flat else 'voxel'}"
        return f"{self.unit}/{'cm2' if flat else 'mL'}"

    @property
    def density_factor(self) -> float:
        """Factor from contribution a voxel to density."""
        if not self.spacing_known:
            return 1.0
        if self.spatial_dims == 2:
            spacing = geometry.spacing(self.affine)
            return 100.0 / float(spacing[0] * spacing[1])
        return 1.0 / geometry.voxel_volume_ml(self.affine)

    def density(self) -> Volume:
        """The same map as a density in :attr:`density_unit`, which does not depend on a voxel size that is known: for
        files."""
        return Volume(data=(self.data * np.float32(self.density_factor)).astype(np.float32), **self.identity())
