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

from medattn_core.errors import VolumeError
from medattn_core.inference.inputs import detached_data, expand, is_result_name
from medattn_core.volumes import sniff


def inputs_in(folder: str, channels: int = 1, output: str | None = None) -> list[dict[str, Any]]:
    """One dictionary for each input of a folder, in the order of their names: image, source, and whose grid it has.

    As for ``medattn predict``, results of earlier runs are no inputs: the folder of results, folders that hold nothing
    but results, and result files in the folder of results or beside their table.

    Args:
        folder: files and DICOM folders; with several channels, one folder a case whose files, in the order of their
            names, are the channels.
        channels: of the task.
        output: the folder of results.

    Raises:
        VolumeError: ``not_found``: there is no such folder; ``unreadable``: it may not be read; ``no_images``: nothing
            in it is an input. A run over nothing would pass for one that ended well, with the results of the last.
    """
    wanted = f"give a folder of {'cases, each a folder of its channels,' if channels > 1 else 'scans'} as dataset_dir"
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.lexists(folder) else "there is no such folder"
        raise VolumeError("not_found", f"{folder}: {what}; {wanted}")
    try:
        tabled = any(map(_is_table, os.listdir(folder)))
    except OSError as error:
        raise VolumeError("unreadable", f"{folder}: cannot be read ({error.strerror or error}); {wanted}") from error
    results = Path(os.path.realpath(output)) if output is not None else None
    there, found = paths_in(folder), []
    for path in (path for path in there if not _is_result(path, results, tabled=tabled)):
        image = paths_in(path) if channels > 1 else path
        found.append({"image": image, "source": path, "grid": image[0] if channels > 1 and image else path})
    if not found:
        what = "holds nothing but results of earlier runs" if there else "the folder is empty"
        raise VolumeError("no_images", f"{folder}: {what}; {wanted}")
    return found


def _is_table(name: str) -> bool:
    return name.startswith("predictions.") and is_result_name(name)


def _is_result(path: str, results: Path | None, *, tabled: bool) -> bool:
    """Whether an entry of the folder of inputs is, or holds nothing but, what an earlier run left.

    Args:
        path: of the entry.
        results: the folder of results, its real path.
        tabled: whether a table of results lies beside the entry.
    """
    real = Path(os.path.realpath(path))
    if not real.is_dir():
        return is_result_name(os.path.basename(path)) and (tabled or real.parent == results)
    if results is not None and results.is_relative_to(real):
        return results == real or not expand([path], exclude=results).inputs
    # Only where there is a table to find: to expand reads the beginning of every file.
    return any(any(map(_is_table, names)) for _, _, names in os.walk(real)) and not expand([path]).inputs


def paths_in(folder: str) -> list[str]:
    """What a folder holds, in the order of the names: of a case its channels.

    Without hidden files, and without those that hold the voxels of a header beside them (.mhd, .nhdr, .hdr).
    """
    found = sorted(glob.glob(os.path.join(glob.escape(str(folder)), "*")))
    voxels = {os.path.realpath(data) for path in found if (data := _voxels_of(Path(path))) is not None}
    return [path for path in found if os.path.realpath(path) not in voxels]


def _voxels_of(path: Path) -> Path | None:
    """The file that is no input of its own, because it belongs to the header at ``path``."""
    if path.suffix.lower() == ".hdr":  # such pairs are not read, which one row says
        names = (f"{path.stem}{end}" for end in (".img", ".IMG", ".img.gz"))
        return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    data = detached_data(path)
    # A header may name anything: what is an image by its own name stays one.
    return None if data is None or sniff.expected(data.name) else data


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
