"""bfloat16 where it is right: gradients of every size that is called sound agree with float32."""

from __future__ import annotations

import sys

import pytest
import torch

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training import train
from medattn_core.training.precision import sound_bf16

OPTIONS = {"widths": [16, 32, 64], "blocks": [2, 2, 2], "stem_stride": 2}


def gradients(network: AttentionCNN, image: torch.Tensor, *, half: bool) -> list[torch.Tensor]:
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        features = network.features(image)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (features.float() * weights).sum().backward()
    return [p.grad for p in network.encoder.parameters() if p.grad is not None and p.dim() == 5]


@pytest.mark.parametrize("size", [(24, 16, 16), (32, 24, 24), (24, 24, 8), (24, 9, 24)])
def test_sound_sizes_have_the_gradients_of_float32(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = AttentionCNN(spatial_dims=3, in_channels=1, out_channels=1, encoder_options=OPTIONS, evidence_stride=4)
    image = torch.rand(8, 1, *size)
    assert sound_bf16("cpu", size, network.coarsest_stride)
    exact = [g.clone() for g in gradients(network, image, half=False)]
    for _ in range(3):
        for one, other in zip(gradients(network, image, half=True), exact, strict=True):
            alike = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
            assert alike > 0.9  # right ones have 0.94 and more, garbage 0.0 to 0.1


@pytest.mark.parametrize(
    ("device", "size", "sound"),
    [
        ("cpu", (16, 64, 64), False),  # two cells along the first axis
        ("cpu", (8, 64, 64), False),  # one, and two at the stride before
        ("cpu", (48, 8, 48), False),  # one along the second
        ("cpu", (48, 8, 16), False),  # the same: a bus error, so it is never run
        ("cpu", (17, 16, 16), True),
        ("cpu", (16, 16), True),
        ("cuda", (16, 16, 16), True),
    ],
)
def test_what_is_called_sound(device: str, size: tuple[int, ...], sound: bool) -> None:
    assert sound_bf16(device, size, 8) is sound


def test_a_slow_choice_is_said(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["medattn_core.training.train"], "fast_bf16", lambda _: False)
    heard: list[str] = []
    with pytest.raises(TrainingError, match="no case"):
        train(squares, tmp_path / "out", config={"training": {"precision": "bf16", "patience": 1}}, say=heard.append)
    assert any("precision bf16: this processor lacks it" in line for line in heard)
