"""What an interactive session shows of a result: a line, no pages of voxels, and no name of a patient."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.inference import Predictor
from medattn_core.volumes import Volume


@pytest.fixture
def predictor(brightness_predictor) -> Predictor:
    return brightness_predictor(slicewise=False, spacing=1.0)


def test_each_is_a_line(predictor: Predictor) -> None:
    data = np.zeros((40, 32, 24), np.int16)
    data[8:16, 8:16, 8:16] = 9000
    scan = Volume(data=data, affine=np.diag([1.0, 1.0, 2.5, 1.0]), source="ward/DOE^JOHN.nii.gz", modality="MR")
    told = "40 x 32 x 24, {}, 1 x 1 x 2.5 mm, MR, image.nii.gz>"
    assert repr(scan) == f"<Volume {told.format('int16')}"
    prediction = predictor(scan)
    p, total = prediction.probabilities["bright"], prediction.evidence("bright").total
    name = f"{predictor.bundle.name} {predictor.bundle.version}"
    assert prediction.label == "bright"
    assert repr(prediction).startswith(f"<Prediction bright {p:.4g} of image.nii.gz, by {name}")
    assert all(notice.code in repr(prediction) for notice in prediction.warnings)
    evidence = repr(prediction.evidence("bright", "dark"))
    assert evidence.startswith("<Evidence for bright against dark, sum ")
    assert repr(prediction.evidence("bright")) == (
        f"<Evidence for bright, sum {total:.4g} logit, {told.format('float32')}"
    )
    assert repr(predictor) == f"<Predictor of {name}, torch on cpu>"
    assert repr(predictor.bundle) == f"<Bundle {name}: {predictor.bundle.description}>"


def test_a_picture_without_pixel_size() -> None:
    picture = Volume(data=np.zeros((3, 4, 1)), affine=np.eye(4), spatial_dims=2, spacing_known=False, source="a/b.png")
    assert repr(picture) == "<Volume 3 x 4, float64, no pixel size, b.png>"
