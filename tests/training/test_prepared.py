"""Cases on the model grid, as training takes them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medattn_core import datalists
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.loop import fit
from tests.training.test_checkpoint import NETWORK, TASK, data


def test_a_mask_is_255_inside_of_its_box_and_0_elsewhere(squares: Path) -> None:
    task = TaskSpec(name="squares", labels=("bright", "dark"), spatial_dims=2, spacing=(1.0, 1.0))
    cases = datalists.load(squares)[:4]
    found = prepare(cases, task, (64, 64))
    assert found.located.all()
    for case, mask in zip(cases, found.masks, strict=True):
        x, y, width, height = (int(n) for n in case.box)
        expected = np.zeros((64, 64), np.uint8)
        expected[y : y + height, x : x + width] = 255
        assert sorted(np.unique(mask).tolist()) == [0, 255]
        assert mask.sum() == expected.sum()


def copied(whole: TrainingData, chosen: np.ndarray) -> TrainingData:
    """A subset with arrays of its own."""
    return replace(whole.subset(chosen), images=whole.images[chosen], masks=whole.masks[chosen])


CHOICES = pytest.mark.parametrize("chosen", [
    np.arange(8) % 3 > 0, np.array([6, 1, 1, -1]), np.zeros(8, bool), np.ones(8, bool), np.arange(8)[::-1],
])  # fmt: skip


@CHOICES
def test_a_subset_is_what_a_copy_would_be(chosen: np.ndarray) -> None:
    whole = replace(data(), masks=np.random.default_rng(1).integers(0, 255, (8, 32, 32)).astype(np.uint8))
    part, other = whole.subset(chosen), copied(whole, chosen)
    for own, copy in ((part.images, other.images), (part.masks, other.masks)):
        assert (own.shape, own.dtype, len(own)) == (copy.shape, copy.dtype, len(copy))
        for place in (slice(1, 3), np.arange(len(copy))[::2], slice(None)):
            np.testing.assert_array_equal(own[place], copy[place])
        assert all(np.array_equal(one, same) for one, same in zip(own, copy, strict=True))
    assert part.fingerprint() == other.fingerprint()
    if len(other) > 1:
        again = np.arange(len(other)) > 0
        assert part.subset(again).fingerprint() == copied(other, again).fingerprint()


def test_a_subset_takes_no_memory() -> None:
    """Half of 64 MiB of images and 32 MiB of masks, and all of them: nobody is held out."""
    whole = replace(data(), images=np.zeros((8, 1, 2048, 2048), np.float16), masks=np.zeros((8, 2048, 2048), np.uint8))
    tracemalloc.start()
    try:
        parts = [whole.subset(np.arange(8) % 2 == 0), whole.subset(np.ones(8, bool))]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert len(parts[0]) == 4
    assert parts[1] is whole


def test_a_subset_trains_the_network_that_a_copy_trains() -> None:
    chosen = np.arange(8) != 2
    trained = []
    for part in (data().subset(chosen), copied(data(), chosen)):
        torch.manual_seed(0)
        settings = TrainingConfig(epochs=2, batch_size=3, precision="fp32")
        trained.append(fit(AttentionCNN(**NETWORK), part, TASK, settings).state_dict())
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_masks_of_a_list_without_places_take_no_memory(squares: Path) -> None:
    task = TaskSpec(name="squares", labels=("bright", "dark"), spatial_dims=2, spacing=(1.0, 1.0))
    cases = datalists.load(squares)[:6]
    nowhere = [replace(case, box=None) for case in cases]
    found = prepare(nowhere, task, (64, 64))
    assert (found.masks.shape, found.masks.dtype) == ((6, 64, 64), np.uint8)
    assert not np.any(found.masks)
    assert found.masks.strides == (0, 0, 0)
    some = prepare([*nowhere[:3], *cases[3:]], task, (64, 64))  # the first place comes late
    np.testing.assert_array_equal(some.masks[:3], 0)
    np.testing.assert_array_equal(some.masks[3:], prepare(cases, task, (64, 64)).masks[3:])
