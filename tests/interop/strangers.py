"""Small bundles of others with a network that is known by hand: its map is its input, its scores are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]


def step(name: str, **arguments: Any) -> dict[str, Any]:
    """A transform of the preprocessing."""
    return {"_target_": name, "keys": "image", **arguments}


def post(name: str, **arguments: Any) -> dict[str, Any]:
    """A transform of the postprocessing."""
    return {"_target_": name, "keys": "pred", **arguments}


def write_stranger(
    root: Path,
    *,
    scores: Sequence[float] = (-1.0, 0.5, 2.0),
    end: str = "",
    dims: int = 2,
    pre: Sequence[Any] = (),
    load: Sequence[Any] = LOAD,
    postprocessing: Any = None,
    output_type: str = "probabilities",
    labels: Sequence[Any] | None = None,
    lazy: bool = False,
    scripts: str = "",
    **changes: Any,
) -> Path:
    """A bundle in the zoo's format.

    Args:
        root: its folder.
        scores: what the network gives for every image, before ``end``.
        end: the network's last layer, such as ``torch.nn.Sigmoid()``.
        dims: 2 or 3.
        pre: transforms after ``load``.
        load: the first transforms.
        postprocessing: of the configuration; a list is composed.
        output_type: of the metadata.
        labels: of the classes.
        lazy: of the preprocessing.
        scripts: code of its own, as scripts/own.py.
        changes: further entries of inference.json.
    """
    for name in ("configs", "models", "scripts"):
        (root / name).mkdir(parents=True)
    for name, text in (("__init__", ""), ("own", scripts)):
        (root / "scripts" / f"{name}.py").write_text(text)
    count = len(scores)
    layers = [f"torch.nn.Conv{dims}d(1, 1, 1)", f"torch.nn.AdaptiveAvgPool{dims}d(1)", "torch.nn.Flatten()",
              f"torch.nn.Linear(1, {count})", *([end] if end else [])]  # fmt: skip
    # Classes differ by their bias alone: nearly nothing of the image enters, and all of the gradient.
    torch.save({"0.weight": torch.ones((1, 1, *[1] * dims)), "0.bias": torch.zeros(1),
                "3.weight": torch.full((count, 1), 1e-6), "3.bias": torch.tensor(scores)},
               root / "models/model.pt")  # fmt: skip
    names = list(labels) if labels is not None else [f"c{i}" for i in range(count)]
    tensor = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "spatial_shape": [8] * dims,
              "dtype": "float32", "value_range": [0, 1], "is_patch_data": False,
              "channel_def": {"0": "image"}}  # fmt: skip
    pred = {
        **tensor,
        "type": output_type,
        "num_channels": count,
        "channel_def": dict(zip("0123456789", names, strict=False)),
    }
    metadata = {"version": "0.1.0", "name": "stranger", "description": "by hand",
                "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": pred}}}  # fmt: skip
    inference: dict[str, Any] = {
        "imports": ["$import torch"], "output_dir": "$@bundle_root + '/eval'",
        "network_def": f"$torch.nn.Sequential({', '.join(layers)})",
        "preprocessing": {"_target_": "Compose", "transforms": [*load, *pre], "lazy": lazy},
        "inferer": {"_target_": "SimpleInferer"},
    }  # fmt: skip
    if isinstance(postprocessing, list):
        postprocessing = {"_target_": "Compose", "transforms": postprocessing}
    if postprocessing is not None:
        inference["postprocessing"] = postprocessing
    (root / "configs/metadata.json").write_text(json.dumps(metadata))
    (root / "configs/inference.json").write_text(json.dumps(inference | changes))
    return root
