"""Our nodes in the scene: found again by what they are for, so that a second run replaces and never piles up.

Each node that MedAttn makes carries a role as attribute and the input volume as node reference; what displays a map the
role alone. Both are saved with the scene, so a result is ours again after reloading.
"""

from __future__ import annotations

import slicer
import vtk

from MedAttnLib.texts import _

ROLE = "MedAttn.Role"
"""Attribute of every node of ours."""
INPUT = "medattnInput"
"""Node reference to the volume that a node speaks about."""
SELF = "medattnSelf"
"""Node reference of a node of ours to itself: that of a copy leads to the original, or nowhere once that is gone.

A reference and no attribute with the id, since ids change where a scene is added to another, and references follow.
"""
CLAIMED = "MedAttn.Claimed"
"""Attribute of every node with such a reference; scenes of earlier versions have neither."""
RESULT = "MedAttn.Result"
"""Attribute of the evidence volume: the result as JSON, without voxels and without names."""
TOKEN = "MedAttn.Token"
"""Attribute of the evidence volume: which finding it shows."""
REGION, SEGMENT = "medattnRegion", "MedAttn.Segment"
"""Node reference and attribute of the evidence volume: region of interest and its segment. Their names are not kept."""
OUTDATED = "MedAttn.Outdated"
"""Attribute of the evidence volume: the voxels of the scan were changed after it was predicted."""
FOLDER = "MedAttn.Folder"
"""Attribute of the subject-hierarchy folder."""

EVIDENCE, COLOURS, REGIONS, PROBABILITIES, SEGMENTATION, BATCH = (
    "evidence",
    "colours",
    "regions",
    "probabilities",
    "segmentation",
    "batch",
)
DISPLAY = "display"
"""Role of what displays a map: in the slices, as legend, in 3D."""
CLASS_OF = {
    EVIDENCE: "vtkMRMLScalarVolumeNode",
    COLOURS: "vtkMRMLColorTableNode",
    REGIONS: "vtkMRMLTableNode",
    PROBABILITIES: "vtkMRMLTableNode",
    SEGMENTATION: "vtkMRMLSegmentationNode",
    BATCH: "vtkMRMLTableNode",
}


def of_class(scene, class_name: str) -> list:
    """Nodes of exactly this class or derived from it, in the order of the scene."""
    found = scene.GetNodesByClass(class_name)
    # GetNodesByClass gives a collection of its own, which Python would keep alive otherwise.
    found.UnRegister(None)
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def find(scene, role: str, input_node=None):
    """Our node of this role for an input volume, or None."""
    for node in of_class(scene, CLASS_OF[role]):
        if (
            node.GetAttribute(ROLE) == role
            and not is_copy(node)
            and (input_node is None or node.GetNodeReferenceID(INPUT) == input_node.GetID())
        ):
            return node
    return None


def make(scene, role: str, input_node, name: str):
    """A new node of this role, put into the scene."""
    node = scene.CreateNodeByClass(CLASS_OF[role])
    node.UnRegister(None)  # the Python variable holds it
    node.SetName(name)
    node.SetAttribute(ROLE, role)
    node = scene.AddNode(node)
    claim(node)
    if input_node is not None:
        node.SetNodeReferenceID(INPUT, input_node.GetID())
    return node


def find_or_make(scene, role: str, input_node, name: str):
    """Our node of this role for an input volume; named anew, since its class may have changed."""
    node = find(scene, role, input_node)
    if node is None:
        return make(scene, role, input_node, name)
    claim(node)  # one of an earlier version
    if node.GetName() != name:
        node.SetName(name)
    return node


def is_ours(node) -> bool:
    """Whether MedAttn made this node, or what it is a copy of: an evidence map is no scan."""
    return node is not None and node.GetAttribute(ROLE) is not None


def claim(node) -> None:
    """Tell a node of ours in the scene from copies of it, which carry the same attributes and references."""
    node.SetAttribute(CLAIMED, "1")
    node.SetNodeReferenceID(SELF, node.GetID())


def is_copy(node) -> bool:
    """Whether the reader copied a node of ours, to keep it: it is not to be replaced, renamed, hidden or removed."""
    return node.GetAttribute(CLAIMED) is not None and node.GetNodeReferenceID(SELF) != node.GetID()


def input_of(node):
    """The volume that a node of ours speaks about, or None where it is gone."""
    return node.GetNodeReference(INPUT)


def region_name(region, segment_id: str) -> str:
    """What the reader calls a region of interest: ``"tumour (Segmentation)"``; that of an ROI; empty without one."""
    if region is None:
        return ""
    segment = region.GetSegmentation().GetSegment(segment_id) if region.IsA("vtkMRMLSegmentationNode") else None
    return region.GetName() if segment is None else f"{segment.GetName()} ({region.GetName()})"


def keep_region(evidence, region_id: str, segment_id: str) -> None:
    """Let an evidence volume refer to the region of interest that it was limited to, or to none."""
    evidence.SetNodeReferenceID(REGION, region_id or None)
    evidence.SetAttribute(SEGMENT, segment_id or None)


def kept_region(evidence) -> str:
    """Name of that region; empty where there was none, and where it is gone."""
    return region_name(evidence.GetNodeReference(REGION), evidence.GetAttribute(SEGMENT) or "")


def has_voxels(node) -> bool:
    """Whether there is something to predict: an image that was cropped to nothing has neither scalars nor voxels."""
    image = node.GetImageData()
    return image is not None and image.GetPointData().GetScalars() is not None and image.GetNumberOfPoints() > 0


