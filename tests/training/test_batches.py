"""Epochs and batches: all cases, no batch of one, several labels balanced."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from medattn_core.errors import TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.batches import Batches, epoch_order
from medattn_core.training.config import TrainingConfig
from medattn_core.training.data import TrainingData

TASK = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))


def data(targets: np.ndarray) -> TrainingData:
    count = len(targets)
    return TrainingData(
        images=np.zeros((count, 1, 4, 4), np.float16), targets=targets.astype(np.float32),
        masks=np.zeros((count, 4, 4), np.uint8), located=np.zeros(count, bool), folds=np.zeros(count, int),
    )  # fmt: skip


@pytest.mark.parametrize(("count", "size", "expected"), [
    (32, 8, [8] * 4), (33, 32, [17, 16]), (9, 8, [5, 4]), (40, 32, [20, 20]), (5, 32, [5]), (63, 32, [32, 31]),
    (3, 2, [3]), (9, 2, [3, 2, 2, 2]), (3, 1, [1, 1, 1]), (1, 8, [1]),
])  # fmt: skip
def test_every_case_has_its_turn_and_no_batch_is_one_case_unless_asked_for(count, size, expected):
    batches = Batches(data(np.eye(2)[np.arange(count) % 2]), TASK, TrainingConfig(batch_size=size, balanced=False))
    found = list(batches)
    assert [len(b) for b in found] == expected
    assert len(batches) == len(expected)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))


def test_several_processes_get_batches_that_they_can_divide():
    batches = Batches(data(np.eye(2)[np.arange(21) % 2]), TASK, TrainingConfig(batch_size=8), processes=2)
    assert [len(b) % 2 for b in batches] == [0] * len(batches)
    assert sum(len(b) for b in batches) == 20


def test_balanced_is_what_the_setting_says():
    rare = np.eye(2)[np.r_[np.zeros(90, int), np.ones(10, int)]]
    for balanced, share in ((True, 0.5), (False, 0.1)):
        batches = Batches(data(rare), TASK, TrainingConfig(batch_size=10, balanced=balanced))
        assert np.mean(rare[np.concatenate(list(batches))][:, 1]) == pytest.approx(share)


def test_balanced_draws_of_several_labels_favour_the_rare_one():
    targets = np.zeros((400, 2), np.float32)
    targets[:, 0] = 1  # the first label is everywhere
    targets[:20, 1] = 1
    order = epoch_order(targets, balanced=True, generator=torch.Generator().manual_seed(0))
    assert targets[order, 1].mean() > 0.3
    again = epoch_order(targets, balanced=True, generator=torch.Generator().manual_seed(0))
    assert order.tolist() == again.tolist()


def test_cases_without_a_label_are_a_class_of_their_own():
    targets = np.zeros((100, 2), np.float32)
    targets[:10, 0] = targets[10:20, 1] = 1
    order = epoch_order(targets, balanced=True, generator=torch.Generator().manual_seed(0))
    shares = [targets[order, 0].mean(), targets[order, 1].mean(), (targets[order].sum(axis=1) == 0).mean()]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.01)


def test_images_of_one_cell_are_trained_on_in_batches_of_more_than_one(tmp_path):
    """Nine images in batches of two make four batches: one alone would have no batch statistics."""
    for index in range(9):
        image = np.full((8, 8), 40 + 100 * (index % 2), np.uint8)
        image[index % 3 : 5, 2:6] += 30
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"{index}.png"))
    rows = ["image,label", *(f"{index}.png,{'ab'[index % 2]}" for index in range(9))]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for size in (2, 1):
        settings = {"task": {"size": [8, 8]}, "training": {"epochs": 1, "batch_size": size}}
        if size == 2:
            assert train(tmp_path / "list.csv", tmp_path / "out", config=settings, device="cpu").task.size == (8, 8)
        else:
            with pytest.raises(TrainingError, match=r"batch_size=1 .* no batch statistics; accepted: 2 or more"):
                train(tmp_path / "list.csv", tmp_path / "other", config=settings, device="cpu")


def test_each_epoch_has_an_order_of_its_own_that_comes_again() -> None:
    batches = Batches(data(np.eye(2)[np.arange(32) % 2]), TASK, TrainingConfig(batch_size=4, balanced=False))

    def order(epoch: int) -> list[list[int]]:
        batches.epoch = epoch
        return [batch.tolist() for batch in batches]

    first, second = order(0), order(1)
    assert first != second
    assert (order(1), order(0)) == (second, first)  # as after a resume
    batches.config = TrainingConfig(seed=1, batch_size=4, balanced=False)
    assert order(0) not in (first, second)


def test_a_case_of_several_labels_is_drawn_by_the_mean_of_their_inverse_frequencies() -> None:
    """1000 cases of both labels, 2000 of the first, 1000 of the second: 5, 4 and 6 twelfths of a thousandth each."""
    targets = np.repeat([[1, 1], [1, 0], [0, 1]], [1000, 2000, 1000], axis=0).astype(np.float32)
    drawn = targets[epoch_order(targets, balanced=True, generator=torch.Generator().manual_seed(0))]
    both = (drawn.sum(axis=1) == 2).mean()
    shares = [both, drawn[:, 0].mean() - both, drawn[:, 1].mean() - both]
    assert shares == pytest.approx([5 / 19, 8 / 19, 6 / 19], abs=0.03)
