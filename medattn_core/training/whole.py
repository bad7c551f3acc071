"""What a network says of cases as prediction sees them: whole images, where the task has no size of its own.

Batches have one size, to which images are padded or cropped. A model whose task has no size is asked for the whole
image, and what is learnt of its trust must be of that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from medattn_core.datalists import Case
from medattn_core.errors import VolumeError
from medattn_core.networks.attention import attended_features, pool_evidence
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.data import TrainingData
from medattn_core.training.early_stop import outputs_on
from medattn_core.transforms.conform import check_finite, conform
from medattn_core.volumes import read


def outputs_of(network: AttentionCNN, data: TrainingData) -> np.ndarray:
    """Logits (or values) ``(N, K)`` that prediction gives for the files of the cases; the network ends in eval mode.

    Raises:
        MedAttnError: a file is no longer what it was, or ``too_large``: its whole image does not fit into memory.
    """
    read = _to_read(data)
    if not read.any():
        return outputs_on(network, data)
    found = np.empty((len(data), data.targets.shape[1]), np.float32)
    if not read.all():
        found[~read] = outputs_on(network, data.subset(~read))
    found[read] = [logits for logits, _ in _passes(network, data.subset(read))]
    return found


def features_of(network: AttentionCNN, data: TrainingData, batch: int = 16) -> np.ndarray:
    """What the network looked at in each case, ``(N, F)``, as prediction finds it; the network ends in eval mode.

    Raises:
        MedAttnError: as :func:`outputs_of`.
    """
    read = _to_read(data)
    if read.all():
        return np.stack([looked_at for _, looked_at in _passes(network, data)])
    if read.any():
        kept = features_of(network, data.subset(~read), batch)
        found = np.empty((len(data), kept.shape[1]), kept.dtype)
        found[~read] = kept
        found[read] = [looked_at for _, looked_at in _passes(network, data.subset(read))]
        return found
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(data), batch):
            image = torch.from_numpy(data.images[start : start + batch]).to(device).float()
            features = network.features(image)
            parts.append(attended_features(features, network.pool(features).weights).cpu().numpy())
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
        image, allowed = _read(case, data.task, network.evidence_stride)
        try:
            yield _pass(network, image, allowed)
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            raise VolumeError(
                "too_large",
                f"{case.image}: {tuple(image.shape[1:])} pixels on the model grid do not fit into memory, and "
                "prediction takes all of them; go on with more memory (--resume; what was trained is kept), or "
                "train on smaller images",
            ) from error


def _read(case: Case, task: TaskSpec, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Network input ``(C, *spatial)`` and which of its cells ``(*cells)`` prediction looks at."""
    volumes = [read(case.image, modality=task.modality), *(read(channel) for channel in case.channels)]
    conformed = conform(volumes[0], task, volumes[1:])
    check_finite(conformed.image, volumes)
    image, allowed = conformed.image, conformed.grid.attended(stride)
    return (image[..., 0], allowed[..., 0]) if task.spatial_dims == 2 else (image, allowed)


@torch.inference_mode()
def _pass(network: AttentionCNN, image: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    device = next(network.parameters()).device
    features = network.features(torch.from_numpy(image).unsqueeze(0).to(device))
    out = network.pool(features)
    looked_at = attended_features(features, out.weights)[0].cpu().numpy()
    if allowed.all():
        return out.logits[0].cpu().numpy(), looked_at
    # Prediction asks the head again without the cells in the padding, and the features keep what they were.
    mask = torch.from_numpy(allowed).unsqueeze(0).to(device)
    scores, values = out.scores.flatten(2), out.values.flatten(2)
    again = pool_evidence(scores, values, out.null_scores, network.bias, mask, list(allowed.shape))
    return again.logits[0].cpu().numpy(), looked_at
