"""What a step of training minimises: losses on the logits and on the map of one augmented batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medattn_core.networks.attention import Attended
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData
from medattn_core.training.losses import (
    classification_loss,
    map_losses,
    regression_loss,
    regression_map_loss,
    together_loss,
)
from medattn_core.training.precision import sound_bf16
from medattn_core.training.processes import Processes
from medattn_core.training.units import Units


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of a training, of whichever batch.

    Attributes:
        network: on ``processes.device``.
        data: on the model grid; of a regression with standardised targets.
        task, config: of the training; the precision is no longer ``auto``.
        processes: that share each batch.
        units: of the targets.
    """

    network: AttentionCNN
    data: TrainingData
    task: TaskSpec
    config: TrainingConfig
    processes: Processes
    units: Units

    @property
    def memory_format(self) -> torch.memory_format:
        """How images lie in memory: channels last, which convolutions are fastest on."""
        return torch.channels_last if self.task.spatial_dims == 2 else torch.channels_last_3d

    def losses(self, chosen: np.ndarray, size: tuple[int, ...], generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch by name, each a scalar with its weight in it; the step minimises their sum.

        Args:
            chosen: indices ``(B,)`` of the cases.
            size: of the images of this epoch.
            generator: of augmentation and bags; in the same state in all processes.
        """
        data, task, config, device = self.data, self.task, self.config, self.processes.device
        image = torch.from_numpy(data.images[chosen]).to(device).float()
        known = data.located[chosen]
        # Masks of cases without a known place are empty: moving them along would be work for nothing.
        mask = torch.from_numpy(data.masks[chosen]).to(device).float().div_(255).unsqueeze(1) if known.any() else None
        target = torch.from_numpy(data.targets[chosen]).to(device)
        image, moved, longer = config.augmentation(image, mask, generator, size, task.spacing)
        longer = longer.to(device)
        if config.zoom_power:
            # On fewer pixels everything is as much smaller as after a zoom.
            smaller = (math.prod(size) / math.prod(data.images.shape[2:])) ** (1 / task.spatial_dims)
            target = self.units.zoomed(target, (smaller * longer.unsqueeze(1)) ** config.zoom_power)
        out = self._pooled(image, size)
        losses = self._of_outputs(out, target, generator)
        if moved is not None and mask is not None:
            located = torch.from_numpy(known).to(device) & _in_view(mask, moved, longer)
            losses |= self._of_maps(out, target, moved, located, generator)
        return losses

    def _pooled(self, image: Tensor, size: tuple[int, ...]) -> Attended:
        """The whole batch at the head; each process passes its part ``(B, C, *size)`` through the encoder."""
        device = self.processes.device
        image = self.processes.part(image).contiguous(memory_format=self.memory_format)
        half = self.config.precision == "bf16" and sound_bf16(device, size, self.network.coarsest_stride)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
            features = self.network.features(image)
        return self.network.pool(self.processes.gather(features.float()))

    def _of_outputs(self, out: Attended, target: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Of logits or values against targets ``(B, K)``."""
        config, activation = self.config, self.task.activation
        if self.task.kind == "regression":
            return {"value": regression_loss(out.logits, target).mean()}
        per_item = classification_loss(
            out.logits,
            target,
            activation,
            config.losses.smoothing,
            focal=config.focal_gamma,
            weights=torch.tensor(config.class_weights, device=target.device) if config.class_weights else None,
        )
        losses = {"label": per_item.mean()}
        if config.losses.together > 0 and activation == "sigmoid":
            together = together_loss(out, self.network.bias, target, generator, config.losses.smoothing)
            losses["together"] = config.losses.together * together
        return losses

    def _of_maps(
        self, out: Attended, target: Tensor, moved: Tensor, located: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Of contributions against augmented masks ``(B, 1, *size)``, where ``located`` ``(B,)`` says so."""
        network, weights = self.network, self.config.losses
        pool = F.avg_pool2d if self.task.spatial_dims == 2 else F.avg_pool3d
        inside = pool(moved, network.evidence_stride)[:, 0]
        if self.task.kind != "regression":
            return map_losses(out, network.bias, target, inside, located, weights, self.task.activation, generator)
        if not bool(located.any()) or weights.location <= 0:
            return {}
        location = regression_map_loss(out.contributions, inside, target[:, 0] - network.bias[0], located)
        return {"location": weights.location * location}


def _in_view(mask: Tensor, moved: Tensor, longer: Tensor) -> Tensor:
    """Whether more than half of each finding is still in the picture ``(B,)``.

    One that augmentation pushed out teaches nothing about location; a small one does.

    Args:
        mask, moved: before and after augmentation ``(B, 1, *spatial)``, each of its own size.
        longer: how many times as long it made everything ``(B,)``.
    """
    pixels = math.prod(moved.shape[2:]) / math.prod(mask.shape[2:])
    whole = mask.flatten(1).sum(dim=1) * pixels * longer ** (mask.dim() - 2)
    there = moved.flatten(1).sum(dim=1)
    return (there > 0.5 * whole) & (there > 0)
