"""Makes sample_data/brain1_dicom from sample_data/brain1_image.nrrd: python sample_data/make_dicom.py

The same bytes at each run. Voxels and geometry are those of the NRRD; everything about the patient is invented.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from medattn_core.volumes import Volume
from medattn_core.volumes.dicom import write_dicom_series
from medattn_core.volumes.geometry import LPS_TO_RAS

HERE = Path(__file__).resolve().parent


def load(path: Path) -> Volume:
    """An ITK-readable volume; SimpleITK alone, so that the sample does not depend on the readers it is used to test."""
    image = SimpleITK.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(data=SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine=LPS_TO_RAS @ affine)


if __name__ == "__main__":
    written = write_dicom_series(
        load(HERE / "brain1_image.nrrd"), HERE / "brain1_dicom", seed="sample brain1", modality="MR", overwrite=True
    )
    print(f"{written[0].parent}: {len(written)} files, {sum(file.stat().st_size for file in written) / 1e6:.1f} MB")
