"""What can be chosen in the panel: models, segments, classes, questions, scans of a batch."""

from __future__ import annotations

import os
from typing import Any

import slicer
import vtk

from MedAttnLib import nodes
from MedAttnLib.finding import Finding
from MedAttnLib.texts import _

FOLDER = "(folder)"
"""Data of the entry that stands for a bundle in a folder."""


def chosen(selector: Any) -> str:
    """Data of the current entry, an empty text without one."""
    return selector.itemData(selector.currentIndex) or "" if selector.currentIndex >= 0 else ""


def fill(selector: Any, entries: list[tuple[str, str]], current: str) -> None:
    """Entries ``(text, data)``, and the current one by its data; quiet, and nothing happens if all is as it was."""
    now = [(selector.itemText(index), selector.itemData(index)) for index in range(selector.count)]
    selector.blockSignals(True)
    if now != entries:
        selector.clear()
        for text, data in entries:
            selector.addItem(text, data)
    index = next((index for index, entry in enumerate(entries) if entry[1] == current), 0 if entries else -1)
    if selector.currentIndex != index:
        selector.setCurrentIndex(index)
    selector.blockSignals(False)


# --- models


def _shipped(engine: Any) -> list[str]:
    return [bundle["name"] for bundle in (engine.hello or {}).get("bundles", ())]


def _offered(ui: Any) -> list[str]:
    return [ui.bundleSelector.itemData(index) for index in range(ui.bundleSelector.count)]


def _entries(ui: Any, engine: Any, current: str) -> list[tuple[str, str]]:
    names = _shipped(engine) or _offered(ui)  # what was said before the engine was started again
    if current and current not in names and current != FOLDER:
        names = [*names, current]
    return [
        *((name, name) for name in names if name and name != FOLDER),
        (_("A folder \N{HORIZONTAL ELLIPSIS}"), FOLDER),
    ]


def fill_bundles(ui: Any, engine: Any, parameters: Any) -> None:
    """The models that the engine knows, and a folder."""
    if parameters is None:
        return
    current = parameters.bundle or FOLDER
    fill(ui.bundleSelector, _entries(ui, engine, current), current)
    if ui.bundleFolder.currentPath != parameters.bundle_folder:
        ui.bundleFolder.currentPath = parameters.bundle_folder


def bundles_are_new(ui: Any, engine: Any) -> bool:
    """Whether the engine has named models that the selector does not offer."""
    return not set(_shipped(engine)) <= set(_offered(ui))


def take_bundle(ui: Any, parameters: Any) -> None:
    """From the widgets into the parameters."""
    name, folder = chosen(ui.bundleSelector), ui.bundleFolder.currentPath
    # Both at once: after the first of two changes the panel would bring the second widget back to what is known.
    modifying = parameters.parameterNode.StartModify()
    parameters.bundle = "" if name == FOLDER else name
    if parameters.bundle_folder != folder:
        parameters.bundle_folder = folder
    parameters.parameterNode.EndModify(modifying)


def bundle_of(parameters: Any) -> str:
    """What the engine is asked to load: a name, or a folder that is there; else an empty text."""
    if parameters is None:
        return ""
    if parameters.bundle:
        return str(parameters.bundle)
    return str(parameters.bundle_folder) if os.path.isdir(parameters.bundle_folder) else ""


# --- views


def take_views(parameters: Any, logic: Any, volume: Any) -> None:
    """What the reader hid, showed or faded in other modules stays so, and the panel says it."""
    opacity = logic.seen_opacity(volume)
    if opacity is not None:
        parameters.shown, parameters.opacity = True, opacity
    elif logic.is_behind(volume):  # else the views show another scan: the map was not hidden, the next one is shown
        parameters.shown = False
    parameters.rendered = logic.is_rendered(volume)


# --- segments


def has_segments(node: Any) -> bool:
    """Whether it is a segmentation node, which may be empty."""
    return node is not None and node.IsA("vtkMRMLSegmentationNode")


def _segments(node: Any) -> list[tuple[str, str]]:
    entries = []
    if has_segments(node):
        segmentation = node.GetSegmentation()
        ids = vtk.vtkStringArray()
        segmentation.GetSegmentIDs(ids)
        for index in range(ids.GetNumberOfValues()):
            name = ids.GetValue(index)
            entries.append((segmentation.GetSegment(name).GetName(), name))
    return entries


