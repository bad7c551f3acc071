"""The losses say what they claim: bags equal a real concatenation, location is the attention in the box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medattn_core.networks.attention import EvidencePooling
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.config import TrainingConfig
from medattn_core.training.loop import fit
from medattn_core.training.losses import (
    LossWeights,
    classification_loss,
    draw_bags,
    draw_guests,
    map_losses,
    regression_map_loss,
    together_loss,
)
from tests.training.test_checkpoint import NETWORK, TASK, data


def batch(count: int = 6, size: int = 5, seed: int = 0):
    torch.manual_seed(seed)
    pooling = EvidencePooling(8, 3, bias=[-3.0, -2.0, -1.0])
    torch.nn.init.normal_(pooling.null_key)
    features = torch.randn(count, 8, size, size)
    target = F.one_hot(torch.randint(0, 3, (count,)), 3).float()
    inside = torch.zeros(count, size, size)
    for item in range(count):
        inside[item, item % 3 : item % 3 + 2, 1:3] = 1.0
    return pooling, features, pooling(features), target, inside


def run(weights: LossWeights, *, activation: str = "sigmoid", located: torch.Tensor | None = None):
    pooling, features, out, target, inside = batch()
    located = torch.ones(len(target), dtype=torch.bool) if located is None else located
    generator = torch.Generator().manual_seed(3)
    losses = map_losses(out, pooling.bias, target, inside, located, weights, activation, generator)
    return pooling, features, out, target, inside, losses


def test_location_is_minus_log_of_the_attention_inside_the_box():
    _, _, out, target, inside, losses = run(LossWeights(location=1.0, elsewhere=0, bag=0, background=0, empty=0))
    attention = (out.weights * inside.unsqueeze(1)).flatten(2).sum(dim=2)
    expected = -(attention.log() * target).sum() / target.sum()
    assert losses["location"].item() == pytest.approx(expected.item(), abs=1e-4)


def test_spread_is_the_divergence_of_the_attention_from_the_mask():
    weights = LossWeights(location=1.0, spread=1.0, elsewhere=0, bag=0, background=0, empty=0)
    _, _, out, target, inside, losses = run(weights)
    share = (inside / inside.sum(dim=(1, 2), keepdim=True)).unsqueeze(1)
    divergence = torch.special.xlogy(share, share / out.weights).flatten(2).sum(dim=2)
    assert losses["spread"].item() == pytest.approx(float((divergence * target).sum() / target.sum()), rel=1e-4)
    assert losses["spread"] > losses["location"]


def test_attention_spread_over_the_mask_costs_nothing():
    _, _, out, target, inside = batch()
    even = out._replace(
        scores=(inside + 1e-9).log().unsqueeze(1).expand_as(out.scores),
        null_scores=torch.full_like(out.null_scores, -50.0),
    )
    weights = LossWeights(spread=1.0, elsewhere=0, bag=0, background=0, empty=0)
    everyone = torch.ones(len(target), dtype=torch.bool)
    losses = map_losses(even, torch.zeros(3), target, inside, everyone, weights, "softmax", torch.Generator())
    assert abs(float(losses["spread"])) < 1e-4
    peak = even.scores.clone()
    peak.flatten(2)[..., inside[0].flatten().argmax()] += 3.0
    losses = map_losses(
        even._replace(scores=peak), torch.zeros(3), target, inside, everyone, weights, "softmax", torch.Generator()
    )
    assert float(losses["spread"]) > 0.1  # a peak inside is enough for the location, not for this


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_background_bag_equals_pooling_all_background_regions_together(smoothing):
    pooling, features, _, target, inside, losses = run(LossWeights(background=1.0, bag=1.0, smoothing=smoothing))
    near = F.max_pool2d(inside.unsqueeze(1), 3, 1, 1)[:, 0] > 0
    # Replay the draws to know who was thrown together.
    generator = torch.Generator().manual_seed(3)
    count = len(target)
    share = torch.rand(count, 1, generator=generator)
    joins = torch.rand(count, count, generator=generator) < share
    joins.fill_diagonal_(False)
    with_guests, nothing = [], []
    for item in range(count):
        guests = [g for g in range(count) if bool(joins[item, g])]
        rows = features.flatten(2)
        outside = [rows[g][:, ~near[g].flatten()] for g in guests]
        with_guests.append(pooling(torch.cat([rows[item], *outside], dim=1).unsqueeze(0)).logits)
        alone = [*outside, rows[item][:, ~near[item].flatten()]]
        nothing.append(pooling(torch.cat(alone, dim=1).unsqueeze(0)).logits)
    bag = classification_loss(torch.cat(with_guests), target, "sigmoid", smoothing).mean()
    prior = torch.sigmoid(pooling.bias).expand_as(target)
    background = F.binary_cross_entropy_with_logits(torch.cat(nothing), prior, reduction="none").sum(dim=1).mean()
    assert float(losses["bag"]) == pytest.approx(float(bag), rel=1e-4)
    assert float(losses["background"]) == pytest.approx(float(background), rel=1e-4)


def test_looking_at_nothing_is_the_optimum_on_background():
    """The gradient of the background loss with respect to the values vanishes where the null token has it all."""
    pooling, _, out, target, inside = batch()
    values = out.values.detach().requires_grad_(True)
    certain = out._replace(values=values, null_scores=torch.full_like(out.null_scores, 50.0))
    weights = LossWeights(location=0, elsewhere=0, bag=0, background=1.0, empty=0)
    everyone = torch.ones(len(target), dtype=torch.bool)
    losses = map_losses(
        certain, pooling.bias, target, inside, everyone, weights, "sigmoid", torch.Generator().manual_seed(0)
    )
    (gradient,) = torch.autograd.grad(losses["background"], values)
    assert float(gradient.abs().max()) < 1e-9


def test_a_finding_that_fills_the_image_has_no_background_to_teach():
    """Without a null token, too: its own regions would be drawn to the prior."""
    torch.manual_seed(0)
    pooling = EvidencePooling(8, 1, bias=[-2.0], null_token=False)
    features = torch.randn(2, 8, 4, 4)
    inside = torch.zeros(2, 4, 4)
    inside[0, 1:3, 1:3] = 1.0  # with a margin of a cell it is all there is
    inside[1, 0, 0] = 1.0
    weights = LossWeights(location=0, elsewhere=0, bag=0, background=1.0, empty=0)
    gradients = []
    for items in ([0], [0, 1], [1]):
        pooling.zero_grad()
        out = pooling(features[items])
        located = torch.ones(len(items), dtype=torch.bool)
        target = torch.ones(len(items), 1)
        seed = torch.Generator().manual_seed(0)
        losses = map_losses(out, pooling.bias, target, inside[items], located, weights, "sigmoid", seed)
        losses["background"].backward()
        gradients.append(pooling.value.weight.grad.clone())
    assert float(gradients[0].abs().max()) == 0
    assert float(gradients[1].abs().max()) > 0
    assert float(gradients[2].abs().max()) > 0


def test_a_value_at_the_bias_does_not_outweigh_all_others():
    found = torch.full((1, 1, 4, 4), 0.05)
    inside = torch.zeros(1, 4, 4)
    inside[0, 1:3, 1:3] = 1.0
    near, at = (
        float(regression_map_loss(found, inside, torch.tensor([total]), torch.tensor([True]))) for total in (0.1, 0.0)
    )
    assert at < 2 * near


def test_a_small_finding_teaches_its_place_and_one_that_was_moved_away_does_not():
    """Whatever share of a cell it is: five pixels of a picture, six voxels of a scan, in images that grow."""
    from medattn_core.training.objective import Objective
    from medattn_core.training.processes import Processes
    from medattn_core.training.units import Units
    from medattn_core.transforms.augment import Augmentation

    still = Augmentation(
        flip=0,
        rotate=0,
        scale=1,
        stretch=1,
        translate=0,
        gamma=1,
        brightness=1,
        bias_field=0,
        noise=0,
        coarsen=0,
        erase=0,
    )
    own = data()
    shape = own.images.shape[2:]
    masks = np.zeros_like(own.masks)
    middle = [n // 2 for n in shape]
    masks[(slice(None), *[slice(m - 2, m + 3) for m in middle])] = 255
    own = replace(own, masks=masks, located=np.ones(len(own), bool))
    network = AttentionCNN(**NETWORK)

    def parts(augmentation: Augmentation, size: tuple[int, ...], seed: int = 0, count: int = 4) -> set[str]:
        config = TrainingConfig(augmentation=augmentation, precision="fp32")
        objective = Objective(
            network=network, data=own, task=TASK, config=config, processes=Processes("cpu"), units=Units()
        )
        return set(objective.losses(np.arange(count), size, torch.Generator().manual_seed(seed)))

    for share in (1.0, 0.6):
        assert "location" in parts(still, tuple(max(8, round(n * share) // 8 * 8) for n in shape))
    far = ["location" in parts(replace(still, translate=0.6), tuple(shape), seed, 1) for seed in range(12)]
    assert set(far) == {False, True}


def test_items_without_a_box_take_no_part():
    assert run(LossWeights(), located=torch.zeros(6, dtype=torch.bool))[-1] == {}


def test_softmax_has_no_background_losses():
    losses = run(LossWeights(), activation="softmax")[-1]
    assert set(losses) == {"location", "elsewhere"}


def test_every_part_moves_the_weights():
    pooling, *_, losses = run(LossWeights())
    assert set(losses) == {"location", "elsewhere", "bag", "bag_location", "background", "empty"}
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, pooling.query, retain_graph=True)
        assert bool(torch.isfinite(gradient).all()), name
        assert float(gradient.abs().sum()) > 0, name


def test_smoothing_spreads_as_much_as_it_says():
    """Among the classes it is PyTorch's; of each class by itself half of it goes to the other answer."""
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    target = torch.eye(10)[[0, 3, 9, 3, 5]]
    among = F.cross_entropy(logits, target, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(classification_loss(logits, target, "softmax", 0.1), among)
    each = F.binary_cross_entropy_with_logits(logits, target * 0.9 + 0.05, reduction="none").sum(dim=1)
    torch.testing.assert_close(classification_loss(logits, target, "sigmoid", 0.1), each + among)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_classification_loss_prefers_the_right_class(activation):
    target = torch.tensor([[0.0, 1.0, 0.0]])
    right = classification_loss(torch.tensor([[-2.0, 2.0, -2.0]]), target, activation)
    wrong = classification_loss(torch.tensor([[2.0, -2.0, -2.0]]), target, activation)
    assert float(right) < float(wrong)


def test_sigmoid_of_nothing_pushes_all_classes_down():
    logits = torch.zeros(1, 3, requires_grad=True)
    classification_loss(logits, torch.zeros(1, 3), "sigmoid").sum().backward()
    assert (np.asarray(logits.grad) > 0).all()


def test_the_bags_are_drawn_on_the_cpu_and_used_where_the_scores_are():
    """A mask on another device is what a GPU refuses."""
    drawn = draw_guests(6, torch.Generator().manual_seed(3), torch.device("cpu"))
    assert not drawn.diagonal().any()
    assert torch.equal(drawn, draw_guests(6, torch.Generator().manual_seed(3), torch.device("cpu")))
    assert draw_guests(6, torch.Generator(), torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize("labels", [1, 3])
def test_images_thrown_together_equal_pooling_all_their_regions(labels: int) -> None:
    pooling, features, out, target, _ = batch()
    target, bias = target[:, :labels], pooling.bias[:labels]
    parts = {name: getattr(out, name)[:, :labels] for name in ("scores", "values", "null_scores")}
    loss = together_loss(out._replace(**parts), bias, target, torch.Generator().manual_seed(5))
    bags = draw_bags(target, torch.Generator().manual_seed(5))
    rows = features.flatten(2)
    logits, shown = [], []
    for bag in bags:
        members = bag.nonzero().flatten().tolist()
        logits.append(pooling(torch.cat([rows[m] for m in members], dim=1).unsqueeze(0)).logits[:, :labels])
        shown.append(target[members].amax(dim=0))
    wanted = classification_loss(torch.cat(logits), torch.stack(shown), "sigmoid").mean()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-4)


def test_bags_hold_their_own_image_and_often_lack_a_label() -> None:
    """With one label, an image without it is in bags without it; with three, many a bag lacks one or two of them."""
    one = (torch.arange(12) % 2 == 0).float().unsqueeze(1)
    three = F.one_hot(torch.arange(12) % 3, 3).float()
    generator = torch.Generator().manual_seed(0)
    lacking, sizes = [], []
    for _ in range(50):
        for target in (one, three):
            bags = draw_bags(target, generator)
            assert bool(bags.diagonal().all())
            shown = (bags.unsqueeze(2) * target.unsqueeze(0)).amax(dim=1)
            assert bool((shown >= target).all())
            lacking.append(float((shown == 0).any(dim=1).float().mean()))
            sizes.append(float(bags.sum(dim=1).float().mean()))
    assert 0.2 < np.mean(lacking) < 0.9
    assert 2 < np.mean(sizes) < 10


def test_together_is_a_part_of_the_training_where_it_is_asked_for() -> None:
    """Of one step, in the losses that are shown; without it, and by default, it is not there."""
    for weight in (0.0, 0.5):
        seen: list[dict[str, float]] = []
        config = TrainingConfig(epochs=1, batch_size=8, precision="fp32", losses=LossWeights(together=weight))
        torch.manual_seed(0)
        fit(
            AttentionCNN(**NETWORK), data(), TASK, config, progress=lambda _, __, now, seen=seen: seen.append(dict(now))
        )
        assert set(seen[-1]) == {"label"} | ({"together"} if weight else set())
    assert LossWeights().together == 0


def test_elsewhere_an_absent_class_may_look_at_nothing():
    _, _, out, target, inside, losses = run(LossWeights(location=0, elsewhere=1.0, bag=0, background=0, empty=0))
    fine = (out.weights * inside.unsqueeze(1)).flatten(2).sum(2) + 1 - out.weights.flatten(2).sum(2)
    expected = -(fine.log() * (1 - target)).sum() / (1 - target).sum()
    assert losses["elsewhere"].item() == pytest.approx(expected.item(), abs=1e-4)
