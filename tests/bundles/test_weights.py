"""Weights come back as they were, or with an error of their own; code in them is not run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medattn_core.bundles import Bundle, load, load_network
from medattn_core.bundles.files import sha256
from medattn_core.bundles.weights import load_networks
from medattn_core.errors import BundleError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.ensemble import PREFIX
from tests import checks

Make = Callable[..., Bundle]


def with_weights(bundle: Bundle, content: bytes | dict[str, Any]) -> Bundle:
    """Replace the weights and, as an attacker would, the hash with them."""
    if isinstance(content, dict):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        content = buffer.getvalue()
    bundle.weights_path.write_bytes(content)
    path = bundle.path / "configs" / "metadata.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["medattn"]["files"]["models/model.pt"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(data), encoding="utf-8")
    return load(bundle.path)


def refused(bundle: Bundle, code: str, *words: str) -> None:
    message = checks.refused(load_network, bundle, code=code, kind=BundleError)
    for word in ("lumps", *words):
        assert word in message


def test_round_trip_is_exact_in_full_precision(make: Make, network: AttentionCNN) -> None:
    loaded = load_network(make(half=False))
    x = torch.rand(2, 1, 64, 96, 3)
    assert not loaded.training
    with torch.no_grad():
        for ours, theirs in zip(loaded.attend(x), network.attend(x), strict=True):
            assert torch.equal(ours, theirs)
    torch.testing.assert_close(loaded.pooling.bias, torch.tensor([-0.5, -1.0, 0.25]))
    assert loaded.pooling.bias.requires_grad is False
    assert all(p.requires_grad for p in loaded.parameters())  # can be trained on


def test_round_trip_in_half_precision(make: Make, network: AttentionCNN, tmp_path: Path) -> None:
    small, large = make(tmp_path / "half"), make(tmp_path / "full", half=False)
    assert small.weights_path.stat().st_size < 0.75 * large.weights_path.stat().st_size
    loaded = load_network(small)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network(x), atol=5e-3, rtol=5e-3)
    # rounding once is rounding for good
    again = load_network(make(tmp_path / "again", state_dict=loaded.state_dict()))
    with torch.no_grad():
        assert torch.equal(again(x), loaded(x))


def test_weights_too_large_for_half_stay_float(make: Make, network: AttentionCNN) -> None:
    state = network.state_dict()
    name = "top_down.smooth.2.weight"
    state[name] = state[name] * 1e7
    loaded = load_network(make(state_dict=state))
    assert torch.equal(loaded.state_dict()[name], state[name])


def test_the_same_weights_give_the_same_file(make: Make, tmp_path: Path) -> None:
    assert make(tmp_path / "a").weights_sha256 == make(tmp_path / "b").weights_sha256


@pytest.mark.parametrize("encoder", ["resnet10", "densenet121", "efficientnet-b0"])
def test_monais_encoders_come_back_whole(make: Make, encoder: str) -> None:
    """They are built without memory first: every buffer has to arrive."""
    torch.manual_seed(1)
    settings = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "encoder": encoder, "slicewise": True}
    original = AttentionCNN(**settings).eval()  # type: ignore[arg-type]
    loaded = load_network(make(network_settings=settings, state_dict=original.state_dict(), half=False))
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), original(x))


def test_members_come_back_each_as_it_was_and_in_their_order(make: Make, network: AttentionCNN) -> None:
    """From files of their own, and from one file of all."""
    states = [network.state_dict() | {"pooling.bias": network.pooling.bias + number} for number in range(3)]
    bundle = make(state_dict=states[0], members=states[1:], half=False)
    stacked = {f"{PREFIX}{number}.{name}": v for number, state in enumerate(states) for name, v in state.items()}
    path = bundle.path / "all.pt"
    torch.save(stacked, path)
    whole = replace(bundle, stacked=3, members=(), weights_path=path, weights_sha256=sha256(path))
    for one in (bundle, whole):
        biases = torch.stack([member.pooling.bias for member in load_networks(one)])
        torch.testing.assert_close(biases, torch.stack([state["pooling.bias"] for state in states]))


def test_tampered_after_loading(make: Make) -> None:
    bundle = make()
    bundle.weights_path.write_bytes(bundle.weights_path.read_bytes()[:-1] + b"x")
    refused(bundle, "hash_mismatch", "model.pt", "changed since")


@pytest.mark.parametrize("part", [0.0, 0.5, 0.95])
def test_truncated_weights(make: Make, part: float) -> None:
    bundle = make()
    data = bundle.weights_path.read_bytes()
    refused(with_weights(bundle, data[: int(part * len(data))]), "bad_bundle", "model.pt", "truncated")


def test_a_damaged_archive(make: Make) -> None:
    bundle = make()
    data = bytearray(bundle.weights_path.read_bytes())
    start = data.index(b"data.pkl")
    data[start + 200 : start + 400] = b"\0" * 200
    refused(with_weights(bundle, bytes(data)), "bad_bundle", "model.pt")


class Hostile:
    """Runs a command when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_torch_file_is_refused_and_not_run(make: Make, network: AttentionCNN, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save({**network.state_dict(), "extra": Hostile(mark)}, buffer)
    refused(with_weights(make(), buffer.getvalue()), "bad_bundle", "model.pt", "more than tensors", "not run")
    assert not mark.exists()
    buffer.seek(0)
    torch.load(buffer, weights_only=False)  # the same bytes do run where they are trusted
    assert mark.exists()


def test_a_bare_pickle_is_refused_and_not_run(make: Make, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    refused(with_weights(make(), pickle.dumps(Hostile(mark))), "bad_bundle", "model.pt", "no PyTorch weights file")
    assert not mark.exists()


def test_a_compressed_archive_is_refused(make: Make) -> None:
    """A few bytes that unpack to any size."""
    bundle = make()
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(bundle.weights_path) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    refused(with_weights(bundle, buffer.getvalue()), "bad_bundle", "model.pt", "compressed inside")


def test_a_view_of_a_few_bytes_as_a_huge_tensor_is_refused(make: Make, network: AttentionCNN) -> None:
    state = dict(network.state_dict())
    state["pooling.bias"] = torch.zeros(1).expand(10**12)
    refused(with_weights(make(), state), "bad_bundle", "model.pt", "no state dict")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(make: Make, network: AttentionCNN, value: float) -> None:
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["pooling.value.weight"][0, 0] = value
    refused(with_weights(make(), state), "bad_bundle", "NaN or infinite", "pooling.value.weight")


@pytest.mark.parametrize("content", [{}, {"model": {"a": 1}}, {"epoch": 3}])
def test_a_checkpoint_is_no_state_dict(make: Make, content: dict[str, Any]) -> None:
    refused(with_weights(make(), content), "bad_bundle", "model.pt", "holds no state dict")


def test_weights_of_another_network(make: Make, network: AttentionCNN) -> None:
    state = dict(network.state_dict())
    stem = state.pop("encoder.stem.0.weight")
    refused(with_weights(make(), state), "weights_mismatch", "model.pt", "missing encoder.stem.0.weight")
    state["encoder.stem.0.weight"] = torch.cat([stem, stem], dim=1)  # two image channels
    refused(
        with_weights(load(make().path), state),
        "weights_mismatch",
        "encoder.stem.0.weight (8, 2, 6, 6) instead of (8, 1, 6, 6)",
    )
    state["encoder.stem.0.weight"] = stem
    state["other.weight"] = stem
    refused(with_weights(load(make().path), state), "weights_mismatch", "unexpected other.weight")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"encoder": "vgg"}, "unknown encoder 'vgg'"),
        ({"evidence_stride": 7}, "evidence_stride=7"),
        ({"encoder_options": {"depth": 3}}, "depth"),
        ({"encoder_options": {"widths": [8192, 8192], "blocks": [1, 1]}}, "weights do not fit"),
        ({"encoder_options": {"widths": [8192, 8192], "blocks": [1, -1]}}, "blocks is [1, -1]"),
        ({"width": 8192, "encoder_options": {"widths": [8192] * 4}}, "weights do not fit"),
        ({"width": -4}, "no network can be built"),
    ],
)
def test_settings_no_network_or_a_monstrous_one_comes_from(make: Make, change: dict[str, Any], word: str) -> None:
    bundle = make()
    path = bundle.path / "configs" / "metadata.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["medattn"]["network"] |= change
    path.write_text(json.dumps(data), encoding="utf-8")
    code = "weights_mismatch" if word == "weights do not fit" else "bad_bundle"
    refused(load(bundle.path), code, word)


def test_unreadable_weights(make: Make) -> None:
    bundle = make()
    bundle.weights_path.unlink()
    refused(bundle, "unreadable", "model.pt")
    shutil.rmtree(bundle.path)
