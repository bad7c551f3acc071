"""DICOM: read a file, folder, zip archive or DICOMDIR; list series; write a series."""

from medattn_core.volumes.dicom.reader import list_series, read_dicom
from medattn_core.volumes.dicom.scan import looks_like_dicom
from medattn_core.volumes.dicom.writer import write_dicom_series

__all__ = ["list_series", "looks_like_dicom", "read_dicom", "write_dicom_series"]
