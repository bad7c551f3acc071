"""Maps of the same network by other methods, MONAI's and Captum's, on the model grid.

They get the network as it is. Where it averages over mirrored images, class activation maps are those of each image,
turned back and averaged: their hooks would see the last one only. Each method works on a copy (MONAI's hooks are never
removed). Of an ensemble every member is explained and the maps are averaged, as the evidence is: for occlusion and
integrated gradients that is the map of the mean output.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medattn_core.errors import PredictionError
from medattn_core.evaluation.ensemble import device_of
from medattn_core.networks.attention_cnn import AttentionCNN

LAYER = "top_down"
"""The features that the attention pools: fine, and the most that a class activation map can be given."""

Method = Callable[[Tensor, int], np.ndarray]

STAGES = ("stages", "groups", "_blocks")
"""Names under which encoders keep the list of their stages."""


def last_stage(network: AttentionCNN) -> str:
    """The last stage of the encoder, as its authors use Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    Raises:
        PredictionError: ``bad_argument``: the encoder, registered by somebody else, has no list of stages.
    """
    for name, module in network.encoder.named_modules():
        stages = isinstance(module, (nn.ModuleList, nn.Sequential)) and name.rpartition(".")[2] in STAGES
        if stages and len(module):
            return f"encoder.{name}.{list(module.named_children())[-1][0]}"
    raise PredictionError(
        "bad_argument",
        f"compare 'gradcam_encoder': the encoder {type(network.encoder).__name__} has no list of stages (a ModuleList "
        f"or Sequential named {', '.join(STAGES)}); leave gradcam_encoder out of --compare",
    )


def _cam(kind: str, layer: Callable[[AttentionCNN], str] = lambda _: LAYER) -> Callable[[AttentionCNN], Method]:
    def build(network: AttentionCNN) -> Method:
        from monai.visualize import GradCAM, GradCAMpp

        # MONAI's default post-processing turns the map upside down; the raw map is what its authors describe.
        maker: Any = {"gradcam": GradCAM, "gradcampp": GradCAMpp}[kind]
        cam = maker(network, target_layers=layer(network), postprocessing=lambda x: x)

        def explain(x: Tensor, label: int) -> np.ndarray:
            with torch.enable_grad():
                found = cam(x=x.clone().requires_grad_(), class_idx=label)
            return np.asarray(found.detach().cpu())[0, 0]

        return explain

    return build


def _occlusion(network: AttentionCNN) -> Method:
    from monai.visualize import OcclusionSensitivity

    size = 2 * network.evidence_stride

    def explain(x: Tensor, label: int) -> np.ndarray:
        # Left to itself MONAI squashes the outputs, by the number of image channels: logits and values are compared.
        occlusion = OcclusionSensitivity(
            network,
            mask_size=[min(size, n) for n in x.shape[2:]],
            n_batch=8,
            verbose=False,
            overlap=0.5,
            activate=False,
        )
        with torch.no_grad():
            base = float(network(x)[0, label])
            left, _ = occlusion(x)
        return base - np.asarray(left.cpu())[0, label]

    return explain


def _integrated_gradients(network: AttentionCNN) -> Method:
    from captum.attr import IntegratedGradients

    attribution = IntegratedGradients(network)

    def explain(x: Tensor, label: int) -> np.ndarray:
        with torch.enable_grad():
            found = attribution.attribute(x.clone(), target=label, internal_batch_size=4)
        return np.asarray(found.detach().cpu()).sum(axis=1)[0]

    return explain


PEERS: dict[str, Callable[[AttentionCNN], Method]] = {
    "gradcam": _cam("gradcam"),
    "gradcam_encoder": _cam("gradcam", last_stage),
    "gradcampp": _cam("gradcampp"),
    "occlusion": _occlusion,
    "integrated_gradients": _integrated_gradients,
}
"""Grad-CAM of the pooled features and of the last stage of the encoder, Grad-CAM++, occlusion of blocks of two cells,
integrated gradients from black."""


HOOKED = ("gradcam", "gradcam_encoder", "gradcampp")
"""Those that look at the pass of one image."""


def _of_each_view(method: Method, views: Sequence[Sequence[int]]) -> Method:
    """The mean of the maps of an image and of its mirror images, each turned back."""

    def explain(x: Tensor, label: int) -> np.ndarray:
        maps = [method(x, label)]
        for dims in views:
            maps.append(np.flip(method(x.flip(list(dims)), label), tuple(axis - 2 for axis in dims)))
        return np.asarray(np.mean(maps, axis=0))

    return explain


def check_names(names: Sequence[str]) -> None:
    """Before any work is done.

    Raises:
        PredictionError: ``bad_argument``, an unknown name.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise PredictionError("bad_argument", f"compare {unknown[0]!r}; accepted: {', '.join(PEERS)}")


def impossible(network: AttentionCNN, names: Sequence[str]) -> PredictionError | None:
    """Why this network does not allow ``gradcam_encoder``, where that is among the names; it allows all others."""
    if "gradcam_encoder" in names:
        try:
            last_stage(network)
        except PredictionError as error:
            return error
    return None


class Peers:
    """The other methods, ready for one network or the members of an ensemble.

    Args:
        networks: in evaluation mode; they are copied.
        names: of :data:`PEERS`.

    Raises:
        PredictionError: ``bad_argument``, an unknown name, or a method that this encoder does not allow.
    """

    def __init__(self, networks: AttentionCNN | Sequence[AttentionCNN], names: tuple[str, ...]) -> None:
        check_names(names)
        members = [networks] if isinstance(networks, AttentionCNN) else list(networks)
        self.device = device_of(members[0])
        self.methods: dict[str, list[Method]] = {name: [] for name in names}
        for name in names:
            for member in members:
                hooked = name in HOOKED
                own = member.without_mirroring() if hooked else copy.deepcopy(member)
                self.methods[name].append(_of_each_view(PEERS[name](own.eval()), member.views if hooked else []))

    def maps(self, image: np.ndarray, label: int) -> dict[str, np.ndarray]:
        """Map of every method for one label.

        Args:
            image: ``(C, *spatial)``, network input.
            label: index of the output.

        Returns:
            Name to ``(*spatial)``.
        """
        x = torch.from_numpy(np.ascontiguousarray(image[None], np.float32)).to(self.device)
        # Where no gradient is left, Grad-CAM++ divides zero by zero: that is an empty map.
        return {
            name: np.mean([np.nan_to_num(method(x, label)) for method in methods], axis=0)
            for name, methods in self.methods.items()
        }
