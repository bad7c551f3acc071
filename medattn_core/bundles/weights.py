"""From a bundle to a network ready to predict. Weights are tensors and nothing else."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medattn_core.bundles.bundle import Bundle
from medattn_core.errors import BundleError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.ensemble import PREFIX


def load_network(bundle: Bundle, device: str | torch.device = "cpu") -> AttentionCNN:
    """The network of a bundle in eval mode, float32; of an ensemble, its first member.

    Raises:
        BundleError: ``hash_mismatch`` (the file changed since the bundle was checked), ``bad_bundle`` (damaged, holds
            more than tensors, NaN; settings no network can be built from), ``weights_mismatch``.
    """
    if bundle.stacked > 1:
        return load_networks(bundle, device)[0]
    return _load(bundle, bundle.weights_path, bundle.weights_sha256, device)


def load_networks(bundle: Bundle, device: str | torch.device = "cpu") -> list[AttentionCNN]:
    """All members of an ensemble; a single model is a list of one.

    Raises:
        BundleError: as :func:`load_network`.
    """
    if bundle.stacked > 1:
        states = _members_of(read_weights(bundle.weights_path, bundle.weights_sha256), bundle)
        return [_fill(bundle, state, bundle.weights_path, device) for state in states]
    files = [(bundle.weights_path, bundle.weights_sha256), *bundle.members]
    return [_load(bundle, path, digest, device) for path, digest in files]


def _members_of(stacked: dict[str, Tensor], bundle: Bundle) -> list[dict[str, Tensor]]:
    states: list[dict[str, Tensor]] = [{} for _ in range(bundle.stacked)]
    for name, value in stacked.items():
        number, _, rest = name.removeprefix(PREFIX).partition(".")
        if not (name.startswith(PREFIX) and number.isdecimal() and int(number) < len(states)):
            raise BundleError(
                "weights_mismatch",
                f"{bundle.weights_path}: {name} belongs to no member of an ensemble of {len(states)}; the file belongs "
                "to another model",
            )
        states[int(number)][rest] = value
    return states


def _load(bundle: Bundle, path: Path, digest: str, device: str | torch.device) -> AttentionCNN:
    return _fill(bundle, read_weights(path, digest), path, device)


def _fill(bundle: Bundle, state: dict[str, Tensor], path: Path, device: str | torch.device) -> AttentionCNN:
    network = build_network(bundle.network, where=str(bundle.path))
    _check_fit(network, state, str(path))
    network.load_state_dict(state, assign=True)
    if any(tensor.is_meta for tensor in chain(network.parameters(), network.buffers())):
        # an encoder with buffers outside its state dict: they have to be computed
        network = AttentionCNN(**bundle.network)
        network.load_state_dict(state)
    return network.to(device).eval()


def build_network(settings: dict[str, Any], *, where: str) -> AttentionCNN:
    """A network whose weights are still to be loaded.

    Unless it is plainly small it is built without memory, on torch's meta device: harmless whatever sizes a
    stranger's settings ask for. (Small ones are not, because the first use of that device costs a second.)

    Raises:
        BundleError: ``bad_bundle``.
    """
    try:
        if _plainly_small(settings):
            return AttentionCNN(**settings)
        with torch.device("meta"):
            return AttentionCNN(**settings)
    except (ValueError, TypeError, RuntimeError, OverflowError, AttributeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError("bad_bundle", f"{where}: no network can be built from its settings: {message}") from error


def _plainly_small(settings: dict[str, Any]) -> bool:
    options = settings.get("encoder_options") or {}
    limits = {"widths": 512, "blocks": 8}
    return (
        settings.get("encoder", "compact") == "compact"
        and isinstance(settings.get("width", 128), int)
        and settings.get("width", 128) <= 512
        and isinstance(options, dict)
        and all(
            (key == "stem_stride" and sizes in (1, 2, 4))
            or (
                key in limits
                and isinstance(sizes, (list, tuple))
                and len(sizes) <= 6
                and all(isinstance(size, int) and size <= limits[key] for size in sizes)
            )
            for key, sizes in options.items()
        )
    )


def read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """The state dict in a file of this SHA-256; half precision becomes float32.

    Raises:
        BundleError: as :func:`load_network`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError("unreadable", f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError("hash_mismatch", f"{path}: changed since the bundle was checked; load the bundle again")
    state = _unpickle(data, str(path))
    if not isinstance(state, dict) or not state or not all(_is_entry(k, v) for k, v in state.items()):
        raise BundleError("bad_bundle", f"{path}: holds no state dict; a dictionary of names and tensors is needed")
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise BundleError("bad_bundle", f"{path}: NaN or infinite weights in {_some(broken)}; the model was broken")
    return state


def _unpickle(data: bytes, where: str) -> object:
    # Old torch files are bare pickles; the zip form is the one whose size can be checked before it is opened.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise BundleError(
            "bad_bundle", f"{where}: no PyTorch weights file, or a truncated one ({error}); copy the bundle again"
        ) from error
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > len(data):
        raise BundleError("bad_bundle", f"{where}: compressed inside, as no PyTorch weights file is; do not use it")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            "bad_bundle", f"{where}: holds more than tensors, possibly code, which was not run; do not use it"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError, TypeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError("bad_bundle", f"{where}: damaged weights file ({message}); copy the bundle again") from error


def _is_entry(name: object, value: object) -> bool:
    if not (isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided):
        return False
    # a view with stride 0 would unfold a few bytes to any size
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _check_fit(network: AttentionCNN, state: dict[str, Tensor], where: str) -> None:
    wanted = network.state_dict()
    missing, unexpected = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    found = [
        f"{what} {_some(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
    ] + ([f"of another shape: {_some(shapes)}"] if shapes else [])
    if found:
        raise BundleError(
            "weights_mismatch",
            f"{where}: the weights do not fit the network of the bundle: {'; '.join(found)}; the file belongs to "
            "another model",
        )


def _some(names: list[str], limit: int = 3) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
