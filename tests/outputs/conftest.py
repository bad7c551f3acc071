"""Real predictions of a small random network on small scans, without files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medattn_core.errors import Notice
from medattn_core.inference.head import Head
from medattn_core.inference.prediction import Prediction
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.conform import conform
from medattn_core.volumes import Volume

LABELS = ("glioma", "meningioma", "pituitary tumour")
Predict = Callable[..., Prediction]


def brain_like(shape: tuple[int, int, int], affine: np.ndarray, **options: object) -> Volume:
    """An ellipsoid of tissue with a bright ball off centre, on any grid."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    noise = np.random.default_rng(3).normal(0, 12, shape)
    head = (grid**2).sum(axis=0) < 0.9
    ball = ((grid - np.array([0.4, -0.3, 0.1])[:, None, None, None]) ** 2).sum(axis=0) < 0.05
    data = (head * (300 + noise) + ball * 400).clip(0).astype(np.int16)
    return Volume(data=data, affine=affine, **{"source": "scans/head.nii.gz", "format": "nifti", **options})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def head_volume() -> Volume:
    """Thick slices, left-posterior axes, 6 mm apart."""
    affine = np.array([[-2.0, 0, 0, 60], [0, -2.0, 0, 70], [0, 0, 6.0, -30], [0, 0, 0, 1]])
    return brain_like((60, 72, 12), affine)


@pytest.fixture(scope="session")
def picture() -> Volume:
    """A 2D picture without pixel size."""
    two = brain_like((90, 70, 3), np.diag([-1.0, -1.0, 1.0, 1.0]))
    return Volume(
        data=two.data[:, :, 1:2].copy(),
        affine=two.affine,
        spatial_dims=2,
        spacing_known=False,
        source="pictures/slice 7.jpg",
        format="jpeg",
    )


@pytest.fixture(scope="session")
def predict() -> Predict:
    """``predict(volume, gain=, kind=, labels=, unit=, warnings=, threshold=)`` through a real AttentionCNN."""
    torch = pytest.importorskip("torch")
    from medattn_core.networks.attention_cnn import AttentionCNN

    def run(
        volume: Volume,
        *,
        gain: float = 800.0,
        activation: str = "sigmoid",
        labels: tuple[str, ...] = LABELS,
        unit: str = "",
        bias: float = -1.1,
        threshold: float | None = None,
        warnings: tuple[Notice, ...] = (),
        bundle: str = "tiny",
    ) -> Prediction:
        task = TaskSpec(
            name=bundle,
            description="random network for tests",
            kind="regression" if activation == "identity" else "multiclass",
            activation=activation,
            labels=labels,
            unit=unit,
            spatial_dims=2,
            slicewise=True,
            spacing=(2.0, 2.0),
            slice_spacing=5.0,
            field_of_view=140.0,
            threshold=threshold,
        )
        torch.manual_seed(11)
        network = AttentionCNN(
            spatial_dims=2,
            in_channels=1,
            out_channels=len(labels),
            encoder_options={"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)},
            width=16,
            slicewise=True,
            bias=[bias] * len(labels),
        ).eval()
        conformed = conform(volume, task)
        with torch.inference_mode():
            network.pooling.value.weight.mul_(gain)
            out = network.attend(torch.from_numpy(conformed.image)[None])
        head = Head(
            scores=out.scores[0].numpy().astype(float),
            values=out.values[0].numpy().astype(float),
            null_scores=out.null_scores[0].numpy().astype(float),
            bias=network.pooling.bias.numpy().astype(float),
            allowed=conformed.grid.inside(network.evidence_stride),
        )
        return Prediction(
            volume=volume,
            task=task,
            head=head,
            grid=conformed.grid,
            stride=network.evidence_stride,
            bundle=bundle,
            bundle_version="1.2.3",
            weights_sha256="0123456789abcdef" * 4,
            warnings=warnings,
            timings={"read": 0.1, "network": 0.5},
        )

    return run
