"""Regression: the network works in standard deviations from the mean, the evidence is to sum in the target's unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medattn_core.datalists.load import LARGEST
from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.calibration import fold_scale
from medattn_core.training.data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Units:
    """Mean and standard deviation of the training targets; 0 and 1 change nothing (classification)."""

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, data: TrainingData) -> Units:
        """Of the targets of a regression.

        Raises:
            TrainingError: ``bad_config``: targets that float32 cannot be trained on.
        """
        targets = data.targets.astype(np.float64)  # a variance in float32 overflows from 1e19
        largest = float(np.abs(targets).max())
        if not largest <= LARGEST:  # NaN too
            raise TrainingError(
                "bad_config",
                f"values of the cases: {largest:.4g} is among them, accepted: finite numbers up to {LARGEST:.0e} in "
                "size; give the values in another unit",
            )
        mean, spread = float(targets.mean()), float(targets.std())
        return cls(mean=mean, spread=spread if spread > 1e-6 * abs(mean) else 1.0)  # less is rounding

    def standardised(self, data: TrainingData) -> TrainingData:
        """The data with targets in standard deviations from the mean."""
        return replace(data, targets=((data.targets - self.mean) / self.spread).astype(np.float32))

    def zoomed(self, targets: Tensor, factor: Tensor) -> Tensor:
        """Standardised targets after their values were multiplied by ``factor``, which broadcasts."""
        nothing = -self.mean / self.spread
        return nothing + (targets - nothing) * factor

    def restore(self, network: AttentionCNN) -> None:
        """Make a network that was trained on standardised targets predict in their unit; in place."""
        if (self.mean, self.spread) != (0.0, 1.0):
            fold_scale(network, self.spread, self.mean)

    def standardise(self, network: AttentionCNN) -> None:
        """Make a network that predicts in the targets' unit predict standardised ones; in place."""
        if (self.mean, self.spread) != (0.0, 1.0):
            fold_scale(network, 1 / self.spread, -self.mean / self.spread)


class InItsUnit:
    """A network in the unit of its targets whenever it is not being trained: as others read its weights, and set them.

    Federated learning hands weights from site to site between the rounds, and measures them; each site has a mean
    and a spread of its own.

    Args:
        network: as it is trained, on standardised targets.
        units: of the targets.
    """

    def __init__(self, network: AttentionCNN, units: Units) -> None:
        self.network, self.units = network, units
        self.leave()

    def _head(self) -> list[Tensor]:
        return [value.clone() for value in self.network.pooling.output_tensors()]

    def leave(self) -> None:
        """After a training."""
        self._trained = self._head()
        self.units.restore(self.network)
        self._shown = self._head()

    @torch.no_grad()
    def enter(self) -> None:
        """Before one. What nobody has set is what it was, to the last bit, as in a training without pauses."""
        now = self.network.pooling.output_tensors()
        if all(torch.equal(one, other) for one, other in zip(now, self._shown, strict=True)):
            for target, value in zip(now, self._trained, strict=True):
                target.copy_(value)
        else:
            self.units.standardise(self.network)


@torch.no_grad()
def start_at_mean(
    network: AttentionCNN, data: TrainingData, mean: float, spread: float, known: Sequence[bool] = (False,)
) -> None:
    """Set the frozen bias in standardised units and let the untrained network predict the mean; in place.

    The bias that was set (zero by default) is the value above which the evidence counts. Standardised it lies far
    from the targets, around which training should start: the head is given the value, along the mean feature.

    Args:
        network: its bias is in the target's unit.
        data: to look at the features of.
        mean, spread: of the training targets.
        known: for each target whether the head predicts it already.
    """
    network.bias.sub_(mean).div_(spread)
    if all(known):
        return
    images = torch.from_numpy(data.images[:: max(1, len(data) // 16)][:16].astype(np.float32))
    was_training = network.training
    features = network.train().features(images)  # batch statistics: the running ones are still to be learnt
    network.train(was_training)
    weights = network.pool(features).weights.mean(dim=1, keepdim=True)
    looked_at = (features * weights).flatten(2).sum(dim=2).mean(dim=0)  # what the head sums: the null token's share out
    new = [row for row, done in zip(range(network.out_channels), known, strict=True) if not done]
    network.pooling.zero_output(looked_at, new)
