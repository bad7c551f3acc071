"""Predictor: a bundle, loaded, ready for scans."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medattn_core.bundles import Bundle, load, load_networks
from medattn_core.bundles.trust import Trust
from medattn_core.device import resolve_device
from medattn_core.errors import Notice, PredictionError, within_memory
from medattn_core.inference.base import BasePredictor, Source
from medattn_core.inference.doubts import doubts
from medattn_core.inference.head import Ensemble, Head
from medattn_core.inference.masks import MaskLike, cells_of_mask, native_mask
from medattn_core.inference.own_networks import own_networks
from medattn_core.inference.prediction import Prediction
from medattn_core.transforms.conform import Conformed, check_modality, checked, network_input
from medattn_core.transforms.statistics import image_statistics
from medattn_core.volumes import Volume, geometry, read

if TYPE_CHECKING:
    import torch

    from medattn_core.networks.attention_cnn import AttentionCNN

SLICES_AT_ONCE = 8
"""Slices of a slicewise model that go through the encoder together: bounds memory, costs no speed."""


class Predictor(BasePredictor):
    """Predicts scans with one model.

    Args:
        bundle: what the network is.
        networks: one, or the members of an ensemble, which have to fit the task of the bundle. They are copied: the
            caller's stay in the mode and layout they are in, and what becomes of them later changes no prediction.
        device: torch device.
        runtime: what computes the features: a name of :data:`medattn_core.inference.runtimes.RUNTIMES`, or ``auto``,
            the fastest that says the same, measured once a machine and bundle.
        say: told when such a measurement begins.

    Raises:
        PredictionError: ``bad_argument``: no network, or one that does not fit the task.
        MedAttnError: ``bad_argument`` or ``missing_dependency``: the runtime cannot be used here.
        BundleError: ``export_failed``: it cannot run this network.
    """

    foreign = False

    def __init__(
        self,
        bundle: Bundle,
        *networks: AttentionCNN,
        device: str = "cpu",
        runtime: str = "torch",
        say: Callable[[str], object] | None = None,
    ) -> None:
        import torch

        trust = Trust.from_calibration(bundle.calibration, str(bundle.path))
        super().__init__(task=bundle.task, trust=trust, device=device, runtime=runtime)
        self.bundle = bundle
        self.slices_at_once = SLICES_AT_ONCE
        layout = torch.channels_last if self.task.spatial_dims == 2 else torch.channels_last_3d
        own = own_networks(networks, bundle.task)
        self.networks = [n.to(device=device, memory_format=layout).eval() for n in own]  # type: ignore[call-overload]
        self._open_runtimes(say)

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.bundle.name

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.version

    @property
    def root(self) -> Path:
        """Folder of the bundle."""
        return self.bundle.path

    def __getstate__(self) -> dict[str, Any]:
        # A session of another runtime cannot be pickled, and a copy has other networks: both open their own.
        return {name: value for name, value in self.__dict__.items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_runtimes(None)

    def _open_runtimes(self, say: Callable[[str], object] | None) -> None:
        """What computes the features, for each network."""
        self._run: list[Callable[[torch.Tensor], torch.Tensor]] = [n.features for n in self.networks]
        if self.runtime == "torch":
            return
        from medattn_core.inference.runtimes import choose, open_runtime

        # Weights do not say all: the same ones can be given another size, or a mirrored pass.
        # And an ensemble whose first member is that of another has other members.
        weights = (self.bundle.weights_sha256, *(digest for _, digest in self.bundle.members))
        built = (weights, sorted(self.bundle.network.items()), self.task.size, len(self.task.channels))
        same = hashlib.sha256(repr(built).encode()).hexdigest()[:24]
        keys = [f"{same}-{number}" for number in range(len(self.networks))]
        with self._no_autocast():
            if self.runtime == "auto":
                self.runtime, _ = choose(self.network, self.task, key=keys[0], device=self.device, say=say)
            self._run = [
                open_runtime(self.runtime, network, self.task, key=key, device=self.device)
                for network, key in zip(self.networks, keys, strict=True)
            ]

    def _no_autocast(self) -> torch.autocast:
        """An autocast of the caller has no say: what a prediction is computed in says the runtime alone."""
        import torch

        return torch.autocast(torch.device(self.device).type, enabled=False)

    @property
    def network(self) -> AttentionCNN:
        """The network; the first of an ensemble."""
        return self.networks[0]

    @classmethod
    def from_bundle(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        device: str = "auto",
        runtime: str = "torch",
        say: Callable[[str], object] | None = None,
    ) -> Predictor:
        """Load a shipped bundle by name, or any MedAttn bundle by its folder.

        Args:
            bundle: name, folder, or a loaded Bundle.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, or ``cuda:N`` of several cards.
            runtime, say: as for :class:`Predictor`.

        Raises:
            BundleError: unknown, incomplete or damaged bundle; ``export_failed``.
            MedAttnError: ``bad_argument``: the device is not there; or the runtime cannot be used here.
        """
        loaded = bundle if isinstance(bundle, Bundle) else load(bundle)
        device = resolve_device(device)
        return cls(loaded, *load_networks(loaded, device=device), device=device, runtime=runtime, say=say)

    def __call__(
        self, source: Source | Sequence[Source], mask: MaskLike | None = None, series: str | None = None
    ) -> Prediction:
        """Predict one scan.

        An autocast around the call has no say; half precision is a runtime (``torch-bf16``).

        Args:
            source: file, DICOM folder or zip, or a Volume; for a task of several channels a list of them, whose first
                gives the grid.
            mask: region of interest: the attention looks nowhere else.
            series: SeriesInstanceUID to take from a DICOM folder.

        Raises:
            MedAttnError: the scan cannot be read or does not fit the task; the code says why.
        """
        start = time.perf_counter()
        sources: list[Any] = list(source) if isinstance(source, (list, tuple)) and source else [source]
        wrong = [one for one in sources if not isinstance(one, (str, os.PathLike, Volume))]
        if wrong:
            raise PredictionError(
                "bad_argument",
                f"source is {'an empty' if isinstance(wrong[0], (list, tuple)) and not wrong[0] else 'a'} "
                f"{type(wrong[0]).__name__}; accepted: a path, or Volume(data=array, affine=matrix)",
            )
        modality = self.task.modality
        first = sources[0]
        volume = checked(first) if isinstance(first, Volume) else read(first, series=series, modality=modality)
        check_modality(volume, self.task)
        channels = [checked(other) if isinstance(other, Volume) else read(other) for other in sources[1:]]
        after_read = time.perf_counter()
        conformed = network_input(volume, self.task, channels)
        stride = self.network.evidence_stride
        notices = [*volume.warnings, *conformed.grid.notices, *conformed.notices]
        for name, other in zip(self.task.channels[1:], channels, strict=True):
            notices += [Notice(notice.code, f"{name}: {notice.message}") for notice in other.warnings]
        allowed = conformed.grid.attended(stride)
        if mask is not None:
            inside, placed = native_mask(mask, volume)
            cells, selected = cells_of_mask(inside, conformed.grid, stride)
            # The padding is no region: a model that was trained with it counts on it, with a mask as without.
            allowed &= cells | ~conformed.grid.inside(stride)
            notices += [*placed, *selected]
            what = Path(mask).name if isinstance(mask, (str, os.PathLike)) else "an array or volume"
            amount = _amount(inside, volume)
            notices.append(Notice("masked", f"attention was restricted to a region of interest: {what}, {amount}"))
        after_conform = time.perf_counter()
        heads, looked_at = zip(
            *(self._head(n, run, conformed, allowed, volume) for n, run in zip(self.networks, self._run, strict=True)),
            strict=True,
        )
        if self.bundle.input_check is not None:
            notice = self.bundle.input_check.notice(looked_at[0], image_statistics(conformed.image, volume))
            notices[:0] = [notice] if notice else []  # what says not to rely on it comes before all else
        after_network = time.perf_counter()
        prediction = Prediction(
            volume=volume,
            channels=tuple(channel.source for channel in channels),
            task=self.task,
            head=heads[0] if len(heads) == 1 else Ensemble(members=heads),
            grid=conformed.grid,
            stride=stride,
            bundle=self.bundle.name,
            bundle_version=self.bundle.version,
            weights_sha256=self.bundle.weights_sha256,
            runtime=self.runtime,
            trust=self.trust,
            timings={
                "read": after_read - start,
                "conform": after_conform - after_read,
                "network": after_network - after_conform,
            },
        )
        return prediction.annotated(warnings=(*notices, *doubts(prediction)))

    def _head(
        self,
        network: AttentionCNN,
        run: Callable[[torch.Tensor], torch.Tensor],
        conformed: Conformed,
        allowed: np.ndarray,
        volume: Volume,
    ) -> tuple[Head, np.ndarray]:
        """The head of one network, and the features it looked at ``(F,)``."""
        import torch

        too_large = (
            f"{volume.name}: {conformed.grid.shape} pixels on the model grid do not fit into memory; crop the scan, "
            "or use a machine with more"
        )
        with within_memory(too_large), self._no_autocast(), torch.inference_mode():
            features = self._features(run, torch.from_numpy(conformed.image).unsqueeze(0))
            flat = features.squeeze(-1) if self.task.spatial_dims == 2 and not self.task.slicewise else features
            out, mean = network.look(flat)
            looked_at = mean[0].cpu().numpy()
        cells = (len(self.task.labels), *allowed.shape)
        head = Head(
            scores=out.scores[0].cpu().numpy().astype(np.float64).reshape(cells),
            values=out.values[0].cpu().numpy().astype(np.float64).reshape(cells),
            null_scores=out.null_scores[0].cpu().numpy().astype(np.float64),
            bias=network.bias.detach().cpu().numpy().astype(np.float64),
            allowed=allowed,
        )
        if not (np.isfinite(head.values).all() and np.isfinite(head.scores).all()):
            raise PredictionError(
                "non_finite_logits",
                f"{volume.name}: the network gave NaN or infinite values; check the bundle's weights and the scan",
            )
        return head, looked_at

    def _features(self, run: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        """Features ``(1, F, *cells)``, always with three spatial axes for slicewise and 2D models."""
        import torch

        if self.task.spatial_dims == 3:
            return run(image.to(self.device).contiguous(memory_format=torch.channels_last_3d))
        chunks = []
        for first in range(0, image.shape[-1], self.slices_at_once):
            slices = image[0, :, :, :, first : first + self.slices_at_once].permute(3, 0, 1, 2)
            slices = slices.to(self.device).contiguous(memory_format=torch.channels_last)
            chunks.append(run(slices))
        return torch.cat(chunks).permute(1, 2, 3, 0).unsqueeze(0)


def _amount(inside: np.ndarray, volume: Volume) -> str:
    """How much a mask marks: a picture has no thickness, and one that states no pixel size has pixels alone."""
    voxels = int(inside.sum())
    if not volume.spacing_known:
        return f"{voxels} {'pixels' if volume.spatial_dims == 2 else 'voxels'}"
    if volume.spatial_dims == 2:
        return f"{voxels * float(np.prod(volume.spacing[:2])) / 100:.3g} cm2"
    return f"{voxels * geometry.voxel_volume_ml(volume.affine):.3g} mL"
