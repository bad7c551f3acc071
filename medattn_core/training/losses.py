"""Losses on logits and on the map.

Location supervision teaches the attention where the finding is; background supervision teaches what is *not* a
finding, with real tissue: the regions outside the box of one image are shown to the head without the rest (a mask of
the attention), alone and thrown together with other images, as slices of a volume are. Everything is computed from
the scores and values of one pass through the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from medattn_core.errors import TrainingError
from medattn_core.networks.attention import Attended
from medattn_core.ranges import Range


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Factors of the parts of the loss.

    Attributes:
        location: ``-log`` of the attention of a present class inside its box or mask; in regression, how far the
            evidence is from lying evenly in the mask, and nowhere else.
        elsewhere: the same for absent classes, for which attending to nothing (the null token) is also correct.
        bag: an image pooled together with the background of others must keep its label.
        background: background alone (whatever lies outside boxes and masks) must score no higher than the prior.
        empty: ``-log`` of the null token's attention on background alone.
        together: images pooled together must show the labels of all of them (activation ``sigmoid``; class weights and
            the focal exponent do not apply). Needs no boxes: what images with and without a label have in common is
            then no evidence for it.
        spread: classification only: how unevenly the attention of a present class is spread over its mask
            (Kullback-Leibler divergence). For masks that follow the outline, when the map should show the whole
            extent; boxes do not count.
        smoothing: label smoothing of every classification loss: the share of the target that is spread evenly.
    """

    ranges: ClassVar[dict[str, Range]] = {
        **dict.fromkeys(("location", "elsewhere", "bag", "background", "empty", "together", "spread"), Range(low=0)),
        "smoothing": Range(low=0, high=1, below=True),
    }
    location: float = 0.3
    elsewhere: float = 0.1
    bag: float = 0.5
    background: float = 0.5
    empty: float = 0.05
    together: float = 0.0
    spread: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name, accepted in self.ranges.items():
            value = getattr(self, name)
            if value not in accepted:
                raise TrainingError("bad_config", f"losses: {name}={value!r}; accepted: {accepted}")


def classification_loss(
    logits: Tensor,
    target: Tensor,
    activation: str,
    smoothing: float = 0.0,
    focal: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Loss of each item, ``(B,)``.

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)``: one-hot or multi-hot; all zeros for an image without any finding.
        activation: ``softmax``: cross-entropy. ``sigmoid``: binary cross-entropy summed over classes, and for items
            with exactly one class the cross-entropy between the classes, which sharpens the decision among them.
        smoothing: label smoothing: this share of the target is spread evenly (Szegedy et al. 2016).
        focal: exponent on the probability that is still missing (Lin et al. 2017); 0 is none.
        weights: ``(K,)`` factor of each class (of the items that show it, in ``softmax``).
    """
    single = (target.sum(dim=1) == 1).float()
    labels = target
    among = labels * (1 - smoothing) + smoothing / labels.shape[1]  # the classes sum to one
    target = labels * (1 - smoothing) + smoothing * 0.5  # each by itself: yes and no do
    log_p = F.log_softmax(logits, dim=1)
    factor = 1.0 if weights is None else (labels * weights).sum(dim=1)  # of the class that an item shows
    missing = 1 - (log_p.exp() * labels).sum(dim=1)
    choice = -(log_p * among).sum(dim=1) * factor * (missing.clamp_min(1e-6) ** focal if focal > 0 else 1.0)
    if activation == "softmax":
        return choice
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if focal > 0:
        p = torch.sigmoid(logits)
        each = each * (labels * (1 - p) + (1 - labels) * p).clamp_min(1e-6) ** focal
    loss = (each if weights is None else each * (1 + labels * (weights - 1))).sum(dim=1)
    return loss + single * choice if logits.shape[1] > 1 else loss


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Huber loss of standardised targets, ``(B,)``."""
    return F.smooth_l1_loss(prediction, target, reduction="none").sum(dim=1)


