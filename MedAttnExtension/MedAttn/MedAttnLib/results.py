"""A finding becomes nodes: map, colours, legend, tables, folder; then the views go there."""

from __future__ import annotations

from typing import Any

from MedAttnLib import geometry, nodes, overlay, rendering, tables
from MedAttnLib.finding import Finding
from MedAttnLib.steps import Steps


def place_steps(logic: Any, volume: Any, found: Finding) -> Steps:
    """Put a finding into the scene in the place of the one before; nothing else in the scene changes."""
    from MedAttnLib.exchange import read_map

    scene, threshold = logic.scene, logic.shown_threshold(found)
    voxels = read_map(found.evidence)
    yield
    node = yield from overlay.place_steps(scene, volume, voxels, found.evidence, threshold, found.undecided)
    del voxels  # it may be a view of the file, which is deleted after this
    yield
    regions = tables.regions(scene, volume, found.regions, found.contribution_unit)
    yield
    probabilities = tables.probabilities(scene, volume, found.result)
    yield
    nodes.put_into_folder(scene, volume, regions, probabilities)
    found.save_to(node)
    logic.findings[volume.GetID()] = found
    yield
    display = rendering.display_of(node)
    if display is not None and display.GetVisibility():
        rendering.render(node, found.scale, threshold, found.undecided, True)


def show_steps(logic: Any, volume: Any, found: Finding) -> Steps:
    """Lay the map over the scan in all slice views and go to its strongest region."""
    node = nodes.find(logic.scene, nodes.EVIDENCE, volume)
    if overlay.show(logic.scene, volume, node, logic.opacity):
        yield
        overlay.fit_views()
    yield
    if found.regions:
        geometry.jump_to(logic.scene, geometry.world_of_ijk(volume, found.regions[0]["voxel_index"]))
