"""Batch statistics of an averaged network, measured anew: those that it averaged are of other weights than its own."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.data import TrainingData
from medattn_core.training.processes import GatheredNorm

SHORT = 200
"""Steps up to which it matters: with more, running statistics and average have long forgotten their start."""

MOST = 32
"""Batches that are looked at."""


@torch.no_grad()
def settle(network: AttentionCNN, data: TrainingData, batch_size: int, seed: int) -> None:
    """Replace the running statistics by those of training images under the network's own weights; in place.

    As the bn_update of Izmailov et al. 2018 (stochastic weight averaging). The images are whole and not augmented, as
    in prediction; the same seed looks at the same ones. The network ends in eval mode. torch's ``swa_utils.update_bn``
    puts all of it into training mode: paths of an EfficientNet are then dropped, which no prediction does.

    Args:
        network: on its device.
        data: what it was trained on.
        batch_size: images a pass.
        seed: of the order.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    network.eval()
    if not norms or len(data) < 2:
        return
    device = next(network.parameters()).device
    order = np.random.default_rng(seed).permutation(len(data))
    usual = [norm.momentum for norm in norms]
    gathered = [norm for norm in norms if isinstance(norm, GatheredNorm)]
    for several in gathered:
        several.alone = True
    parts = min(-(-len(data) // max(2, batch_size)), len(data) // 2)  # none of one case
    for number, chosen in enumerate(np.array_split(order, parts)[:MOST], start=1):
        for norm in norms:
            norm.train().momentum = 1 / number  # the mean of all batches so far
        network.encode(torch.from_numpy(data.images[np.sort(chosen)].astype(np.float32)).to(device))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    for several in gathered:
        several.alone = False
    network.eval()