def scans(scene) -> list:
    """Volumes that can be predicted: grey volumes with voxels that are not ours, no labelmaps, no colour."""
    return [
        node
        for node in of_class(scene, "vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not is_ours(node)
        and not node.GetHideFromEditors()
        and has_voxels(node)
    ]


# --- subject hierarchy


def hierarchy(scene):
    """The subject hierarchy of the scene."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def item_of(scene, node) -> int:
    """The item of a node; made where the application has not (outside the desktop application none are)."""
    tree = hierarchy(scene)
    return tree.GetItemByDataNode(node) or tree.CreateItem(tree.GetSceneItemID(), node)


def children_of(scene, item: int, recursive: bool = False) -> list[int]:
    """Items below an item."""
    ids = vtk.vtkIdList()
    hierarchy(scene).GetItemChildren(item, ids, recursive)
    return [ids.GetId(index) for index in range(ids.GetNumberOfIds())]


def folder_of(scene, input_node) -> int:
    """The folder under an input volume that holds our results for it."""
    tree, parent = hierarchy(scene), item_of(scene, input_node)
    for item in children_of(scene, parent):
        if tree.GetItemAttribute(item, FOLDER):
            return item
    folder = tree.CreateFolderItem(parent, _("MedAttn results"))
    tree.SetItemAttribute(folder, FOLDER, "1")
    return folder


def put_into_folder(scene, input_node, *ours) -> None:
    """Move nodes of ours into the folder under their input."""
    tree, folder = hierarchy(scene), folder_of(scene, input_node)
    for node in ours:
        item = item_of(scene, node)
        if tree.GetItemParent(item) != folder:
            tree.SetItemParent(item, folder)


def folders(scene) -> list[tuple[int, str]]:
    """Subject-hierarchy items that hold scans somewhere below: ``(item, name)``."""
    tree = hierarchy(scene)
    found = []
    for item in children_of(scene, tree.GetSceneItemID(), recursive=True):
        if tree.GetItemDataNode(item) is None and not tree.GetItemAttribute(item, FOLDER) and scans_below(scene, item):
            found.append((item, tree.GetItemName(item)))
    return found


def scans_below(scene, item: int) -> list:
    """Scans in a subject-hierarchy folder and the folders in it."""
    tree = hierarchy(scene)
    below = {tree.GetItemDataNode(child) for child in children_of(scene, item, recursive=True)}
    return [node for node in scans(scene) if node in below]


def modality_of(scene, node) -> str:
    """DICOM modality of a volume that came through the DICOM module, else an empty text."""
    tree = hierarchy(scene)
    item = tree.GetItemByDataNode(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return (tree.GetItemAttribute(item, name) or "") if item else ""


def _remove_property_of(scene, display) -> None:
    """The colours and opacities of a volume rendering."""
    if display.IsA("vtkMRMLVolumeRenderingDisplayNode") and display.GetVolumePropertyNode() is not None:
        scene.RemoveNode(display.GetVolumePropertyNode())


def _remove(scene, node) -> None:
    """A node with what shows it: the scene does not take display nodes away by itself."""
    shown_by = []
    if node.IsA("vtkMRMLDisplayableNode"):
        shown_by = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    for display in filter(None, shown_by):
        _remove_property_of(scene, display)
        if display.IsA("vtkMRMLColorLegendDisplayNode"):
            scene.RemoveNode(display)  # before the display that it speaks about
    scene.RemoveNode(node)
    for display in filter(None, shown_by):
        if display.GetScene() is not None:
            scene.RemoveNode(display)


def remove_lost_displays(scene) -> None:
    """Take displays of ours away whose map was removed by hand: nothing shows them, and they are saved with the scene.

    Those of copies too: a copy of a map has copies of its displays.
    """
    lost = [
        node
        for node in of_class(scene, "vtkMRMLDisplayNode")
        if node.GetAttribute(ROLE) == DISPLAY and node.GetDisplayableNode() is None
    ]
    # Legends first, as in _remove.
    for display in sorted(lost, key=lambda node: not node.IsA("vtkMRMLColorLegendDisplayNode")):
        _remove_property_of(scene, display)
        scene.RemoveNode(display)


def orphans(scene) -> list:
    """Our nodes whose scan was removed from the scene: it takes the references to it along."""
    return [
        node
        for role, kind in CLASS_OF.items()
        for node in (of_class(scene, kind) if role != BATCH else ())
        if node.GetAttribute(ROLE) == role and not is_copy(node) and input_of(node) is None
    ]


def _holds_nothing(scene, folder: int) -> bool:
    """Whether no node is left below: what the reader has put there, such as a copy, stays, and so does the folder."""
    tree = hierarchy(scene)
    return all(tree.GetItemDataNode(item) is None for item in children_of(scene, folder, recursive=True))


def remove_all(scene, ours) -> None:
    """Take nodes of ours out of the scene, and the folders that are empty then."""
    tree = hierarchy(scene)
    parents = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in ours if tree.GetItemByDataNode(node)}
    for node in ours:
        _remove(scene, node)
    for parent in parents:
        if tree.GetItemAttribute(parent, FOLDER) and _holds_nothing(scene, parent):
            tree.RemoveItem(parent)


def remove_results(scene, input_node) -> None:
    """Take everything of ours about a volume out of the scene, the folder too."""
    tree = hierarchy(scene)
    parent = tree.GetItemByDataNode(input_node)
    folder = next((i for i in children_of(scene, parent) if tree.GetItemAttribute(i, FOLDER)), 0) if parent else 0
    for role in CLASS_OF:
        node = find(scene, role, input_node) if role != BATCH else None
        if node is not None:
            _remove(scene, node)
    if folder and _holds_nothing(scene, folder):
        tree.RemoveItem(folder)