def regression_map_loss(contributions: Tensor, inside: Tensor, total: Tensor, located: Tensor) -> Tensor:
    """How far the evidence for a quantity is from lying evenly in the mask: a scalar, lowest where it does.

    Cross-entropy of each region's share of the absolute contributions against its share of the mask, which finds the
    place, and the absolute distance of the contributions from the value laid out evenly over the mask, as a share of
    it, which settles the amounts.

    Args:
        contributions: ``(B, 1, *regions)``.
        inside: ``(B, *regions)``, share of each region inside the mask.
        total: ``(B,)``, target minus bias: what the contributions should sum to.
        located: ``(B,)`` boolean, which items have a mask; the others take no part.
    """
    found = contributions[located].flatten(1)
    cover = inside[located].flatten(1)
    cover = cover / cover.sum(dim=1, keepdim=True).clamp_min(1e-6)
    share = found.abs() + 1e-6
    share = share / share.sum(dim=1, keepdim=True)
    place = -(cover * share.log()).sum(dim=1)
    wanted = cover * total[located].unsqueeze(1)
    # A value that hardly differs from the bias has no amount to divide by: a tenth of a standard deviation is one.
    amount = (found - wanted).abs().sum(dim=1) / total[located].abs().clamp_min(0.1)
    return (place + amount).mean()


