"""Networks that a caller gives: held to the task, and left as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medattn_core.bundles import load_network
from medattn_core.errors import PredictionError
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.ensemble import AttentionEnsemble
from medattn_core.volumes import Volume


@pytest.fixture(scope="module")
def scan() -> Volume:
    data = np.random.default_rng(0).random((64, 48, 3)) * 900
    return Volume(data=data, affine=np.diag([-1.5, -1.5, 5.0, 1.0]), modality="MR")


def test_the_caller_s_network_stays_as_it_is(random_bundle, scan):
    network = load_network(random_bundle).train()
    network.requires_grad_(True)
    layouts = {name: p.stride() for name, p in network.named_parameters()}
    predictor = Predictor(random_bundle, network)
    expected = predictor(scan).logits
    np.testing.assert_array_equal(expected, Predictor.from_bundle(random_bundle, device="cpu")(scan).logits)
    assert network.training
    assert all(module.training for module in network.modules())
    assert {name: p.stride() for name, p in network.named_parameters()} == layouts
    with torch.no_grad():  # the training goes on
        for parameter in network.parameters():
            parameter.mul_(2.0)
    np.testing.assert_array_equal(predictor(scan).logits, expected)


def test_a_subclass_is_set_up_by_its_own_constructor(random_bundle, scan):
    class Named(Predictor):
        def __init__(self, bundle, *networks, **options):
            super().__init__(bundle, *networks, **options)
            self.extra = bundle.name

    predictor = Named.from_bundle(random_bundle, device="cpu")
    assert predictor.extra == random_bundle.name
    assert not predictor.network.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_another_precision_predict(random_bundle, scan, dtype):
    expected = Predictor.from_bundle(random_bundle, device="cpu")(scan).logits
    network = load_network(random_bundle).to(dtype)
    np.testing.assert_allclose(Predictor(random_bundle, network)(scan).logits, expected, atol=1e-2)
    assert next(network.parameters()).dtype == dtype


def test_an_ensemble_in_one_module_is_its_members(random_bundle, scan):
    torch.manual_seed(4)
    ensemble = AttentionEnsemble(members=2, **random_bundle.network)
    one = Predictor(random_bundle, ensemble)(scan)
    np.testing.assert_array_equal(one.logits, Predictor(random_bundle, *ensemble.members)(scan).logits)
    assert one.uncertainty["members"] == 2


def changed(bundle, **settings):
    return AttentionCNN(**{**bundle.network, **settings})


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        (lambda b: (), "networks: none was given; accepted: .*Predictor.from_bundle"),
        (lambda b: (changed(b, out_channels=2, bias=None),), "out_channels=2, but random takes 3 .its labels: a, b, c"),
        (lambda b: (changed(b, in_channels=2),), "in_channels=2, but random takes 1 .its channels: image"),
        (lambda b: (changed(b, spatial_dims=3, slicewise=False),), "spatial_dims=3, but random takes 2"),
        (lambda b: (changed(b), changed(b, evidence_stride=16)), "evidence_stride=16, but random takes 8"),
        (lambda b: (AttentionEnsemble(members=2, **{**b.network, "in_channels": 4}),), "in_channels=4"),
        (lambda b: (nn.Sequential(nn.Conv2d(1, 3, 3)),), "networks: a Sequential; accepted: AttentionCNN"),
        (lambda b: (None,), "networks: a NoneType; accepted: AttentionCNN"),
    ],
)
def test_a_network_that_does_not_fit(random_bundle, networks, said):
    with pytest.raises(PredictionError, match=said) as caught:
        Predictor(random_bundle, *networks(random_bundle))
    assert caught.value.code == "bad_argument"
