"""What a scan is like, in numbers: bundles that were made keep their ranges in just these."""

from __future__ import annotations

import numpy as np
import pytest

from medattn_core.transforms.statistics import image_statistics
from medattn_core.volumes import Volume


def test_the_foreground_is_what_is_brighter_than_a_tenth_of_the_brightest() -> None:
    scan = Volume(data=np.zeros((2, 2, 3)), affine=np.diag([2.0, 1.0, 5.0, 1.0]))
    found = image_statistics(np.array([[[[1.0, 0.5], [0.05, 0.0]]]]), scan)
    assert found["share of foreground"] == 0.5
    assert found["mean intensity"] == 0.75
    assert found["spread of intensity"] == 0.25
    assert (found["finest spacing (mm)"], found["extent (mm)"]) == (pytest.approx(1.0), pytest.approx(15.0))
