"""Grad-CAM of any network with convolutions (Selvaraju et al. 2017, arXiv 1610.02391).

A picture of where the network is sensitive, not the decision: its voxels do not sum to the logit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def grad_cam(
    network: nn.Module, image: Tensor, inferer: Callable[..., Any], *, spatial_dims: int
) -> tuple[Tensor, Callable[[int], Tensor | None]]:
    """One pass through a network, and its map for each output on demand.

    The map is that of the last layer whose output still has places: the deepest before the pooling.

    Args:
        network: in eval mode.
        image: ``(1, C, *spatial)``.
        inferer: called with the image and the network.
        spatial_dims: 2 or 3.

    Returns:
        Output ``(1, K)``, and a function from an output's index to its map ``(*spatial)`` in [0, 1]; to None where the
        network has no layer with places (a script, a transformer), or the inferer shows it parts of the image.
    """
    last: list[Tensor] = []
    shown: list[tuple[int, ...]] = []

    def look(module: nn.Module, arguments: Any) -> None:
        shown.append(tuple(arguments[0].shape) if arguments and isinstance(arguments[0], Tensor) else ())

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        places = isinstance(output, Tensor) and output.dim() == spatial_dims + 2 and output[0, 0].numel() > 1
        if places and output.requires_grad:
            last[:] = [output]

    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    hooks = []
    try:
        if not isinstance(network, torch.jit.ScriptModule):
            hooks = [network.register_forward_pre_hook(look), *(m.register_forward_hook(note) for m in leaves)]
        with torch.enable_grad():
            output = inferer(image.clone().requires_grad_(True), network)
    finally:
        for hook in hooks:
            hook.remove()

    def of(index: int) -> Tensor | None:
        if not last or not isinstance(output, Tensor) or shown != [tuple(image.shape)]:
            return None  # of several passes, or of a part, the map would lie elsewhere
        (gradient,) = torch.autograd.grad(output[0, index], last[0], retain_graph=True, allow_unused=True)
        if gradient is None:
            return None
        weights = gradient.flatten(2).mean(dim=2).reshape(*gradient.shape[:2], *([1] * spatial_dims))
        cam = (weights * last[0]).sum(dim=1, keepdim=True).clamp_min(0).detach()
        mode = "bilinear" if spatial_dims == 2 else "trilinear"
        cam = F.interpolate(cam, size=image.shape[2:], mode=mode, align_corners=False)[0, 0]
        return cam / cam.max() if float(cam.max()) > 0 else cam

    return output.detach() if isinstance(output, Tensor) else output, of
