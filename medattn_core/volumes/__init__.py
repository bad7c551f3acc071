"""Images in world space: read, write, geometry, checks.

``read`` takes NIfTI, NRRD, MetaImage, PNG, JPEG and DICOM; ``write`` gives NIfTI and NRRD. The readers of
single formats, and SimpleITK, nibabel and pydicom with them, are imported on first use.
"""

from __future__ import annotations

from medattn_core.volumes.read import list_series, read
from medattn_core.volumes.volume import Series, Volume
from medattn_core.volumes.write import write, write_scaled

__all__ = ["Series", "Volume", "list_series", "read", "write", "write_scaled"]
