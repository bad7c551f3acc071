"""Deletion, insertion and weight randomisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medattn_core.bundles import save_bundle
from medattn_core.evaluation import fidelity
from medattn_core.evaluation.maps import Comparison, MapScores, add_comparison
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import POOLINGS, AttentionCNN
from medattn_core.networks.encoders import ENCODERS
from medattn_core.tasks import TaskSpec
from medattn_core.volumes import Volume

VALUE = TaskSpec(name="t", kind="regression", activation="identity", labels=("v",), spatial_dims=2, spacing=(1, 1))


SMALL = {"encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}, "width": 4}


class Brightness(nn.Module):
    """The sum of the image: what each pixel is worth is known."""

    evidence_stride = 8

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.device == self.weight.device
        total = x.flatten(1).sum(dim=1, keepdim=True)
        return total if x.device.type == "cpu" else torch.zeros(len(x), 1)


def test_the_highest_pixels_go_first() -> None:
    image = np.zeros((1, 64, 64), np.float32)
    image[0, 20:24, 20:24] = 1.0
    inside = np.ones((64, 64), bool)
    found = fidelity.curves(Brightness(), image, image[0], inside, 0, VALUE, (0.0, 0.01, 1.0))
    blurred = float(fidelity.blurred(image, 8).sum())
    # One per cent of 4096 pixels are 41, the 16 bright ones among them.
    assert found["deletion"][0] == pytest.approx(16)
    assert found["deletion"][1] < 2
    assert found["insertion"][0] == pytest.approx(blurred, rel=1e-4)
    assert found["insertion"][1] > 14
    wrong = fidelity.curves(Brightness(), image, -image[0], inside, 0, VALUE, (0.0, 0.01, 1.0))
    assert wrong["deletion"][1] > 14


def test_padding_is_neither_deleted_nor_blurred() -> None:
    """A scan that fills a part of the grid: all of it shown is the image, none of it shown is all of it deleted."""
    inside = np.zeros((16, 24, 16), bool)
    inside[2:14, 4:20, 1:12] = True
    image = np.where(inside, np.random.default_rng(0).random(inside.shape), 0)[None].astype(np.float32)
    found = fidelity.curves(Brightness(), image, image[0], inside, 0, VALUE, (0.0, 0.5, 1.0))
    assert found["deletion"][0] == found["insertion"][-1] == pytest.approx(image.sum(), rel=1e-5)
    assert found["insertion"][0] == found["deletion"][-1]
    assert found["insertion"][0] < 0.95 * image.sum()  # some of it is blurred over the edge


@pytest.mark.parametrize(("size", "most"), [(16, 6), (1024, 1)])
def test_a_curve_asks_for_each_image_once_and_for_few_large_ones_at_a_time(size: int, most: int) -> None:
    batches: list[torch.Tensor] = []

    class Watched(Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batches.append(x.flatten(1).double().sum(dim=1))
            return super().forward(x)

    image = np.random.default_rng(0).random((1, size, size)).astype(np.float32)
    found = fidelity.curves(Watched(), image, image[0], np.ones((size, size), bool), 0, VALUE, (0.0, 0.2, 0.5, 1.0))
    assert max(map(len, batches)) == most
    asked = torch.cat(batches).tolist()
    assert len(asked) == len(set(asked)) == 6  # both ends, and two states between them in either direction
    assert found["deletion"][0] == found["insertion"][-1] != found["deletion"][-1] == found["insertion"][0]


@pytest.mark.parametrize(
    "options",
    [*({"pooling": name} for name in POOLINGS), {"mixing": True}, {"null_token": False}],
    ids=str,
)
def test_random_weights_leave_no_parameter_of_the_head_as_it_was(options: dict) -> None:
    _nothing_is_left(AttentionCNN(spatial_dims=2, in_channels=1, out_channels=2, **SMALL, **options))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_random_weights_leave_no_parameter_of_an_encoder_as_it_was(name: str) -> None:
    _nothing_is_left(AttentionCNN(spatial_dims=2, in_channels=1, out_channels=2, encoder=name, width=4))


def _nothing_is_left(network: AttentionCNN) -> None:
    """Weights that no drawing gives, in place of those of a training."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    drawn = fidelity.randomised(network).named_parameters()
    assert [name for name, parameter in drawn if bool((parameter == 7.0).any())] == []


@pytest.mark.parametrize("pooling", ["evidence", "average"])
def test_the_curves_begin_at_what_was_predicted(tmp_path: Path, pooling: str) -> None:
    """Of a slice whose size is no multiple of the stride, cells in the padding are not attended, here neither."""
    labels = {"labels": ("a", "b"), "spatial_dims": 2, "spacing": (1, 1), "slicewise": True}
    task = TaskSpec(name="t", intensity={"rule": "window", "lower": 0, "upper": 255}, **labels)
    settings = {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "width": 8, "slicewise": True, "evidence_stride": 4,
        "encoder_options": {"stem_stride": 2, "widths": [8, 8, 8], "blocks": [1, 1, 1]}, "pooling": pooling,
    }  # fmt: skip
    torch.manual_seed(0)
    network = AttentionCNN(**settings)
    torch.nn.init.normal_(network.pooling.value.weight, std=3.0)
    folder = save_bundle(
        tmp_path / "t", task=task, network_settings=settings, state_dict=network.state_dict(), description="untrained",
        version="0.0.1",
    )  # fmt: skip
    predictor = Predictor.from_bundle(folder, device="cpu")
    data = np.random.default_rng(0).integers(0, 255, (41, 33, 1)).astype(np.float32)
    prediction = predictor(Volume(data=data, affine=np.eye(4)))
    assert not prediction.head.allowed.all()
    scores, comparison = MapScores(), Comparison.of(predictor.networks, (), 0)
    add_comparison(scores, (0, "a"), prediction, (), comparison, None, {})
    (found,) = scores.curves["evidence"].values()
    assert found["deletion"][0] == pytest.approx(prediction.probabilities["a"], abs=1e-6)
    assert found["insertion"][-1] == pytest.approx(prediction.probabilities["a"], abs=1e-6)
    allowed = prediction.head.allowed[..., 0]
    image = np.zeros((1, 4 * allowed.shape[0], 4 * allowed.shape[1]))
    cells = fidelity.random_contributions(comparison.random[0], image, 0, allowed)
    assert (cells.reshape(allowed.shape)[~allowed] == 0).all()
