"""A result and the nodes that show it; read back from a saved scene too."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedAttnLib import geometry, nodes, wording
from MedAttnLib.colours import Scale
from MedAttnLib.texts import _

_KEPT = (
    *("prediction", "kind", "label", "present", "probabilities", "value", "unit", "interval", "quantity", "abstained"),
    *("undecided", "confidence", "label_set", "coverage", "warnings", "logits", "bias", "bundle", "bundle_version"),
    *("weights_sha256", "runtime", "timings_s", "uncertainty", "unmeasured", "limits", "calibrated"),
)
"""Fields of the engine's result that are saved with the scene: no names, no paths."""

ALIAS = "scan"
"""What the engine calls every scan: the name of a node may be that of a patient, and must not enter a log."""


SCAN_FILE, REGION_FILE, PAINTED_FILE = f"{ALIAS}.nrrd", "region_of_interest.nrrd", "painted_segment.nrrd"
"""What is handed to the engine in temporary files of these names, which the reader has never seen."""

_SCAN = re.compile(rf"(?:\S.*?[\\/])?{re.escape(SCAN_FILE)}: |{ALIAS}: ")  # with a path, as older versions saved it


def without_paths(message: str, *paths: str) -> str:
    """A message of the engine without the folders of temporary files, and with its usual name of the scan."""
    for path in paths:
        name = re.split(r"[\\/]", path)[-1]
        for written in {path, path.replace("\\", "/"), path.replace("\\", "\\\\")}:
            message = message.replace(written, ALIAS if name == SCAN_FILE else name)
    return message


def named(message: str, volume: Any, region: str = "") -> str:
    """A message of the engine as the screen shows it: with the names that the reader knows.

    Args:
        message: of the engine.
        volume: node of the scan, or None.
        region: name of the region of interest; empty where it is not known any more.
    """
    about = _SCAN.match(message) if volume is not None else None
    if about is not None:
        message = f"{volume.GetName()}: {message[about.end() :]}"
    for file, name in ((REGION_FILE, region or _("the chosen region")), (PAINTED_FILE, _("the painted segment"))):
        message = message.replace(file, name)
    return message


