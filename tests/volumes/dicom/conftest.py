"""A small real series to break: eight slices of the sample scan, cut to 64 x 48, and ways to change its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import dicom_builder
import pytest


@pytest.fixture(scope="session")
def small_series(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight slices of the sample DICOM series, cropped. Do not change: copy it with ``series``."""
    return dicom_builder.crop_series(sample_data / "brain1_dicom", tmp_path_factory.mktemp("dicom") / "small")


@pytest.fixture
def series(small_series: Path, tmp_path: Path) -> Path:
    """A fresh copy of the small series."""
    return Path(shutil.copytree(small_series, tmp_path / "scan"))


@pytest.fixture(scope="session")
def pydicom_files() -> Path:
    """The real test files that come with pydicom."""
    import pydicom

    path = Path(pydicom.__file__).parent / "data" / "test_files"
    if not (path / "MR_small.dcm").is_file():
        pytest.skip("this installation of pydicom comes without its test files")
    return path
