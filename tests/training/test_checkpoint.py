"""What a run may be resumed with, and what not."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData
from medattn_core.training.loop import fit
from medattn_core.training.losses import LossWeights

TASK = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1), activation="sigmoid")
NETWORK = {
    "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "width": 8,
    "encoder_options": {"widths": [4, 4], "blocks": [1, 1]},
}  # fmt: skip


def data() -> TrainingData:
    rng = np.random.default_rng(0)
    return TrainingData(
        images=rng.random((8, 1, 32, 32)).astype(np.float16), targets=np.eye(2, dtype=np.float32)[np.arange(8) % 2],
        masks=np.zeros((8, 32, 32), np.uint8), located=np.zeros(8, bool), folds=np.zeros(8, int),
    )  # fmt: skip


def run(checkpoint: Path, *, resume: bool = True, settings: dict | None = None, **changed: object) -> AttentionCNN:
    parts = {"data": data(), "task": TASK, "config": TrainingConfig(epochs=1, batch_size=4, precision="fp32")} | changed
    torch.manual_seed(0)
    return fit(
        AttentionCNN(**NETWORK), parts["data"], parts["task"], parts["config"], checkpoint=checkpoint, resume=resume,
        validation=parts.get("validation"), network_settings=settings or NETWORK,
    )  # fmt: skip


def image(place: int) -> TrainingData:
    other = data()
    other.images.reshape(-1)[place] += 1
    return other


def mask() -> TrainingData:
    other = data()
    other.masks[3, 5, 5] = 255
    return other


@pytest.mark.parametrize(("changed", "words"), [
    ({"task": replace(TASK, name="other")}, "another task"),
    ({"data": image(1)}, "another data"),  # any pixel, not only those of a sample
    ({"data": mask()}, "another data"),
    ({"data": replace(data(), located=np.ones(8, bool))}, "another data"),
    ({"data": replace(data(), targets=data().targets[::-1].copy())}, "another data"),  # labels that were mended
    ({"settings": {**NETWORK, "dropout": 0.5}}, "another network"),
    ({"config": TrainingConfig(epochs=2, batch_size=4, precision="fp32")}, r"another config \(epochs\)"),
    ({"validation": data()}, "another held-out data"),
])  # fmt: skip
def test_another_run_does_not_go_on(tmp_path, changed, words):
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint, resume=False)
    run(checkpoint)  # the same one does
    with pytest.raises(TrainingError, match=f"checkpoint was made with {words}") as caught:
        run(checkpoint, **changed)
    assert caught.value.code == "bad_config"


def test_a_checkpoint_of_a_version_that_lacked_settings_goes_on(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint, resume=False)
    state = torch.load(checkpoint, weights_only=True)
    del state["identity"]["config"]["zoom_power"]
    del state["identity"]["config"]["losses"]["spread"]
    torch.save(state, checkpoint)
    run(checkpoint)
    torch.save(state, checkpoint)
    with pytest.raises(TrainingError, match="another config"):
        run(checkpoint, config=TrainingConfig(epochs=1, batch_size=4, precision="fp32", focal_gamma=1.0))
    torch.save(state, checkpoint)
    with pytest.raises(TrainingError, match="another config"):  # it was trained without
        run(checkpoint, config=TrainingConfig(epochs=1, batch_size=4, precision="fp32", losses=LossWeights(spread=1.0)))


def test_a_damaged_checkpoint_is_named(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint, resume=False)
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: the checkpoint is damaged; delete it") as caught:
        run(checkpoint)
    assert caught.value.code == "bad_config"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files as Linux does")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    import resource

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"checkpoint\.pt: the checkpoint cannot be written") as caught:
            run(tmp_path / "work" / "checkpoint.pt", resume=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == "unwritable"
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("setting", [{"focal_gamma": 2.0}, {"class_weights": (1.0, 9.0)}])
def test_focal_and_class_weights_reach_the_training(tmp_path, setting):
    config = TrainingConfig(epochs=1, batch_size=4, precision="fp32")
    plain = run(tmp_path / "a.pt", config=config).state_dict()
    other = run(tmp_path / "b.pt", config=replace(config, **setting)).state_dict()
    assert any(not torch.equal(plain[name], other[name]) for name in plain)


def test_the_held_out_cases_reach_the_early_stop(tmp_path):
    settings = TrainingConfig(epochs=6, batch_size=4, precision="fp32", patience=1, learning_rate=1e-6)
    run(tmp_path / "c.pt", config=settings, validation=data())
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    assert state["early_stop"]["best"] > -np.inf
    assert state["early_stop"]["weights"] is not None


def test_the_best_epoch_before_an_interruption_is_kept(tmp_path):
    """What early stopping knows goes on with the run: else the best epoch of the rest would be kept."""
    settings = TrainingConfig(epochs=4, batch_size=4, precision="fp32", patience=3, learning_rate=1e-6)
    whole = run(tmp_path / "a.pt", config=settings, validation=data())
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    best = {name: value + 1 if value.is_floating_point() else value for name, value in whole.state_dict().items()}
    known = {"best": 2.0, "best_epoch": 1, "stopped": False, "weights": best}
    torch.save(state | {"epoch": 2, "early_stop": known}, tmp_path / "a.pt")
    kept = run(tmp_path / "a.pt", config=settings, validation=data())
    assert all(torch.equal(value, best[name]) for name, value in kept.state_dict().items())
