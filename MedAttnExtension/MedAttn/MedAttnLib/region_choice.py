"""Look only at: which segment of the region of interest. Part of the panel."""

from __future__ import annotations

from typing import Any

from MedAttnLib import panel_choices


class RegionChoice:
    """Keeps the segment that is shown, the one that is used and those that are there the same.

    Args:
        panel: whose widgets and parameters are used.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.selector = panel, panel.ui.regionSegment
        self._node: Any = None
        self._observed: list[tuple[Any, int]] = []
        self.selector.connect("currentIndexChanged(int)", self.on_segment)

    def update(self) -> None:
        """Offer the segments of the region that is chosen, and use the one that is shown."""
        parameters = self.panel.parameters
        region = parameters.region if parameters is not None else None
        self._follow(region)
        if parameters is None:
            return
        panel_choices.fill_region_segments(self.selector, region, parameters.region_segment)
        # The selector is filled in silence: what it shows now may be another segment than the one that was chosen in
        # another segmentation, or before it was removed. An ROI has none: what was chosen before it may come back.
        if panel_choices.has_segments(region):
            self.on_segment()

    def _follow(self, node: Any) -> None:
        """Segments are painted, named and removed in other modules while this one is open."""
        if node is self._node:
            return
        for one, tag in self._observed:
            one.RemoveObserver(tag)
        self._observed.clear()
        self._node = node
        if panel_choices.has_segments(node):
            events = panel_choices.segment_events()
            self._observed += [(node, node.AddObserver(event, self._on_segments)) for event in events]

    def _on_segments(self, *_arguments: Any) -> None:
        self.update()
        self.panel.check()

    def on_segment(self, *_arguments: Any) -> None:
        """Another segment is shown."""
        parameters, segment = self.panel.parameters, panel_choices.chosen(self.selector)
        if parameters is not None and segment != parameters.region_segment:
            parameters.region_segment = segment