def fill_segments(selector: Any, node: Any, current: str) -> None:
    """The segments of a segmentation node; none for another node."""
    fill(selector, _segments(node), current)


def fill_region_segments(selector: Any, node: Any, current: str) -> None:
    """The same for the region of interest: the only one is taken, of several none is taken unasked."""
    entries = _segments(node)
    if len(entries) > 1 and all(data != current for _text, data in entries):
        entries.insert(0, (_("(choose a segment)"), ""))
    fill(selector, entries, current)


def region_name(parameters: Any) -> str:
    """What the reader calls the region of interest that is chosen; empty without one."""
    return "" if parameters is None else nodes.region_name(parameters.region, parameters.region_segment)


def segment_events() -> tuple[int, ...]:
    """Events of a segmentation node after which there may be other segments, or other names of them."""
    kind = slicer.vtkSegmentation
    return kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, vtk.vtkCommand.ModifiedEvent


def paint_events() -> tuple[int, ...]:
    """Events of a segmentation node after which its segments may be others, or look otherwise."""
    kind = slicer.vtkSegmentation
    return (
        kind.SourceRepresentationModified,
        kind.RepresentationModified,
        kind.SegmentAdded,
        kind.SegmentRemoved,
        kind.SegmentModified,
    )


def scan_events() -> tuple[int, ...]:
    """Events of a volume node after which its voxels may be others, or lie elsewhere."""
    return (
        slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
        slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        slicer.vtkMRMLNode.ReferenceAddedEvent,
        slicer.vtkMRMLNode.ReferenceModifiedEvent,
        slicer.vtkMRMLNode.ReferenceRemovedEvent,
        vtk.vtkCommand.ModifiedEvent,
    )


# --- classes and questions


def fill_classes(ui: Any, found: Finding | None) -> None:
    """The classes whose evidence can be shown, and those it can be compared with."""
    labels = [] if found is None or found.regression else found.labels
    shown = "" if found is None else found.evidence["label"]
    against = "" if found is None else found.evidence.get("against") or ""
    fill(ui.classSelector, [(label, label) for label in labels], shown)
    others = [(label, label) for label in labels if label != shown]
    fill(ui.againstSelector, [(_("(nothing)"), ""), *others] if labels else [], against)


def fill_modes(selector: Any) -> None:
    """The two kinds of question."""
    entries = [
        (_("Without what is unticked or painted"), "without"),
        (_("Only what is ticked or painted"), "only"),
    ]
    fill(selector, entries, "without")


# --- batch


def fill_scopes(selector: Any, scene: Any) -> None:
    """The scene, and the folders of the subject hierarchy that hold scans."""
    entries = []
    count = len(nodes.scans(scene))
    if count:
        entries.append((_("All scans of the scene ({count})").format(count=count), "scene"))
        for item, name in nodes.folders(scene):
            below = len(nodes.scans_below(scene, item))
            entries.append((_("Folder {name} ({count})").format(name=name, count=below), str(item)))
    fill(selector, entries, chosen(selector))


def volumes_of_scope(selector: Any, scene: Any) -> list[Any]:
    """The scans of the chosen entry."""
    scope = chosen(selector)
    if not scope:
        return []
    return nodes.scans(scene) if scope == "scene" else nodes.scans_below(scene, int(scope))


def obstacle(parameters: Any) -> str:
    """Why Apply cannot be pressed; empty if it can."""
    volume = parameters.input_volume if parameters is not None else None
    if volume is None:
        return _("Choose a scan")
    if volume.GetImageData() is None:
        return _("The scan has no voxels")
    if nodes.is_ours(volume):
        return _("This is an evidence map of MedAttn: choose the scan itself")
    if not bundle_of(parameters):
        return _("Choose the folder of a model")
    if has_segments(parameters.region) and not parameters.region_segment:
        return _("Choose a segment of the region of interest")
    return ""


def batch_obstacle(parameters: Any, scopes: Any) -> str:
    """Why the scans cannot be classified one after another; empty if they can."""
    if scopes.count == 0:
        return _("Load a scan")
    return "" if bundle_of(parameters) else _("Choose the folder of a model")
