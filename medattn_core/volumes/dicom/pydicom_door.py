"""The only door to pydicom: imported on first use, and silent.

pydicom tells of odd headers through :mod:`warnings` and the logger ``"pydicom"``. A radiologist can do nothing with
those lines, and they may quote header values; what matters is told by MedAttn's own notices.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from medattn_core.errors import VolumeError, missing_package


def pydicom() -> ModuleType:
    """The package pydicom.

    Raises:
        VolumeError: ``missing_dependency`` where it is not installed or older than 3.0.
    """
    try:
        import pydicom as module
        import pydicom.pixels  # since 3.0
    except ImportError as error:
        raise missing_package("DICOM", ["pydicom (3.0 or later)"], extra="dicom", kind=VolumeError) from error
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Within it pydicom's warnings and log lines go nowhere; both settings come back afterwards."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
