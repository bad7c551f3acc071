"""What a network says of cases as prediction sees them: whole images, where the task has no size of its own.

Batches have one size, to which images are padded or cropped. A model whose task has no size is asked for the whole
image, and what is learnt of its trust must be of that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from medattn_core.errors import within_memory
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.data import TrainingData
from medattn_core.training.early_stop import outputs_on
from medattn_core.transforms.conform import Conformed, network_input
from medattn_core.volumes import read


def outputs_of(network: AttentionCNN, data: TrainingData) -> np.ndarray:
    """Logits (or values) ``(N, K)`` that prediction gives for the files of the cases; the network ends in eval mode.

    Raises:
        MedAttnError: a file is no longer what it was, or ``too_large``: its whole image does not fit into memory.
    """
    anew = _to_read(data)
    if not anew.any():
        return outputs_on(network, data)
    found = np.empty((len(data), data.targets.shape[1]), np.float32)
    if not anew.all():
        found[~anew] = outputs_on(network, data.subset(~anew))
    found[anew] = [logits for logits, _ in _passes(network, data.subset(anew))]
    return found


def features_of(network: AttentionCNN, data: TrainingData, batch: int = 16) -> np.ndarray:
    """What the network looked at in each case, ``(N, F)``, as prediction finds it; the network ends in eval mode.

    Raises:
        MedAttnError: as :func:`outputs_of`.
    """
    anew = _to_read(data)
    if anew.all():
        return np.stack([looked_at for _, looked_at in _passes(network, data)])
    if anew.any():
        kept = features_of(network, data.subset(~anew), batch)
        found = np.empty((len(data), kept.shape[1]), kept.dtype)
        found[~anew] = kept
        found[anew] = [looked_at for _, looked_at in _passes(network, data.subset(anew))]
        return found
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(data), batch):
            image = torch.from_numpy(data.images[start : start + batch]).to(device).float()
            parts.append(network.look(network.features(image))[1].cpu().numpy())
    return np.concatenate(parts)


def _to_read(data: TrainingData) -> np.ndarray:
    """``(N,)`` whether the whole image of a case is another one than that of the batches."""
    if data.task is None or data.task.size is not None or not data.cases:
        return np.zeros(len(data), bool)
    return np.ones(len(data), bool) if data.complete is None else ~data.complete


def _passes(network: AttentionCNN, data: TrainingData) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits ``(K,)`` and features looked at ``(F,)`` of each case, one at a time: whole images have no bound."""
    assert data.task is not None
    network.eval()
    for case in data.cases:
        volume = read(case.image, modality=data.task.modality)
        conformed = network_input(volume, data.task, [read(channel) for channel in case.channels])
        too_large = (
            f"{case.image}: {conformed.image.shape[1 : 1 + data.task.spatial_dims]} pixels on the model grid do not "
            "fit into memory, and prediction takes all of them; go on with more memory (--resume; what was trained is "
            "kept), or train on smaller images"
        )
        with within_memory(too_large):
            found = _pass(network, conformed)
        yield found


@torch.inference_mode()
def _pass(network: AttentionCNN, conformed: Conformed) -> tuple[np.ndarray, np.ndarray]:
    image = torch.from_numpy(conformed.image).unsqueeze(0).to(next(network.parameters()).device)
    # Training takes 2D images one slice a case.
    out, looked_at = network.look(network.features(image[..., 0] if network.spatial_dims == 2 else image))
    allowed = conformed.grid.attended(network.evidence_stride)
    if not allowed.all():
        # Prediction asks the head again without the cells in the padding, and the features keep what they were.
        mask = torch.from_numpy(allowed).reshape(1, *out.scores.shape[2:])
        out = network.ask_again(out, mask.to(looked_at.device))
    return out.logits[0].cpu().numpy(), looked_at[0].cpu().numpy()
