"""TensorBoard: mean losses and the validation score of each epoch, one run a curve."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.config import TrainingConfig
from medattn_core.training.loop import fit
from tests.training.test_checkpoint import NETWORK, TASK, data


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def run(folder: Path, epochs: int) -> None:
    config = TrainingConfig(epochs=epochs, batch_size=4, precision="fp32", patience=9)
    torch.manual_seed(0)
    fit(AttentionCNN(**NETWORK), data(), TASK, config, validation=data(), log_dir=folder / "logs")


def test_every_epoch_is_written_once(tmp_path):
    run(tmp_path, 3)
    run(tmp_path, 2)  # started anew: the third epoch of the other run is gone
    found = scalars(tmp_path / "logs")
    assert {"train/loss", "train/label", "train/learning_rate", "validation/score", "validation/best"} <= set(found)
    for name, values in found.items():
        assert [step for step, _ in values] == [1, 2], name
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_an_exception_of_a_step_is_the_one_that_is_raised(tmp_path):
    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    config = TrainingConfig(epochs=1, batch_size=4, precision="fp32")
    with pytest.raises(StopError):
        fit(AttentionCNN(**NETWORK), data(), TASK, config, log_dir=tmp_path, progress=stop)
