"""Does the map tell what the network uses? Deletion and insertion on the input, weight randomisation, repeatability.

Deletion and insertion: Petsiuk et al. 2018 (arXiv 1806.07421); randomisation: Adebayo et al. 2018 (arXiv 1810.03292).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from medattn_core.evaluation.ensemble import Mean, device_of
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import Axis, ModelGrid

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Shares of the image at which the curves are measured."""

TOGETHER, PIXELS = 6, 2**20
"""Most images that go through the network at a time, and most pixels of all of them: six volumes would fill memory."""


def on_model_grid(cells: np.ndarray, grid: ModelGrid, stride: int) -> np.ndarray:
    """Evidence cells as a map on the model's own pixels ``(*grid.shape)``, spread as they are on a scan."""
    axes = [Axis(native=i, flip=False, count=axis.size, size=axis.size, step=1.0) for i, axis in enumerate(grid.axes)]
    own = ModelGrid(
        axes=(axes[0], axes[1], axes[2]), native_shape=grid.shape, native_affine=np.eye(4),
        spatial_dims=grid.spatial_dims,
    )  # fmt: skip
    return own.spread(cells, stride)


def blurred(image: np.ndarray, stride: int) -> np.ndarray:
    """The image without its details: what a deleted place is filled with (a black hole is a finding of its own)."""
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(channel, sigma=2.0 * stride, mode="nearest") for channel in image])


def curves(
    network: Mean | AttentionCNN,
    image: np.ndarray,
    ranking: np.ndarray,
    inside: np.ndarray,
    label: int,
    task: TaskSpec,
    shares: tuple[float, ...] = SHARES,
    allowed: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Output for a label while the highest pixels of a map are deleted from the image, or put back into a blurred one.

    Args:
        network: in evaluation mode; of an ensemble the mean.
        image: ``(C, *spatial)`` network input.
        ranking: ``(*spatial)`` map that orders the pixels.
        inside: ``(*spatial)`` boolean, pixels that belong to the scan; only they are touched, the padding stays.
        label: index of the output.
        task: of the network.
        shares: of the pixels inside.
        allowed: boolean, evidence cells that may be attended, as in the prediction; all by default.

    Returns:
        ``deletion`` and ``insertion``: probability (regression: value) at each share.
    """
    order = np.argsort(-np.where(inside, ranking, -np.inf), axis=None, kind="stable")[: int(inside.sum())]
    empty = np.where(inside[None], blurred(image, network.evidence_stride), image)
    counts = [math.ceil(share * len(order)) for share in shares]

    def at(count: int, inserted: bool) -> np.ndarray:
        """The image with so many of its highest pixels deleted, or with those alone."""
        mask = np.zeros(inside.size, bool)
        mask[order[:count]] = True
        mask = mask.reshape(inside.shape)[None]
        return np.where(mask, image, empty) if inserted else np.where(mask, empty, image)

    def state(count: int, inserted: bool) -> tuple[int, bool]:
        """Nothing is left where all is deleted or none inserted, and all of it the other way round."""
        return (0, not inserted) if count == len(order) else (count, inserted)

    states = list(dict.fromkeys(state(count, inserted) for count in counts for inserted in (False, True)))
    together = max(1, min(TOGETHER, PIXELS // image[0].size))
    outputs = []
    device = device_of(network)
    with torch.inference_mode():
        for start in range(0, len(states), together):
            some_images = np.stack([at(*one) for one in states[start : start + together]]).astype(np.float32)
            x: Tensor = torch.from_numpy(some_images).to(device)
            some = {} if allowed is None or allowed.all() else {"mask": _cells(allowed, len(x), device)}
            outputs.append(network(x, **some).cpu().numpy())
    values = dict(zip(states, task.probabilities(np.concatenate(outputs))[:, label], strict=True))
    return {
        name: np.array([values[state(count, inserted)] for count in counts])
        for name, inserted in (("deletion", False), ("insertion", True))
    }


def area(shares: tuple[float, ...], curve: np.ndarray) -> float:
    """Area under a curve over the shares, by trapezoids."""
    from sklearn.metrics import auc

    return float(auc(shares, curve))


def randomised(network: AttentionCNN, seed: int = 0) -> AttentionCNN:
    """The same architecture with weights drawn anew, statistics of the normalisation included."""
    import copy

    device = device_of(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = copy.deepcopy(network).cpu()  # drawn there, the weights are the same wherever the network lies
        fresh.apply(_reset)  # the layers of a module before itself
    return fresh.to(device).eval()


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def _cells(allowed: np.ndarray, count: int, device: torch.device) -> Tensor:
    """The same cells for each image of a batch."""
    return torch.tensor(allowed, device=device).expand(count, *allowed.shape)


def random_contributions(network: AttentionCNN, image: np.ndarray, label: int, allowed: np.ndarray) -> np.ndarray:
    """Contribution of each evidence cell ``(cells,)`` of one image ``(C, *spatial)`` that may look at ``allowed``."""
    x = torch.from_numpy(np.ascontiguousarray(image[None], np.float32)).to(device_of(network))
    with torch.inference_mode():
        cells: Tensor = network.attend(x, _cells(allowed, 1, x.device)).contributions[0, label]
    return cells.cpu().numpy()


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two maps; 0 where one of them is flat."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second, axis=None).statistic)
