"""What the user has chosen: typed, on a node of the scene, saved and loaded with it."""

from __future__ import annotations

from typing import Annotated, Any, Union

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class Typed:
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


class MedAttnParameters(Typed):
    """The same, whose connections with a panel can be taken back.

    In Slicer 5.10 ``connectGui`` returns nothing that ``disconnectGui`` could be given, and the observer which it adds
    stays on the node. Both would grow with every entry of the module.
    """

    def __init__(self, parameterNode: Any) -> None:  # noqa: N803 - as Slicer names it
        self._added: list[int] | None = None
        self._of_gui: dict[int, list[int]] = {}
        super().__init__(parameterNode)

    def connectGui(self, gui: Any) -> int:  # noqa: N802
        """Let widgets with the property ``SlicerParameterName`` and their parameters follow each other.

        Args:
            gui: holds widgets as attributes.

        Returns:
            What ``disconnectGui`` is to be given, in every version of Slicer.
        """
        named = ((widget.property("SlicerParameterName"), widget) for widget in vars(gui).values())
        mapping = {name: widget for name, widget in named if name}
        self._added = []
        try:
            tag = self.connectParametersToGui(mapping)
        finally:
            added, self._added = self._added, None
        self._of_gui[tag] = added
        return tag

    def disconnectGui(self, guiTag: int | None) -> None:  # noqa: N802, N803
        """Take a connection back, with its observer."""
        super().disconnectGui(guiTag)
        for tag in self._of_gui.pop(guiTag, []):
            self.RemoveObserver(tag)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:  # noqa: N802
        """Observe the node."""
        tag = super().AddObserver(event, callback, priority)
        if self._added is not None:
            self._added.append(tag)
        return tag
