"""A training that runs away in its last step, whose loss still looked well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer

from medattn_core.errors import TrainingError
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.training.config import TrainingConfig
from medattn_core.training.loop import build_trainer, fit
from tests.training.test_checkpoint import NETWORK, TASK, data


def broken(**settings: Any) -> TrainingConfig:
    """Steps so wide that float32 overflows; one step an epoch, so that no later loss tells."""
    return TrainingConfig(epochs=1, batch_size=8, precision="fp32", learning_rate=1e9, **settings)


@pytest.mark.parametrize("patience", [0, 3])
@pytest.mark.parametrize("weights", [(), (1.0, 3.0)])
def test_weights_that_the_last_step_broke_are_an_error_and_not_kept(
    tmp_path: Path, weights: tuple[float, ...], patience: int
) -> None:
    torch.manual_seed(0)
    config = broken(class_weights=weights, patience=patience)
    with pytest.raises(TrainingError, match=r"the weights are not finite.*lower learning_rate=1000000000\.0") as caught:
        fit(AttentionCNN(**NETWORK), data(), TASK, config, checkpoint=tmp_path / "checkpoint.pt", validation=data())
    assert caught.value.code == "bad_config"
    assert ("or class_weights=[1.0, 3.0]" in caught.value.message) == bool(weights)
    assert not list(tmp_path.iterdir())


def test_other_trainers_still_say_what_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """Those of MONAI share a logger by the name of their class."""
    config = TrainingConfig(epochs=1, batch_size=8, precision="fp32")
    build_trainer(AttentionCNN(**NETWORK), data(), TASK, config)
    network = torch.nn.Linear(1, 1)
    another = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=1, epoch_length=1, train_data_loader=[{}], network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1), loss_function=torch.nn.MSELoss(),
    )  # fmt: skip
    with pytest.raises(KeyError):
        another.run()
    assert "Engine run is terminating due to exception" in caplog.text


def test_a_broken_checkpoint_of_an_older_version_is_taken_away(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    config = TrainingConfig(epochs=1, batch_size=8, precision="fp32")
    torch.manual_seed(0)
    fit(AttentionCNN(**NETWORK), data(), TASK, config, checkpoint=checkpoint)
    state = torch.load(checkpoint, weights_only=True)
    next(value for value in state["average"].values() if value.is_floating_point()).fill_(torch.nan)
    torch.save(state, checkpoint)
    trainer = build_trainer(AttentionCNN(**NETWORK), data(), TASK, config, checkpoint=checkpoint, resume=True)
    with pytest.raises(TrainingError, match="the weights are not finite"):
        trainer.result()
    assert not checkpoint.exists()
