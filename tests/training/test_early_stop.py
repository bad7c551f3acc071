"""Early stopping: what counts as progress, from when on, and that the network goes on as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.early_stop import EarlyStop
from tests.training.test_parts import Answers, data

TASK = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


@pytest.fixture
def right():
    """A held-out fold that :class:`Answers` ranks without a fault, in each epoch."""
    truth = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    images = np.zeros((4, 1, 4, 4), np.float16)
    images[:, 0, 0, :2] = truth
    return data(images, truth)


def test_as_good_as_before_is_no_progress(right) -> None:
    stop = EarlyStop(TrainingConfig(patience=2), right, TASK)
    assert [stop.after(Answers(), epoch) for epoch in (1, 2, 3)] == [False, False, True]
    assert stop.best_epoch == 1


def test_epochs_of_growing_images_do_not_count(right) -> None:
    stop = EarlyStop(TrainingConfig(patience=2), right, TASK, full_from=5)
    assert [stop.after(Answers(), epoch) for epoch in range(1, 8)] == [False] * 6 + [True]


@pytest.mark.parametrize("training", [True, False])
def test_a_look_leaves_the_network_in_its_mode(right, training) -> None:
    network = Answers().train(training)
    EarlyStop(TrainingConfig(patience=2), right, TASK).after(network, 1)
    assert network.training == training


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_without_both_kinds_of_cases_better_logits_still_score_higher(activation: str) -> None:
    """No label has an AUC then: what counts is how likely the labels are."""
    stop = EarlyStop(TrainingConfig(patience=2), None, replace(TASK, activation=activation))
    targets = np.eye(2)[[0, 0, 0]]
    scores = [stop.score(sure * (2 * targets - 1), targets) for sure in (-2.0, 0.0, 1.0, 3.0)]
    assert scores == sorted(scores)
    assert len(set(scores)) == 4
    assert max(scores) < 0


def test_which_epoch_is_kept_is_said(right) -> None:
    stop = EarlyStop(TrainingConfig(epochs=9, patience=2), right, TASK)
    assert stop.told(0) == ""
    for epoch in (1, 2):
        stop.after(Answers(), epoch)
    assert stop.told(2) == "epoch 1 is kept (validation macro AUC 1)"
    stop.after(Answers(), 3)
    again = EarlyStop(TrainingConfig(epochs=9, patience=2), right, TASK)
    again.load_state_dict(stop.state_dict())
    for one in (stop, again):
        assert one.told(3) == "stopped after epoch 3; epoch 1 is kept (validation macro AUC 1)"


def test_a_training_that_ends_as_its_patience_does_was_not_stopped(right) -> None:
    stop = EarlyStop(TrainingConfig(epochs=3, patience=2), right, TASK)
    assert [stop.after(Answers(), epoch) for epoch in (1, 2, 3)][-1]
    assert stop.told(3) == "epoch 1 is kept (validation macro AUC 1)"


def test_without_patience_no_epoch_is_chosen(right) -> None:
    stop = EarlyStop(TrainingConfig(), right, TASK, watch=True)
    stop.after(Answers(), 1)
    assert stop.told(1) == ""


def test_the_score_of_the_kept_epoch_has_its_name_and_unit(right) -> None:
    one_kind = replace(right, targets=np.eye(2, dtype=np.float32)[[0, 0, 0, 0]])
    loss = EarlyStop(TrainingConfig(patience=2), one_kind, TASK)
    loss.after(Answers(), 1)
    assert loss.told(1) == f"epoch 1 is kept (validation loss {-loss.best:.4g})"
    assert loss.best < 0
    values = TaskSpec(name="t", kind="regression", activation="identity", labels=("v",), unit="ml",
                      spatial_dims=2, spacing=(1, 1))  # fmt: skip
    error = EarlyStop(TrainingConfig(patience=2), replace(right, targets=right.targets + 0.5), values)
    error.after(Answers(), 1)
    assert error.told(1, spread=3.0) == "epoch 1 is kept (validation mean absolute error 1.5 ml)"
