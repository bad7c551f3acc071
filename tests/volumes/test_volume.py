"""Volumes made in Python are refused with a reason, as files are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medattn_core.errors import VolumeError
from medattn_core.volumes import Volume

GOOD = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("data", "affine", "code", "words"),
    [
        (GOOD.tolist(), np.eye(4), "bad_argument", "data is a list; give a NumPy array"),
        (None, np.eye(4), "bad_argument", "data is a NoneType"),
        (GOOD, None, "bad_argument", "np.eye(4) with spacing_known=False"),
        (GOOD, "LPS", "bad_argument", "affine is no matrix"),
        (GOOD, np.eye(3), "bad_argument", "affine is no matrix"),
        (GOOD[:0], np.eye(4), "bad_argument", r"shape \(0, 3, 4\) hold no voxel"),
        (GOOD[0], np.eye(4), "too_many_dimensions", r"\(I, J, K\) is needed"),
        (GOOD, np.zeros((4, 4)), "singular_affine", "cannot be inverted"),
    ],
)
def test_what_is_no_volume(data: Any, affine: Any, code: str, words: str) -> None:
    words = words.replace("(4)", r"\(4\)")
    with pytest.raises(VolumeError, match=f"^scan.nii: .*{words}") as caught:
        Volume(data=data, affine=affine, source="scan.nii")
    assert caught.value.code == code


def test_volumes_compare_by_identity() -> None:
    """Arrays have no single truth value: a list of volumes could not be searched."""
    one = Volume(data=np.arange(8.0).reshape(2, 2, 2), affine=np.eye(4))
    other = Volume(data=one.data, affine=one.affine)
    assert [other, one].index(one) == 1
    assert len({one, other}) == 2
