"""What is chosen of the network and the start of its training from the kind, size and number of the images."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.tasks import TaskSpec
from medattn_core.training.config import TrainingConfig
from medattn_core.training.plan import describe
from medattn_core.training.plan_network import plan_network, plan_start_size


def labels(dims: int) -> TaskSpec:
    return TaskSpec(name="t", labels=("a", "b"), spatial_dims=dims, spacing=(1.0,) * dims)


def quantity(unit: str) -> TaskSpec:
    return TaskSpec(
        name="t", kind="regression", activation="identity", labels=("v",), spatial_dims=2, spacing=(1, 1), unit=unit
    )


def test_large_pictures_start_small():
    task = labels(2)
    volumes = labels(3)
    stopping = TrainingConfig(patience=3)
    for settings, of, size, given, wanted in (
        (TrainingConfig(), task, (224, 160), {}, 0.6),
        (TrainingConfig(), task, (224, 96), {}, 1.0),
        (TrainingConfig(), volumes, (224, 224, 224), {}, 1.0),
        (TrainingConfig(start_size=1.0), task, (224, 160), {"start_size": 1.0}, 1.0),
        (stopping, task, (224, 160), {}, 1.0),  # only epochs of the whole size count for it
        (TrainingConfig(epochs=2), task, (224, 160), {}, 1.0),  # none of two would be of the whole size
        (TrainingConfig(epochs=4), task, (224, 160), {}, 0.6),
    ):
        planned = plan_start_size(settings, of, size, plan_network(of, {}, size=size, cases=1000), given)
        assert planned.start_size == wanted


def test_a_regression_leaves_no_share_of_its_sum_out():
    assert plan_network(quantity("mm3"), {})["dropout"] == 0
    assert plan_network(quantity("mm3"), {"dropout": 0.1})["dropout"] == 0.1


def test_a_volume_is_a_sum_over_regions_that_hardly_compete():
    assert plan_network(quantity("mm3"), {}, size=(32, 32))["null_score"] == 9.0
    many = plan_network(quantity("mm3"), {}, size=(512, 512))["null_score"]
    assert many == pytest.approx(np.log(64 * 64) + 2, abs=0.1)  # of the default stride, 8
    assert plan_network(quantity("mm3"), {"null_score": 1.0}, size=(512, 512))["null_score"] == 1.0
    for task, given in (
        (quantity("mm"), {}),
        (quantity("mm3"), {"pooling": "average"}),
        (quantity("mm3"), {"null_token": False}),
    ):
        assert "null_score" not in plan_network(task, given)


def test_the_network_is_sized_by_the_data():
    task, size = labels(2), (64, 64)
    few = plan_network(task, {}, size=size, cases=100)
    assert few["encoder_options"]["widths"] == [16, 32, 64, 128]
    assert "encoder_options" not in plan_network(task, {}, size=size, cases=5000)
    small = plan_network(task, {}, size=(32, 32), cases=5000)
    assert small["encoder_options"]["stem_stride"] == 2
    assert small["evidence_stride"] == 4
    given = {"encoder_options": {"widths": [8, 8], "blocks": [1, 1]}, "width": 8}
    assert plan_network(task, given, size=(32, 32), cases=9)["encoder_options"] == given["encoder_options"]
    assert any("widths [16, 32, 64, 128]" in line for line in describe(task, size, few, TrainingConfig()))


def test_fine_volumes_start_small_and_halve_once_at_first():
    task = labels(3)
    for size, fine in (
        ((64, 64, 64), True),
        ((56, 64, 88), True),
        ((96, 96, 96), False),  # several times the work
        ((64, 64, 48), False),  # few pixels: three stages, a stem that halves once, as ever
        ((240, 240, 16), False),
    ):
        network = plan_network(task, {}, size=size, cases=1000)
        options = network["encoder_options"]
        settings = plan_start_size(TrainingConfig(), task, size, network, {})
        assert (settings.start_size == 0.5) == fine
        assert (options.get("stem_stride") == 2) == (fine or min(size) <= 48)
        assert (len(options["widths"]) == 4 and network["evidence_stride"] == 8) == (min(size) > 48)
    given = {"encoder_options": {"widths": [8, 8], "blocks": [1, 1]}}
    size = (64, 64, 64)
    own = plan_network(task, given, size=size, cases=9)
    assert own["encoder_options"] == given["encoder_options"]
    planned = plan_network(task, {}, size=size, cases=9)
    for settings, network, training in (
        (TrainingConfig(), own, {}),  # a stem that halves twice leaves few cells of small images
        (TrainingConfig(), planned | {"encoder": "resnet18", "encoder_options": None}, {}),
        (TrainingConfig(patience=3), planned, {}),
        (TrainingConfig(), planned, {"start_size": 1.0}),
        (TrainingConfig(zoom_power=3), planned, {}),  # a volume is a sum over what is seen of it
    ):
        assert plan_start_size(settings, task, size, network, training).start_size == 1
    assert "stem_stride" not in plan_network(labels(2), {}, size=(64, 64), cases=9)["encoder_options"]
