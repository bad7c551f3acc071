"""Several runs of one trainer, as federated learning makes them: the rate of each, and the unit between them."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from ignite.engine import Events

from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData
from medattn_core.training.loop import build_trainer, fit, trainer_of
from tests.training.test_checkpoint import NETWORK, TASK, data

VOLUME = TaskSpec(
    name="v", kind="regression", activation="identity", labels=("v",), unit="mm3", spatial_dims=2, spacing=(1, 1)
)
SETTINGS = TrainingConfig(epochs=2, batch_size=4, precision="fp32")


def network() -> AttentionCNN:
    torch.manual_seed(0)
    return AttentionCNN(**{**NETWORK, "out_channels": 1})


@pytest.fixture
def volumes() -> TrainingData:
    return replace(data(), targets=(2000.0 + 300 * np.arange(8, dtype=np.float32))[:, None])


def test_each_round_has_the_whole_schedule() -> None:
    torch.manual_seed(0)
    trainer = build_trainer(AttentionCNN(**NETWORK), data(), TASK, SETTINGS)
    rates: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: rates.append(engine.optimizer.param_groups[0]["lr"])
    )
    for _ in range(3):
        trainer.state.max_epochs = trainer.state.epoch + 2
        trainer.run()
    assert len(rates) == 12
    assert rates[:4] == rates[4:8] == rates[8:]
    assert rates[3] < 0.6 * max(rates)


def test_between_runs_the_network_predicts_in_the_unit(volumes: TrainingData) -> None:
    """What it is given then is in the unit, too: weights that hardly learn come back as they were."""
    tiny = {**SETTINGS.to_dict(), "learning_rate": 1e-12, "weight_decay": 0.0}
    given = network()
    trainer = trainer_of(given, volumes, VOLUME.to_dict(), tiny)
    images = torch.from_numpy(volumes.images.astype(np.float32))
    trainer.run()
    with torch.inference_mode():
        assert float(given.train()(images).mean()) == pytest.approx(float(volumes.targets.mean()), rel=0.2)
    assert float(given.pooling.bias) == pytest.approx(0.0, abs=1e-3)
    weights = given.state_dict() | {"pooling.value.weight": torch.full_like(given.pooling.value.weight, 700.0)}
    given.load_state_dict({name: value.clone() for name, value in weights.items()})
    trainer.state.max_epochs = trainer.state.epoch + 2
    trainer.run()
    torch.testing.assert_close(given.pooling.value.weight, torch.full_like(given.pooling.value.weight, 700.0))
    assert float(given.pooling.bias) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("how", ["interrupt", "exception"])
def test_a_round_that_is_broken_off_leaves_the_network_in_its_unit(volumes: TrainingData, how: str) -> None:
    given = network()
    trainer = trainer_of(given, volumes, VOLUME.to_dict(), {**SETTINGS.to_dict(), "learning_rate": 1e-12})

    class LostError(Exception):
        pass

    def stop(engine) -> None:
        if how == "exception":
            raise LostError
        engine.interrupt()

    handle = trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), stop)
    if how == "exception":
        with pytest.raises(LostError):
            trainer.run()
    else:
        trainer.run()
    assert trainer.state.iteration == 2
    for _ in range(2):
        assert float(given.pooling.bias) == pytest.approx(0.0, abs=1e-3)
        with torch.inference_mode():
            answers = given.train()(torch.from_numpy(volumes.images.astype(np.float32)))
        assert float(answers.mean()) == pytest.approx(float(volumes.targets.mean()), rel=0.2)
        handle.remove()
        trainer.run()


def test_a_trainer_that_is_over_leaves_memory_at_once(volumes: TrainingData) -> None:
    """Not when Python next looks for circles: on a GPU the network of the next fold may want the room before."""
    gc.collect()
    gc.disable()
    try:
        trainer = trainer_of(network(), volumes, VOLUME.to_dict(), SETTINGS.to_dict())
        trainer.run()
        over = weakref.ref(trainer)
        del trainer
        assert over() is None
    finally:
        gc.enable()


def test_a_recipe_of_a_quantity_trains_what_the_command_trains(volumes: TrainingData) -> None:
    trained = fit(network(), volumes, VOLUME, SETTINGS)
    trainer = trainer_of(network(), volumes, VOLUME.to_dict(), SETTINGS.to_dict())
    trainer.run()
    for name, value in trainer.result().state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=0, atol=0)
