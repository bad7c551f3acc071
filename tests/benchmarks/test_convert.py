"""Converters of labelled sets: the lists they write are ones that training accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import convert
from medattn_core import datalists
from medattn_core.volumes import read


def test_tumour_samples(shared_data: Path, tmp_path: Path) -> None:
    cases = datalists.load(convert.tumour_samples(shared_data / "tumour_samples", tmp_path))
    assert [case.label for case in cases] == ["brain", "brain", "breast", "lung"]
    found = datalists.location_of(cases[0], read(cases[0].image))
    assert found is not None
    assert 0 < found.sum() < 0.1 * found.size


def test_medmnist_has_a_list_for_each_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 8, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "vesselmnist3d.npz", **arrays)
    lists = convert.medmnist(tmp_path / "vesselmnist3d.npz", tmp_path / "out")
    cases = datalists.load(lists["train"])
    assert [case.label for case in cases] == ["vessel", "aneurysm", "vessel"]
    np.testing.assert_array_equal(read(cases[1].image).data, arrays["train_images"][1])


def test_a_dicom_segmentation_becomes_a_mask(shared_data: Path, tmp_path: Path) -> None:
    """ReMIND-022: 799 voxels; its frames begin at index 162, 112 and lie on slices 54 to 65 of the series."""
    (case,) = datalists.load(convert.remind_dicom_seg(shared_data / "remind_dicom_seg", tmp_path))
    scan = read(case.image, modality=("MR",))
    found = datalists.location_of(case, scan)
    assert found is not None
    assert int(found.sum()) == 799
    where = np.argwhere(found > 0)
    np.testing.assert_array_equal(where.min(axis=0), [162, 112, 54])
    assert where[:, 2].max() == 65
