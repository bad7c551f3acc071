"""What the configurations of an exported bundle call to run it: inputs, inferer and engine.

MONAI's own :class:`~monai.engines.SupervisedEvaluator` where ignite is installed, else a plain loop with the same
meaning: to predict, a bundle needs MONAI, torch, nibabel and SimpleITK and nothing more.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn


def inputs_in(folder: str, channels: int = 1) -> list[dict[str, Any]]:
    """One dictionary for each input of a folder, in the order of their names: image, source, and whose grid it has.

    Args:
        folder: files and DICOM folders; with several channels, one folder a case whose files, in the order of their
            names, are the channels.
        channels: of the task.
    """
    found = []
    for path in paths_in(folder):
        image = paths_in(path) if channels > 1 else path
        found.append({"image": image, "source": path, "grid": image[0] if channels > 1 and image else path})
    return found


def paths_in(folder: str) -> list[str]:
    """What a folder holds, in the order of the names and without hidden files: of a case its channels."""
    return sorted(glob.glob(os.path.join(glob.escape(str(folder)), "*")))


def load_weights(network: nn.Module, path: str) -> nn.Module:
    """Weights of a file into a network: tensors and nothing else, half precision becomes float32.

    Returns:
        The network.
    """
    state = torch.load(Path(path), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return network


class EvidenceInferer(Inferer):
    """Gives the logits of a network and keeps them and its evidence, from one pass.

    Attributes:
        logits: ``(B, K)`` of the last batch, before any activation.
        evidence: ``(B, K, *cells)`` contributions of the last batch; None where the network has none.
        stride: pixels of an evidence cell along each axis, of the network; 0 where it does not say.
    """

    def __init__(self) -> None:
        self.logits: Tensor | None = None
        self.stride = 0
        self.evidence: Tensor | None = None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Logits ``(B, K)`` of images ``(B, C, *spatial)``."""
        attend = getattr(network, "attend", None)
        if attend is None:
            logits = network(inputs, *args, **kwargs)
            self.logits, self.evidence = logits.detach(), None
            return logits
        out = attend(inputs, None)
        self.stride = int(getattr(network, "evidence_stride", 0))
        self.logits, self.evidence = out.logits.detach(), out.contributions.detach()
        return out.logits


class Loop:
    """Every batch of a loader through the network, without ignite. Arguments are SupervisedEvaluator's.

    Attributes:
        state: ``batch``, ``output`` (lists, one dictionary an item) and ``metrics``, as of MONAI's engines.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        val_data_loader: Iterable[Any],
        network: nn.Module,
        inferer: Callable[..., Any],
        postprocessing: Callable[[dict[str, Any]], dict[str, Any]],
        val_handlers: Sequence[Any] = (),
    ) -> None:
        self.device, self.loader = torch.device(device), val_data_loader
        self.network, self.inferer, self.postprocessing = network, inferer, postprocessing
        self.handlers = list(val_handlers)
        self.state = SimpleNamespace(batch=[], output=[], metrics={})

    @torch.no_grad()
    def run(self) -> None:
        """All batches; then every handler's ``finish``."""
        self.network.to(self.device).eval()
        for batch in self.loader:
            image = batch["image"].to(self.device)
            logits = self.inferer(image, self.network)
            self.state.batch = [_item(batch, i) for i in range(len(image))]
            self.state.output = [self.postprocessing({"image": image[i], "pred": logits[i]}) for i in range(len(image))]
            for handler in self.handlers:
                handler(self)
        for handler in self.handlers:
            handler.finish(self)


def _item(batch: Mapping[str, Any], index: int) -> dict[str, Any]:
    return {key: value[index] for key, value in batch.items()}


def evaluator(**arguments: Any) -> Any:
    """MONAI's engine, or :class:`Loop` where ignite is not installed."""
    if find_spec("ignite") is None:
        return Loop(**arguments)
    from monai.engines import SupervisedEvaluator

    return SupervisedEvaluator(**arguments)


class Handler:
    """A handler for both engines: called after each batch, ``finish`` after the last."""

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def __call__(self, engine: Any) -> None:
        """After a batch."""
        raise NotImplementedError

    def finish(self, engine: Any) -> None:
        """After the last batch."""
