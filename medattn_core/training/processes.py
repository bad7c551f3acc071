"""Several processes (torchrun): each takes its part of every batch, and all end with the same weights.

Every process augments the whole batch with the same random numbers and passes its part through the encoder; batch
statistics and features are gathered over all processes, so that the head, the bags of the map losses and the batch
normalisation see the batch that one process would have seen.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medattn_core.errors import TrainingError


class Processes:
    """The group of processes that torchrun started; alone without it.

    Args:
        device: where the networks are trained: NCCL speaks between GPUs only, gloo between processors.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self.device = own_device(device) if self.count > 1 else device
        if self.count > 1 and not dist.is_initialized():
            if self.device.startswith("cuda"):
                torch.cuda.set_device(self.device)
            # The others wait while the first measures what the bundle says of itself, of large lists for long.
            dist.init_process_group(backend(self.device), timeout=timedelta(hours=12))

    def prepare(self, network: nn.Module) -> None:
        """Make batch normalisation use the statistics of all processes, from the same start."""
        if self.count == 1:
            return
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.__class__ = type("Gathered" + type(module).__name__, (GatheredNorm, type(module)), {})
        for value in network.state_dict().values():
            dist.broadcast(value, src=0)

    def part(self, batch: Tensor) -> Tensor:
        """This process's items of a batch ``(B, ...)``; B must be a multiple of the number of processes."""
        return batch if self.count == 1 else batch.chunk(self.count)[self.rank]

    def gather(self, part: Tensor) -> Tensor:
        """The whole batch from every process's part, differentiable."""
        return part if self.count == 1 else cast(Tensor, _Gather.apply(part))

    def average_gradients(self, network: nn.Module) -> None:
        """Mean over processes: each has the gradient of the same loss, gathered features' parts counted everywhere."""
        if self.count == 1:
            return
        for parameter in network.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def agree(self, good: bool) -> bool:
        """Whether what only one process does went well in all; waits for all of them."""
        if self.count == 1:
            return good
        flag = torch.tensor([int(good)], device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MIN)
        return bool(flag.item())


def own_device(device: str) -> str:
    """The device of this process of several: a GPU each, numbered on this machine by torchrun.

    Raises:
        TrainingError: ``bad_argument``: a single GPU is named.
    """
    if device.startswith("cuda:"):
        raise TrainingError(
            "bad_argument",
            f"device {device!r} is one card, and several processes (torchrun) take one each; accepted: auto, cpu, cuda",
        )
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}" if device == "cuda" else device


def backend(device: str) -> str:
    """How processes on such a device speak to each other."""
    return "nccl" if device.startswith("cuda") else "gloo"


# Not those of torch.distributed.nn: their gradients are scrambled where features lie in memory channels last.
class _Gather(torch.autograd.Function):
    """Parts of all processes, one after the other. Each has the same loss, so its own gradient says it all."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        count = dist.get_world_size()
        return gradients[0].chunk(count)[dist.get_rank()] * count


class _Sum(torch.autograd.Function):
    """Sum over all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class GatheredNorm(_BatchNorm):
    """Batch normalisation whose statistics come from the batches of all processes (torch's own wants CUDA).

    Attributes:
        alone: whether each process sees the whole batch itself, which must not be counted once a process.
    """

    alone = False

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  torch's name
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        if not self.training or self.alone:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        x = input.float()
        count = x.numel() / x.shape[1] * dist.get_world_size()
        mean = cast(Tensor, _Sum.apply(x.sum(axes))) / count
        shape = [1, -1] + [1] * (input.dim() - 2)
        variance = cast(Tensor, _Sum.apply((x - mean.view(shape)).square().sum(axes))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1  # type: ignore[assignment, operator]
            # Without momentum the statistics are the mean of all batches, as torch has it.
            factor = 1 / int(cast(Tensor, self.num_batches_tracked)) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, factor)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * count / (count - 1), factor)  # type: ignore[union-attr]
        x = (x - mean.view(shape)) * torch.rsqrt(variance.view(shape) + self.eps)
        return (x * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)
