"""Losses against sums written out: weights of classes, cells that are partly inside, regions that cancel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.config import TrainingConfig
from medattn_core.training.losses import (
    LossWeights,
    classification_loss,
    draw_bags,
    map_losses,
    regression_map_loss,
)
from medattn_core.training.objective import Objective
from medattn_core.training.processes import Processes
from medattn_core.training.units import Units
from medattn_core.transforms.augment import Augmentation
from tests.training.test_checkpoint import NETWORK, TASK, data
from tests.training.test_losses import batch

LOGITS = torch.tensor([[0.5, -1.0], [0.5, -1.0], [0.5, -1.0], [0.5, -1.0]])
TARGET = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])


def test_a_class_weighs_where_it_is_there_and_nowhere_else() -> None:
    """The first class counts three times: by itself, and in the choice among the classes of who shows one alone."""
    yes, no = F.softplus(-LOGITS[0]), F.softplus(LOGITS[0])  # what presence and absence of each class cost
    choice = torch.logsumexp(LOGITS[0], 0) - LOGITS[0]
    expected = torch.stack([
        3 * yes[0] + no[1] + 3 * choice[0], no[0] + yes[1] + choice[1], no[0] + no[1], 3 * yes[0] + yes[1],
    ])  # fmt: skip
    weights = torch.tensor([3.0, 1.0])
    torch.testing.assert_close(classification_loss(LOGITS, TARGET, "sigmoid", weights=weights), expected)
    among = classification_loss(LOGITS[:2], TARGET[:2], "softmax", weights=weights)
    torch.testing.assert_close(among, torch.stack([3 * choice[0], choice[1]]))


def test_a_cell_that_is_partly_inside_counts_by_its_share() -> None:
    pooling, _, out, target, inside = batch()
    inside = torch.zeros_like(inside)
    inside[:, 2, 2], inside[:, 2, 3] = 1.0, 0.25
    everyone = torch.ones(len(target), dtype=torch.bool)
    weights = LossWeights(location=1.0, elsewhere=1.0, bag=0, background=0, empty=0)
    losses = map_losses(out, pooling.bias, target, inside, everyone, weights, "sigmoid", torch.Generator())
    looked_at = out.weights[:, :, 2, 2] + 0.25 * out.weights[:, :, 2, 3]
    at_nothing = 1 - out.weights.flatten(2).sum(dim=2)
    location = -(looked_at.log() * target).sum() / target.sum()
    elsewhere = -((looked_at + at_nothing).log() * (1 - target)).sum() / (1 - target).sum()
    assert losses["location"].item() == pytest.approx(location.item(), abs=1e-4)
    assert losses["elsewhere"].item() == pytest.approx(elsewhere.item(), abs=1e-4)


def test_regions_that_cancel_are_not_even() -> None:
    """One above and one as much below their part of the value: the sum is right, the map is not."""
    inside = torch.zeros(1, 3, 3)
    inside[0, :2, :2] = 1.0
    found = torch.zeros(1, 1, 3, 3)
    found[0, 0, :2, :2] = torch.tensor([[-3.0, -1.0], [-2.0, -2.0]])
    loss = regression_map_loss(found, inside, torch.tensor([-8.0]), torch.tensor([True]))
    place = -np.log([3 / 8, 1 / 8, 2 / 8, 2 / 8]).mean()
    assert float(loss) == pytest.approx(place + (1 + 1) / 8, abs=1e-4)


def test_half_of_the_images_that_show_another_label_may_join_a_bag() -> None:
    """A guest joins every second time; one with the label that the own image lacks, half as often."""
    target = F.one_hot(torch.arange(12) % 2, 2).float()
    generator = torch.Generator().manual_seed(0)
    joined = torch.stack([draw_bags(target, generator) for _ in range(300)]).float().mean(dim=0)
    same = (target @ target.T).bool()
    assert float(joined[~same].mean()) == pytest.approx(0.25, abs=0.03)
    assert float(joined[same & ~torch.eye(12, dtype=torch.bool)].mean()) == pytest.approx(0.5, abs=0.03)


def test_a_finding_that_zooming_made_small_still_teaches_its_place() -> None:
    """It lies in the middle, wholly in view, at half to twice its size."""
    own = data()
    masks = np.zeros_like(own.masks)
    masks[:, 12:20, 12:20] = 255
    own = replace(own, masks=masks, located=np.ones(len(own), bool))
    zooming = Augmentation(
        flip=0, rotate=0, scale=2, stretch=1, translate=0, gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0
    )
    config = TrainingConfig(augmentation=zooming, precision="fp32")
    network = AttentionCNN(**NETWORK)
    objective = Objective(
        network=network, data=own, task=TASK, config=config, processes=Processes("cpu"), units=Units()
    )
    for seed in range(12):
        losses = objective.losses(np.arange(1), (32, 32), torch.Generator().manual_seed(seed))
        assert "location" in losses, seed