def map_losses(
    out: Attended,
    bias: Tensor,
    target: Tensor,
    inside: Tensor,
    located: Tensor,
    weights: LossWeights,
    activation: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Location and background losses of one batch.

    Args:
        out: of the network's ``attend``.
        bias: ``(K,)``.
        target: ``(B, K)`` one- or multi-hot.
        inside: ``(B, *regions)``, share of each region inside the box or mask.
        located: ``(B,)`` boolean, which items have a box or mask; the others take no part.
        weights: factors; a part with factor zero is not computed.
        activation: of the task; background needs ``sigmoid`` (softmax cannot say "none").
        generator: draws the bags.

    Returns:
        Weighted scalar losses by name.
    """
    if not bool(located.any()):
        return {}
    scores = out.scores[located].flatten(2)
    values = out.values[located].flatten(2)
    null, target, cover = out.null_scores[located], target[located], inside[located]
    neighbour = F.max_pool2d if cover.dim() == 3 else F.max_pool3d
    outside = neighbour(cover.unsqueeze(1), 3, stride=1, padding=1).flatten(2) < 1e-3  # one cell of margin
    cover = cover.flatten(1).unsqueeze(1)

    all_sum, all_say = _summary(scores, values)
    in_box = torch.logsumexp(scores + cover.clamp_min(1e-6).log(), dim=2)
    total = torch.logaddexp(all_sum, null)
    present, absent = target, 1 - target
    losses: dict[str, Tensor] = {}

    def where(in_box_or_null: Tensor, total: Tensor, chosen: Tensor) -> Tensor:
        return ((total - in_box_or_null) * chosen).sum() / chosen.sum().clamp_min(1.0)

    losses["location"] = weights.location * where(in_box, total, present)
    if weights.spread > 0:
        share = cover / cover.sum(dim=2, keepdim=True).clamp_min(1e-6)
        uneven = (share * (share.clamp_min(1e-12).log() - scores + total.unsqueeze(2))).sum(dim=2)
        losses["spread"] = weights.spread * (uneven * present).sum() / present.sum().clamp_min(1.0)
    if weights.elsewhere > 0:
        losses["elsewhere"] = weights.elsewhere * where(torch.logaddexp(in_box, null), total, absent)
    if activation != "sigmoid" or weights.bag + weights.background + weights.empty == 0:
        return losses

    out_sum, out_say = _summary(scores.masked_fill(~outside, -1e4), values)
    count = scores.shape[0]
    beside = outside.any(dim=2)[:, 0]  # an item that the finding fills has no background to throw in
    joins = draw_guests(count, generator, scores.device) & beside
    guests = out_sum.unsqueeze(0).masked_fill(~joins.unsqueeze(2), -1e4)
    bag_total = torch.logaddexp(total, torch.logsumexp(guests, dim=1))
    say = torch.exp(all_sum - bag_total) * all_say + (torch.exp(guests - bag_total.unsqueeze(1)) * out_say).sum(dim=1)
    losses["bag"] = weights.bag * classification_loss(bias + say, target, activation, weights.smoothing).mean()
    losses["bag_location"] = weights.bag * weights.location * where(in_box, bag_total, present)

    joins = joins.fill_diagonal_(True) & beside
    some = joins.any(dim=1)
    empty_total, say = _pooled(joins, out_sum, out_say, null)
    # What shows nothing is worth the prior: the target is the bias itself, so looking at nothing is the optimum.
    prior = torch.sigmoid(bias).expand_as(target)
    surprise = F.binary_cross_entropy_with_logits(bias + say, prior, reduction="none")
    losses["background"] = weights.background * (surprise.sum(dim=1) * some).sum() / some.sum().clamp_min(1)
    if weights.empty > 0 and bool(torch.isfinite(null).all()):  # there is a null token to look at
        losses["empty"] = weights.empty * (empty_total - null).mean()
    return losses


def together_loss(
    out: Attended, bias: Tensor, target: Tensor, generator: torch.Generator, smoothing: float = 0.0
) -> Tensor:
    """Classification loss of bags of whole images, whose labels are those of all their images: a scalar.

    Multiple-instance learning over images (Ilse et al. 2018, arXiv 1802.04712): a region that looks the same in images
    with and without a label cannot tell which of them is in the bag, so the evidence has to lie where they differ.

    Args:
        out: of the network's ``attend``.
        bias: ``(K,)``.
        target: ``(B, K)`` one- or multi-hot, of a task with ``sigmoid``.
        generator: draws the bags.
        smoothing: label smoothing.
    """
    joins = draw_bags(target, generator)
    _, say = _pooled(joins, *_summary(out.scores.flatten(2), out.values.flatten(2)), out.null_scores)
    shown = (joins.unsqueeze(2) * target.unsqueeze(0)).amax(dim=1)
    return classification_loss(bias + say, shown, "sigmoid", smoothing).mean()


def draw_bags(target: Tensor, generator: torch.Generator) -> Tensor:
    """Whose images are thrown together in each bag, boolean ``(B, B)``; the item of a row is always in its own.

    Bags of many images would show nearly every label, and say little about any: each is drawn from the images without
    some labels, which are drawn first among those that its own item lacks.

    Args:
        target: ``(B, K)`` one- or multi-hot.
        generator: on the CPU.
    """
    barred = (torch.rand(target.shape, generator=generator) < 0.5).to(target.device) & (target == 0)
    shows = (target.unsqueeze(0) * barred.unsqueeze(1)).amax(dim=2) > 0
    joins = draw_guests(len(target), generator, target.device) & ~shows
    return joins.fill_diagonal_(True)


def draw_guests(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Whose background is thrown into each bag, boolean ``(count, count)``; nobody's own is.

    The number of guests of a row varies from none to all. Drawn on the CPU, where the generator lives: a seed means the
    same on every device.
    """
    share = torch.rand(count, 1, generator=generator)
    joins = torch.rand(count, count, generator=generator) < share
    return joins.fill_diagonal_(False).to(device)


def _pooled(joins: Tensor, sums: Tensor, says: Tensor, null: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and evidence ``(B, K)`` of each bag, from :func:`_summary` of the groups that ``joins`` throws in."""
    members = sums.unsqueeze(0).masked_fill(~joins.unsqueeze(2), -1e4)
    total = torch.logaddexp(null, torch.logsumexp(members, dim=1))
    return total, (torch.exp(members - total.unsqueeze(1)) * says).sum(dim=1)


def _summary(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of the scores ``(B, K)`` and the mean of the values under their softmax ``(B, K)``.

    Groups of regions pool exactly from these two numbers each: that is what makes bags free.
    """
    return torch.logsumexp(scores, dim=2), (torch.softmax(scores, dim=2) * values).sum(dim=2)
