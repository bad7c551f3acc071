"""How results are shown: opacity, threshold, slice views, 3D views. Part of the logic."""

from __future__ import annotations

from typing import Any

import numpy as np

from MedAttnLib import geometry, nodes, overlay, rendering
from MedAttnLib.finding import Finding, same_voxels


class Shown:
    """What is shown of the findings, and how.

    Attributes:
        opacity: of the evidence over the scan.
        threshold: share of full colour below which nothing is shown; None is what the engine proposes.
    """

    opacity: float = 0.5
    threshold: float | None = None
    scene: Any

    def finding_of(self, volume: Any) -> Finding | None:
        """What is known about a volume."""
        raise NotImplementedError

    def shown_threshold(self, found: Finding) -> float:
        """Share of full colour below which nothing is shown."""
        return found.scale.default_share if self.threshold is None else self.threshold

    def recolour(self, volume: Any) -> None:
        """Apply opacity and threshold to the map of a volume."""
        found, node = self.finding_of(volume), nodes.find(self.scene, nodes.EVIDENCE, volume)
        table = nodes.find(self.scene, nodes.COLOURS, volume)
        if found is None or node is None or table is None:
            return
        threshold = self.shown_threshold(found)
        overlay.colour(table, found.scale, threshold, found.undecided)
        overlay.set_opacity(self.scene, node, self.opacity)
        display = rendering.display_of(node)
        if display is not None and display.GetVisibility():
            rendering.render(node, found.scale, threshold, found.undecided, True)

    def is_shown(self, volume: Any) -> bool:
        """Whether a slice view shows the map of a volume."""
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        return node is not None and overlay.is_shown(self.scene, node)

    def seen_opacity(self, volume: Any) -> float | None:
        """Opacity of the map in the first slice view that shows it, None where none does."""
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        return None if node is None else overlay.opacity_of(self.scene, node)

    def is_behind(self, volume: Any) -> bool:
        """Whether a slice view shows the scan itself."""
        return any(one.GetBackgroundVolumeID() == volume.GetID() for one in overlay.composites(self.scene))

    def is_rendered(self, volume: Any) -> bool:
        """Whether the map of a volume is in the 3D views."""
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        display = rendering.display_of(node) if node is not None else None
        return display is not None and bool(display.GetVisibility())

    def set_shown(self, volume: Any, shown: bool) -> None:
        """Show the map of a volume in the slice views, or take it out of them."""
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        if node is None:
            return
        if not shown:
            overlay.hide(self.scene, node)
        elif overlay.show(self.scene, volume, node, self.opacity):
            overlay.fit_views()

    def show_scan(self, volume: Any) -> None:
        """Show a scan in the slice views; the map of another goes out of them, whatever else lies there stays."""
        changed = False
        for composite in overlay.composites(self.scene):
            above = self.scene.GetNodeByID(composite.GetForegroundVolumeID() or "")
            ours = above is not None and above.GetAttribute(nodes.ROLE) == nodes.EVIDENCE
            if ours and nodes.input_of(above) is not volume:
                overlay.hide(self.scene, above)
            if composite.GetBackgroundVolumeID() != volume.GetID():
                composite.SetBackgroundVolumeID(volume.GetID())
                changed = True
        if changed:
            overlay.fit_views()

    def set_rendered(self, volume: Any, visible: bool) -> None:
        """Show the map of a volume in the 3D views, or take it out of them."""
        found, node = self.finding_of(volume), nodes.find(self.scene, nodes.EVIDENCE, volume)
        if found is not None and node is not None:
            rendering.render(node, found.scale, self.shown_threshold(found), found.undecided, visible)

    def hide_orphans(self) -> None:
        """Take maps whose scan was removed out of the slice views: they would lie over another scan."""
        for node in nodes.orphans(self.scene):
            if node.GetAttribute(nodes.ROLE) == nodes.EVIDENCE:
                overlay.hide(self.scene, node)

    def follow(self, volume: Any) -> None:
        """Put the map of a volume where the volume is by now: under its parent transform, and into its place."""
        found, node = self.finding_of(volume), nodes.find(self.scene, nodes.EVIDENCE, volume)
        if found is None or node is None or node.GetImageData() is None or volume.GetImageData() is None:
            return
        if not same_voxels(found, volume):
            node.SetAttribute(nodes.OUTDATED, "1")  # for whoever opens the scene that it is saved with
            return  # another place for other voxels: a flip in place would carry the map to the other side
        if node.GetTransformNodeID() != volume.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        place = geometry.ijk_to_ras(volume)
        same_grid = node.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
        if same_grid and abs(geometry.ijk_to_ras(node) - place).max() > 1e-9:
            node.SetIJKToRASMatrix(geometry.as_matrix(place))

    def place_of(self, volume: Any, region: dict[str, Any]) -> tuple[float, ...] | None:
        """Where a region's strongest place is by now, RAS mm, if the scan was moved, too; None without a pixel size."""
        found, node = self.finding_of(volume), nodes.find(self.scene, nodes.EVIDENCE, volume)
        world = region["world_position_mm"]
        if world is None:
            return None
        index = region["voxel_index"]
        if found is not None and found.world is not None:  # exactly, and not to the voxel
            index = (np.linalg.inv(found.world) @ np.array([*world, 1.0]))[:3]
        return geometry.world_of_ijk(node or volume, index)

    def jump_to(self, volume: Any, region: dict[str, Any]) -> None:
        """Let the slice views pass through a region's strongest place, wherever the map lies by now."""
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        geometry.jump_to(self.scene, geometry.world_of_ijk(node or volume, region["voxel_index"]))