@dataclass
class Finding:
    """What the model said about one volume, and which class is shown.

    Attributes:
        volume_id: of the scan in the scene.
        result: the engine's result, without regions and evidence.
        evidence: evidence object of the map in the scene.
        regions: of the class that the map shows.
        live: whether the engine still knows the prediction, so that further questions can be asked.
        saved: it was read from a scene, and not predicted in this session.
        outdated: the voxels were changed after it was predicted, before the scene was saved.
        stamp: of the voxels and the place of the scan when it was predicted.
        token: which finding a map is of: another scene may use the ids of its nodes again.
        world: ``(4, 4)`` voxel index to world RAS mm when it was predicted: what the engine knows of its place. None
            in scenes that older versions saved.
        asked: name or folder of the model as it was chosen; empty where it was read from a scene.
        region: name of the region of interest; empty without one, and where it is not known any more.
        region_ids: of its node and of its segment.
    """

    volume_id: str
    result: dict[str, Any]
    evidence: dict[str, Any]
    regions: list[dict[str, Any]]
    live: bool = True
    saved: bool = False
    outdated: bool = False
    stamp: tuple[Any, ...] = field(default=(), repr=False)
    world: np.ndarray | None = field(default=None, repr=False, compare=False)
    asked: str = field(default="", repr=False, compare=False)
    region: str = field(default="", repr=False, compare=False)
    region_ids: tuple[str, str] = field(default=("", ""), repr=False, compare=False)
    token: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False, compare=False)

    @property
    def prediction(self) -> str:
        """The engine's id of the prediction."""
        return str(self.result["prediction"])

    @property
    def undecided(self) -> bool:
        """Whether the model abstains; where each label is judged by itself, about the one of the map."""
        each = self.result.get("undecided")
        return bool(self.result.get("abstained")) if each is None else self.evidence["label"] in each

    @property
    def regression(self) -> bool:
        """Whether a quantity was asked for instead of a class."""
        return self.result["kind"] == "regression"

    @property
    def said(self) -> list[str]:
        """Labels that the model says are there and does not leave open, which may be none; the quantity."""
        return self.labels if self.regression else wording.said(self.result)

    @property
    def labels(self) -> list[str]:
        """All labels, in the order of the task."""
        return list(self.result["logits"])

    @property
    def scale(self) -> Scale:
        """Colours of the map."""
        return Scale.of(self.evidence)

    def shown_of(self, volume: Any) -> dict[str, Any]:
        """The result as the screen shows it: its warnings :func:`named`."""
        told = self.result.get("warnings") or ()
        words = [{**one, "message": named(one["message"], volume, self.region)} for one in told]
        return {**self.result, "warnings": words}

    def is_of(self, bundle: str) -> bool:
        """Whether a chosen model gave it; also where that cannot be told, of a folder after a scene was loaded."""
        if self.asked:
            return not bundle or bundle == self.asked
        name = self.result.get("bundle")
        return not bundle or not name or os.path.isabs(bundle) or bundle == name

    @property
    def contribution_unit(self) -> str:
        """Unit of a region's contribution: that of the densities without the volume."""
        return str(self.evidence["unit"]).rsplit("/", 1)[0]

    def save_to(self, evidence_node) -> None:
        """Keep the result with the evidence volume, so that it is saved with the scene."""
        kept = {
            "result": {key: self.result.get(key) for key in _KEPT},
            "evidence": {key: value for key, value in self.evidence.items() if key != "path"},
            "regions": self.regions,
            "world": None if self.world is None else self.world.tolist(),
        }
        evidence_node.SetAttribute(nodes.RESULT, json.dumps(kept))
        evidence_node.SetAttribute(nodes.TOKEN, self.token)
        nodes.keep_region(evidence_node, *self.region_ids)
        evidence_node.RemoveAttribute(nodes.OUTDATED)


def stamp_of(volume) -> tuple[Any, ...]:
    """Changes when voxels or place of a volume change; see :func:`same_stamp`.

    A linear transform is in the matrix: to harden it moves nothing.
    """
    image = volume.GetImageData()
    matrix = tuple(float(x) for x in geometry.ijk_to_world(volume).ravel())
    warp = None if geometry.is_linear(volume) else volume.GetTransformNodeID()
    return (None if image is None else image.GetMTime(), warp, matrix)


def same_stamp(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Whether neither voxels nor place differ; a nanometre is no other place, but the rounding of a product."""
    return first[:2] == second[:2] and bool(np.allclose(first[2], second[2], rtol=0.0, atol=1e-6))


def same_voxels(found: Finding, volume) -> bool:
    """Whether the voxels of the scan are still those that were predicted: the map lies on no others."""
    return not found.outdated and found.stamp[:1] == stamp_of(volume)[:1]


def saved_with(scene, input_node) -> Finding | None:
    """The finding of a volume in a scene that was loaded; None without one, or if it cannot be read."""
    node = nodes.find(scene, nodes.EVIDENCE, input_node)
    text = node.GetAttribute(nodes.RESULT) if node is not None else None
    if not text:
        return None
    try:
        kept = json.loads(text)
        found = Finding(
            input_node.GetID(),
            kept["result"],
            kept["evidence"],
            kept["regions"],
            live=False,
            saved=True,
            outdated=node.GetAttribute(nodes.OUTDATED) is not None,
            stamp=stamp_of(input_node),
            world=None if kept.get("world") is None else np.array(kept["world"], float).reshape(4, 4),
            region=nodes.kept_region(node),
            token=node.GetAttribute(nodes.TOKEN) or "",
        )
        found.scale, found.labels, found.regression  # noqa: B018 - an incomplete one must not reach the panel
    except (ValueError, KeyError, TypeError):
        return None
    return found
