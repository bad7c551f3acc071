"""Results as messages: plain JSON data (docs/worker.md, "Results")."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core import volumes
from medattn_core.outputs.colour import scale_for
from medattn_core.outputs.own_files import description_of
from medattn_core.outputs.tables import plain

if TYPE_CHECKING:
    from medattn_core.bundles import Bundle
    from medattn_core.inference import Prediction, Region, WhatIf

_NIFTI_1, _NIFTI_2 = 352, 544
_LONGEST_AXIS = 32767
"""Voxels along an axis from which NIfTI-2 is written."""


def bundle(one: Bundle) -> dict[str, Any]:
    """What a client has to know to offer a bundle."""
    task = one.task
    return plain(
        {
            "name": one.name,
            "version": one.version,
            "description": one.description or task.description,
            "path": str(one.path),
            "kind": task.kind,
            "labels": task.labels,
            "unit": task.unit or None,
            "threshold": task.threshold,
            "modality": task.modality,
            "channels": task.channels,
            "spatial_dims": task.spatial_dims,
            "slicewise": task.slicewise,
            "weights_sha256": one.weights_sha256,
        }
    )


def region(one: Region, *, spacing_known: bool) -> dict[str, Any]:
    """A region, as in predictions.json; its rank is its id."""
    return plain(
        {
            **one.to_dict(spacing_known=spacing_known),
            "id": one.rank,
            "label": one.label,
            "weight": one.weight,
        }
    )


def regions(prediction: Prediction, label: str | None = None) -> list[dict[str, Any]]:
    """The regions for a label; without millimetres where the scan states no pixel size."""
    known = prediction.volume.spacing_known
    return [region(one, spacing_known=known) for one in prediction.regions(label)]


def result(prediction: Prediction, number: str) -> dict[str, Any]:
    """A prediction under the id ``number``; the evidence object is added by whoever writes the map."""
    regression = prediction.task.kind == "regression"
    return plain(
        {
            **prediction.to_dict(),
            "prediction": number,
            "kind": prediction.task.kind,
            "quantity": prediction.label if regression else None,
            "unmeasured": dict(prediction.claims.unmeasured),
            "limits": prediction.limits,
            "regions": regions(prediction),
        }
    )


def evidence(
    prediction: Prediction, path: str | None = None, label: str | None = None, against: str | None = None
) -> dict[str, Any]:
    """The map of a class: written as density where a path is given, and described.

    Raises:
        TaskError: ``unknown_label``.
        VolumeError: ``unwritable``, ``bad_argument`` for a path that does not end in .nii, .nii.gz or .nrrd.
    """
    found = prediction.evidence(label, against)
    density = found.density()
    if path is not None:
        volumes.write(density, path, description=description_of(found))
    scale = scale_for(prediction, found, density.data)
    return plain(
        {
            "path": os.path.abspath(path) if path is not None else None,
            "label": found.label,
            "against": found.against,
            "unit": found.density_unit,
            "sum": found.total,
            "residual": found.residual,
            "range": [float(density.data.min()), float(density.data.max())],
            "scale": {"limit": scale.limit, "visible": scale.visible, "caps": scale.caps},
            **layout(path, found.shape, "<f4"),
        }
    )


def layout(path: str | None, shape: tuple[int, int, int], dtype: str) -> dict[str, Any]:
    """Where the voxels lie in a file: all that is needed to read an uncompressed one without a library."""
    plain_file = path is not None and Path(path).name.lower().endswith(".nii")
    offset = _NIFTI_2 if max(shape) > _LONGEST_AXIS else _NIFTI_1
    return {"shape": list(shape), "dtype": dtype, "data_offset": offset if plain_file else None}


def what_if(prediction: Prediction, answer: WhatIf, question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a what-if."""
    regression = prediction.task.kind == "regression"
    return plain(
        {
            "label": None if regression else answer.label,
            "probabilities": {} if regression else answer.probabilities,
            "value": float(np.asarray(answer.logits)[0]) if regression else None,
            "logits": dict(zip(prediction.task.labels, answer.logits, strict=True)),
            "warnings": [notice.to_dict() for notice in answer.warnings],
            "question": question,
        }
    )
