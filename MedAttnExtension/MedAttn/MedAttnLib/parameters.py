"""What the user has chosen: typed, on a node of the scene, saved and loaded with it."""

from __future__ import annotations

from typing import Annotated, Union

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class MedAttnParameters:
    """Parameters of the module.

    Attributes:
        input_volume: the scan.
        bundle: name of a shipped bundle; empty for the folder.
        bundle_folder: folder of another bundle.
        region: segmentation or ROI node that the model is limited to.
        region_segment: id of the segment of ``region``.
        opacity: of the evidence over the scan.
        threshold: share of full colour below which no evidence is shown.
        shown: whether the evidence lies over the scan.
        rendered: whether it is in the 3D views.
        export_name: begin of the names of exported files.
        export_report: whether pictures and a page are written too.
        export_nrrd: whether the evidence is written as NRRD too.
    """

    input_volume: slicer.vtkMRMLScalarVolumeNode
    bundle: str = "brain_tumor_t1ce"
    bundle_folder: str = ""
    # Written out as Slicer asks for it: the selector offers exactly these classes, and None has to be among them.
    region: Union[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLMarkupsROINode, None]  # noqa: UP007
    region_segment: str = ""
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    threshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.2
    shown: bool = True
    rendered: bool = False
    export_name: str = "scan"
    export_report: bool = True
    export_nrrd: bool = False
