"""Temperature: found again where it is known, folded into the head so that the map still sums to the logit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medattn_core.metrics.calibration import calibration_error_by_label
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training.calibration import (
    OFFSET_SPREAD,
    PRIOR_SPREAD,
    fit_abstain,
    fit_scaling,
    fold_scale,
)

SOFTMAX = TaskSpec(name="t", labels=("a", "b", "c"))
SIGMOID = TaskSpec(name="t", labels=("a", "b", "c"), activation="sigmoid")


@pytest.mark.parametrize("task", [SOFTMAX, SIGMOID])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(task, temperature):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (20_000, 3))
    p = task.probabilities(true)
    if task.activation == "softmax":
        targets = np.eye(3)[[rng.choice(3, p=row) for row in p]]
    else:
        targets = (rng.random(p.shape) < p).astype(float)
    found, offset = fit_scaling(true * temperature, targets, task)
    assert found == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(offset, 0, atol=0.05)


def test_a_rare_class_that_was_drawn_as_often_as_the_rest_gets_its_frequency_back():
    """Softmax of three classes, of which training saw equal numbers; one case in twenty is of the first."""
    rng = np.random.default_rng(0)
    prior = np.array([0.05, 0.35, 0.6])

    def draw(count):
        classes = rng.choice(3, count, p=prior)
        x = rng.normal(np.eye(3)[classes] * 2, 1)  # of normals: log-odds 2x, up to what all classes share
        return 2 * x * 1.5, np.eye(3)[classes]

    logits, targets = draw(4000)
    temperature, offset = fit_scaling(logits, targets, SOFTMAX)
    assert temperature == pytest.approx(1.5, rel=0.1)
    np.testing.assert_allclose(offset - offset.mean(), np.log(prior) - np.log(prior).mean(), atol=0.3)
    assert abs(offset.sum()) < 0.05  # what all share changes nothing, and the prior wants it small
    logits, targets = draw(20_000)
    raw, p = SOFTMAX.probabilities(logits / temperature), SOFTMAX.probabilities(logits / temperature + offset)
    np.testing.assert_allclose(p.mean(axis=0), prior, atol=0.02)
    assert raw.mean(axis=0)[0] > 1.5 * prior[0]
    assert calibration_error_by_label(p, targets) < 0.02 < calibration_error_by_label(raw, targets)


def test_the_scaling_of_many_labels_is_that_of_the_least_loss():
    """At the least of the penalised loss every slope is zero, as written out here label by label."""
    rng = np.random.default_rng(0)
    count, labels = 500, 120
    task = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=tuple(map(str, range(labels))))
    targets = (rng.random((count, labels)) < rng.uniform(0.005, 0.1, labels)).astype(float)
    logits = rng.normal(3 * targets - 1.5, 1.5)
    temperature, offset = fit_scaling(logits, targets, task)
    excess = task.probabilities(logits / temperature + offset) - targets
    slopes = excess.sum(axis=0) + offset / OFFSET_SPREAD**2  # times cases and labels
    np.testing.assert_allclose(slopes, 0, atol=0.02)
    of_temperature = -(excess * logits / temperature).sum() + labels * np.log(temperature) / PRIOR_SPREAD**2
    assert abs(of_temperature) < 0.02 * labels
    assert 0.5 < temperature < 1.0


@pytest.mark.parametrize("kind", ["multilabel", "softmax", "multiclass"])
@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("count", [40, 2000])
def test_a_label_that_all_cases_have_or_none_is_left_where_it_is(kind, everywhere, count):
    """The likelihood would have it in everything, or in nothing: more cases, surer. The other labels are calibrated."""
    rng = np.random.default_rng(0)
    softmax = kind == "softmax"
    task = TaskSpec(
        name="t", kind="multilabel" if kind == "multilabel" else "multiclass",
        activation="softmax" if softmax else "sigmoid", labels=("a", "b", "c"), spatial_dims=2, spacing=(1, 1),
    )  # fmt: skip
    if kind == "multilabel":
        targets = (rng.random((count, 3)) < 0.3).astype(float)
        targets[:, 2] = everywhere
    else:
        targets = np.eye(3)[np.full(count, 2) if everywhere else rng.integers(0, 2, count)]
    logits = 2 * rng.normal(2 * targets - 1, 1.0)
    temperature, offset = fit_scaling(logits, targets, task)
    if kind == "multilabel" or not everywhere:
        alone = fit_scaling(logits[:, :2], targets[:, :2], replace(task, labels=("a", "b")))[0]
        assert softmax or temperature == pytest.approx(alone, rel=1e-6)
        assert temperature != 1.0
    else:  # all cases are the same
        assert temperature == 1.0
    assert offset[2] == pytest.approx(offset[:2].mean() if softmax else 0.0, abs=1e-12)
    assert offset[:2].any() == (kind == "multilabel" or (softmax and not everywhere))


@pytest.mark.parametrize("offset", [7.0, np.array([7.0, 0.0, -3.0])])
def test_folding_scales_logits_and_map_together(offset):
    torch.manual_seed(0)
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=3, bias=[-1.0, 0.0, 2.0]).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        before = network.attend(x)
        fold_scale(network, 1 / 2.5, offset)
        after = network.attend(x)
    torch.testing.assert_close(
        after.logits, before.logits / 2.5 + torch.as_tensor(offset).float(), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        after.logits, network.pooling.bias + after.contributions.flatten(2).sum(2), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(after.weights, before.weights)


def test_no_line_is_drawn_through_equal_probabilities() -> None:
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 4)
    rule = fit_abstain(p, np.eye(2)[[0, 0, 0, 0, 0, 0, 1, 1]], accuracy=1.0)
    assert rule == {"threshold": 0.9, "accuracy": 1.0, "share": 0.5, "cases": 8}
