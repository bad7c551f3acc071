"""Classification bundles of others (the model zoo's format: image in, class scores out), after the user trusts them.

A bundle's configuration is a program, so nothing here is done without trust. What MONAI's workflow makes of the
configuration is used: preprocessing, network, inferer, and what the postprocessing makes of the scores. Weights load as
tensors alone all the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medattn_core.bundles.files import member, read_json, sha256
from medattn_core.errors import BundleError
from medattn_core.interop.activation import read_activation
from medattn_core.interop.gradcam import grad_cam
from medattn_core.interop.shapes import fitting_shape

CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """The bundle's own code is what is found first while it is loaded.

    Where it has code, it stays to be found unless loading fails: its functions may import more of it only when they
    run, and pickle finds its classes by their modules. Of two bundles in one process that both have a package
    ``scripts``, later imports find that of the one loaded last.
    """
    if next(root.rglob("*.py"), None) is None:
        yield
        return
    place, before = str(root), list(sys.path)
    sys.path[:] = [place, *(other for other in before if other != place)]  # maybe it was behind another bundle
    others = _without_scripts()
    try:
        yield
    except BaseException:
        sys.path[:] = before
        _without_scripts()
        sys.modules.update(others)
        raise


def _without_scripts() -> dict[str, ModuleType]:
    """Take the package ``scripts``, of another bundle or of the caller, from the loaded modules; what was taken."""
    names = [name for name in sys.modules if name == "scripts" or name.startswith("scripts.")]
    return {name: sys.modules.pop(name) for name in names}


class ForeignModel:
    """A trusted bundle of another format. Threads may share it; one of them predicts at a time.

    Args:
        root: its folder.
        device: torch device.

    Raises:
        BundleError: ``bad_bundle``: it is no classification bundle that MONAI can load; ``weights_mismatch``.
    """

    def __init__(self, root: Path, device: str = "cpu") -> None:
        self.root, self.device = root, device
        self.metadata = read_json(member(root, "configs/metadata.json"))
        self.name = str(self.metadata.get("name") or root.resolve().name)
        self.version = str(self.metadata.get("version", ""))
        image, pred = self._formats()
        self.labels = _labels(pred)
        self.modality = str(image.get("modality", "")).upper()[:2]
        self.output_type = str(pred.get("type", ""))
        with _importable(root):
            parser = self._parser()
            self.preprocessing = self._part(parser, "preprocessing", "pre_transforms")
            self.inferer = self._part(parser, "inferer")
            self.image_key = next(iter(self.metadata["network_data_format"]["inputs"]))
            activation = read_activation(
                parser,
                where=str(root),
                count=len(self.labels),
                output_type=self.output_type,
                key=next(iter(self.metadata["network_data_format"]["outputs"])),
            )
            self.weights_sha256, self.network = self._network(parser)
            self.activation = activation.settled(lambda: self._made_up()[1])
        self._restore()

    def _restore(self) -> None:
        # The hooks of Grad-CAM are on the network, which threads share, and a stranger's transforms may keep state.
        self.alone = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "alone"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._restore()

    def _formats(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            data = self.metadata["network_data_format"]
            (image,), (pred, *_) = data["inputs"].values(), data["outputs"].values()
            return dict(image), dict(pred)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                "bad_bundle", f"{self.root}: its metadata name no single image in and scores out (network_data_format)"
            ) from error

    def _parser(self) -> Any:
        from monai.bundle import ConfigWorkflow

        found = [name for name in CONFIGS if (self.root / name).is_file()]
        if not found:
            raise BundleError("bad_bundle", f"{self.root}: no {CONFIGS[0]}; a bundle with one is needed to predict")
        try:
            workflow = ConfigWorkflow(
                config_file=str(self.root / found[0]),
                meta_file=str(self.root / "configs" / "metadata.json"),
                logging_file=False,
                workflow_type="infer",
                init_id="medattn_no_initialize",  # it would look for data, and load weights as more than tensors
                bundle_root=str(self.root),
            )
            workflow.initialize()
        except Exception as error:  # a stranger's program may raise anything
            raise self._cannot("be read by MONAI", error) from error
        return workflow.parser

    def _part(self, parser: Any, *names: str) -> Any:
        for name in names:
            if name in parser:
                try:
                    return parser.get_parsed_content(name)
                except Exception as error:
                    raise self._cannot(f"make its {name}", error) from error
        raise BundleError("bad_bundle", f"{self.root}: inference has no {names[0]}, which predicting needs")

    def _cannot(self, what: str, error: Exception, *, quote: bool = True) -> BundleError:
        cause = error.__cause__ or error
        words = f"{type(cause).__name__}: {str(cause)[:120]}" if quote else type(cause).__name__
        return BundleError("bad_bundle", f"{self.root}: cannot {what} ({words})")

    def _network(self, parser: Any) -> tuple[str, nn.Module]:
        weights, script = self.root / "models" / "model.pt", self.root / "models" / "model.ts"
        if not weights.is_file():
            if not script.is_file():
                raise BundleError("bad_bundle", f"{self.root}: neither models/model.pt nor models/model.ts is there")
            return sha256(script), torch.jit.load(str(script), map_location=self.device).eval()
        try:
            network: nn.Module = self._part(parser, "network_def")
        except BundleError:
            network = self._part(parser, "network")
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise BundleError(
                "bad_bundle", f"{weights}: holds more than tensors, or is damaged; only weights are loaded, no objects"
            ) from error
        for key in ("model", "state_dict"):
            state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise BundleError("weights_mismatch", f"{weights}: {str(error).splitlines()[0][:200]}") from error
        return sha256(weights), network.to(self.device).eval()

    def predict(self, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Tensor]:
        """One input through the bundle's own preprocessing and network.

        Returns:
            Logits ``(K,)``, probabilities ``(K,)``, the Grad-CAM map of the most probable class on the grid of the
            preprocessed image (None where there is none), and that image ``(C, *spatial)``.

        Raises:
            BundleError: the bundle cannot take this input, gives no score for each class, or calls probabilities what
                is none.
            PredictionError: ``non_finite_logits``.
        """
        with self.alone:
            try:
                image: Tensor = self.preprocessing({self.image_key: path})[self.image_key]
                plain = torch.as_tensor(np.asarray(image), dtype=torch.float32, device=self.device)
                output, cam = grad_cam(self.network, plain[None], self.inferer, spatial_dims=plain.dim() - 1)
            except Exception as error:
                # Not its words: they may quote a header, and so a patient.
                raise self._cannot("take this scan", error, quote=False) from error
            logits, probabilities = self.activation(self._scores(output))
            try:
                found = cam(most_probable(probabilities, logits))
            except Exception as error:  # such as too little memory for the gradients
                raise self._cannot("make its Grad-CAM map of this scan", error, quote=False) from error
        return logits, probabilities, None if found is None else found.float().cpu().numpy(), image

    def _scores(self, output: Any) -> np.ndarray:
        if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] != len(self.labels):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise BundleError(
                "bad_bundle", f"{self.root}: gives {shape}, not a score for each of {len(self.labels)} classes"
            )
        return np.asarray(output[0].detach().double().cpu())

    def _made_up(self) -> tuple[tuple[int, ...], np.ndarray]:
        """A made-up image of the stated size, and the network's scores for it."""
        try:
            image = next(iter(self.metadata["network_data_format"]["inputs"].values()))
            shape = (1, int(image["num_channels"]), *fitting_shape(image["spatial_shape"]))
            made = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
            with torch.inference_mode():
                output = self.network(made)
        except Exception as error:
            raise self._cannot("take an image of the size it states", error) from error
        return shape, self._scores(output)

    def check(self) -> str:
        """Network in and out on a made-up image of the stated size; what was found, in words.

        Raises:
            BundleError: it does not give a score for each class, or calls probabilities what is none.
        """
        shape, scores = self._made_up()
        self.activation(scores)
        return f"{list(shape)} in, {[1, len(scores)]} out"


def most_probable(probabilities: np.ndarray, logits: np.ndarray) -> int:
    """Index of the most probable class; near one, where probabilities are equal as numbers, by the logits."""
    return int(np.lexsort((logits, probabilities))[-1])


def _labels(pred: dict[str, Any]) -> tuple[str, ...]:
    channels = pred.get("channel_def")
    named = channels if isinstance(channels, dict) else {}
    count = int(pred["num_channels"]) if isinstance(pred.get("num_channels"), int) else len(named)
    stated = [named.get(str(i)) for i in range(max(count, 1))]
    names = [str(name).strip() if name is not None else "" for name in stated]
    names = [name or f"class {i}" for i, name in enumerate(names)]
    # A number may make another name of the list: then every one gets its number.
    some = tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names))
    return some if len(set(some)) == len(some) else tuple(f"{name} ({i})" for i, name in enumerate(names))
