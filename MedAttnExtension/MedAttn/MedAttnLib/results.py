"""A finding becomes nodes: map, colours, legend, tables, folder; then the views go there."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Any

from MedAttnLib import geometry, nodes, overlay, rendering, tables
from MedAttnLib.finding import Finding, same_voxels
from MedAttnLib.steps import Steps, TaskError
from MedAttnLib.texts import _

TABLES = ("predictions.json", "predictions.csv", "report.html")
"""Files of an export whose names do not begin with what the reader has chosen."""

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_LONGEST = 120
"""Bytes of a name, as in the core."""


def while_there(logic: Any, volume: Any, steps: Steps) -> Steps:
    """Go on with steps as long as the scan and its map are in the scene.

    They give the thread back, and either may be removed then.

    Raises:
        TaskError: ``scan_removed``, nothing of the result is left in the scene; ``map_removed``, the tables are.
    """
    before, placed = nodes.orphans(logic.scene), None
    while True:
        if volume.GetScene() is None:
            steps.close()
            nodes.remove_all(logic.scene, [node for node in nodes.orphans(logic.scene) if node not in before])
            logic.findings.pop(volume.GetID(), None)
            raise TaskError("scan_removed", _("the volume was removed from the scene"))
        if placed is not None and placed.GetScene() is None:
            steps.close()
            nodes.remove_lost_displays(logic.scene)
            raise TaskError("map_removed", _("the evidence map was removed from the scene; press Apply again"))
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value
        placed = placed or nodes.find(logic.scene, nodes.EVIDENCE, volume)
        yield step


def check_voxels(volume: Any, found: Finding) -> None:
    """Refuse to lay anything on voxels that are not those that were predicted.

    Raises:
        TaskError: ``scan_changed``.
    """
    if not same_voxels(found, volume):
        message = _("the voxels of the scan were changed after it was classified; press Apply again")
        raise TaskError("scan_changed", message)


def clean_name(name: str) -> str:
    """The name that the engine gives its files: ``medattn_core.volumes.filenames.clean_name``, which a test compares.

    Written twice, because the module loads no medattn_core; without it, a name such as ``../up`` would lead elsewhere.
    """
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"[^\w.\-]+", "_", name).strip("._-")
    while len(name.encode("utf-8")) > _LONGEST:
        name = name[:-1]
    name = name.strip("._-") or "image"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name


def map_name(name: str, found: Finding) -> str:
    """File of the map on the screen; the other files of an export are about the most probable label."""
    label, against = found.evidence["label"], found.evidence.get("against")
    parts = [] if found.regression or label == found.result["label"] else [label]
    parts += ["against", against] if against else []
    return "_".join([f"{name}_evidence", *(re.sub(r"[^\w.-]+", "_", part) for part in parts)]) + ".nrrd"


def free_folder(folder: str, name: str) -> str:
    """The folder, or a new one in it where files of an earlier export would be replaced."""
    try:
        there = os.listdir(folder)
    except OSError:
        return folder  # made by whoever writes, who also says why it cannot
    if not any(one in TABLES or one.startswith(f"{name}_") for one in there):
        return folder
    number = 2
    while f"{name}_export_{number}" in there:
        number += 1
    return os.path.join(folder, f"{name}_export_{number}")


def place_steps(logic: Any, volume: Any, found: Finding) -> Steps:
    """Put a finding into the scene in the place of the one before; nothing else in the scene changes."""
    from MedAttnLib.exchange import read_map

    scene, threshold = logic.scene, logic.shown_threshold(found)
    voxels = read_map(found.evidence)
    yield
    node = yield from overlay.place_steps(scene, volume, voxels, found.evidence, threshold, found.undecided)
    del voxels  # it may be a view of the file, which is deleted after this
    yield
    regions = tables.regions(scene, volume, found.regions, found.contribution_unit, regression=found.regression)
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
