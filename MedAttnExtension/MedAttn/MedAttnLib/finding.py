"""A result and the nodes that show it; read back from a saved scene too."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedAttnLib import geometry, nodes, wording
from MedAttnLib.colours import Scale

_KEPT = (
    *("prediction", "kind", "label", "present", "probabilities", "value", "unit", "interval", "quantity", "abstained"),
    *("undecided", "confidence", "label_set", "coverage", "warnings", "logits", "bias", "bundle", "bundle_version"),
    *("weights_sha256", "runtime", "timings_s", "uncertainty", "unmeasured", "limits", "calibrated"),
)
"""Fields of the engine's result that are saved with the scene: no names, no paths."""

ALIAS = "scan"
"""What the engine calls every scan: the name of a node may be that of a patient, and must not enter a log."""


def named(message: str, volume: Any) -> str:
    """A message of the engine as the screen shows it: with the name of the node, which the reader knows."""
    about = volume is not None and message.startswith(f"{ALIAS}: ")
    return volume.GetName() + message[len(ALIAS) :] if about else message


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
        world: ``(4, 4)`` voxel index to world RAS mm when it was predicted: what the engine knows of its place.
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
        told = [{**one, "message": named(one["message"], volume)} for one in self.result.get("warnings") or ()]
        return {**self.result, "warnings": told}

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
        }
        evidence_node.SetAttribute(nodes.RESULT, json.dumps(kept))
        evidence_node.SetAttribute(nodes.TOKEN, self.token)
        evidence_node.RemoveAttribute(nodes.OUTDATED)


def stamp_of(volume) -> tuple[Any, ...]:
    """Changes when voxels or place of a volume change."""
    image = volume.GetImageData()
    matrix = tuple(float(x) for x in geometry.ijk_to_world(volume).ravel().round(9))
    return (None if image is None else image.GetMTime(), volume.GetTransformNodeID(), matrix)


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
            token=node.GetAttribute(nodes.TOKEN) or "",
        )
        found.scale, found.labels, found.regression  # noqa: B018 - an incomplete one must not reach the panel
    except (ValueError, KeyError, TypeError):
        return None
    return found
