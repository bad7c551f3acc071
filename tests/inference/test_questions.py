"""Masks and questions that are easily answered wrongly: padding, masks without a place, coarse voxels, nothing left."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from medattn_core.inference import Predictor
from medattn_core.volumes import Volume, read


@pytest.fixture(scope="module")
def sizes() -> Predictor:
    """A shipped ensemble that was trained on images padded to 48 voxels, and counts on the padding."""
    return Predictor.from_bundle("hippocampus_volume", device="cpu")


def small(shape: tuple[int, int, int] = (30, 44, 30), spacing: float = 1.0) -> Volume:
    """A bright body in a dark box, smaller than what the model takes."""
    rng = np.random.default_rng(0)
    data = rng.normal(100, 10, shape)
    middle = tuple(slice(n // 3, 2 * n // 3 + 1) for n in shape)
    data[middle] += 150
    return Volume(data=data.astype(np.float32), affine=np.diag([spacing, spacing, spacing, 1.0]))


def test_the_padding_is_no_region(sizes):
    """A mask says where in the scan to look: all of it changes nothing, and "without" is a prediction of the rest."""
    scan = small()
    said = sizes(scan)
    assert not said.grid.inside(said.stride).all()
    assert sizes(scan, mask=np.ones(scan.shape, bool)).value == pytest.approx(said.value, abs=1e-9)
    part = np.zeros(scan.shape, bool)
    part[:, :22] = True
    assert sizes(scan, mask=~part).value == pytest.approx(float(said.without(part).logits[0]), abs=1e-9)
    assert sizes(scan, mask=part).value == pytest.approx(float(said.only(part).logits[0]), abs=1e-9)
    assert said.only(np.ones(scan.shape, bool)).logits[0] == pytest.approx(said.value, abs=1e-9)


def test_without_all_that_may_be_looked_at_the_bias_is_left(brightness_predictor, sample_data):
    predictor = brightness_predictor(slicewise=True, spacing=1.5)
    scan = read(sample_data / "brain1_image.nrrd")
    whole = predictor(scan)
    peak = np.unravel_index(np.argmax(whole.contributions("bright")), whole.head.allowed.shape)
    cell = np.zeros(whole.head.allowed.shape, bool)
    cell[peak] = True
    mask = whole.grid.paint(cell, whole.stride)
    said = predictor(scan, mask=mask)
    (region,) = said.regions("bright")
    index = said.task.index("bright")
    assert region.probability_without == pytest.approx(float(said.task.probabilities(said.bias)[index]))
    np.testing.assert_allclose(said.without(region).logits, said.bias)


def test_a_mask_that_states_no_place_lies_voxel_by_voxel_and_says_so(predictor, sample_data, tmp_path):
    scan, tumour = read(sample_data / "brain1_image.nrrd"), read(sample_data / "brain1_label.nrrd")
    image = nib.Nifti1Image((tumour.data != 0).astype(np.uint8), None)
    image.header.set_zooms(tuple(float(n) for n in tumour.spacing))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    path = tmp_path / "mask.nii.gz"
    nib.save(image, path)
    placed = predictor(scan, mask=path)
    np.testing.assert_allclose(placed.logits, predictor(scan, mask=tumour.data != 0).logits)
    assert any(notice.code == "no_geometry" and "mask: " in notice.message for notice in placed.warnings)
    asked = predictor(scan).without(path)
    assert [notice.code for notice in asked.warnings] == ["no_geometry"]


def test_regions_in_voxels_coarser_than_cells_have_a_place_and_a_size(sizes):
    said = sizes(small((9, 9, 9), 6.0))
    regions = said.regions()
    assert regions
    for region in regions:
        assert region.mask.any()
        assert region.volume_mm3 >= 216
        assert region.mask[region.voxel_index]


def test_a_flat_nifti_lies_as_its_header_says(predictor, sample_data, tmp_path):
    """The same slice as (I, J) and as (I, J, 1), stored towards all four corners, is the same picture."""
    scan = read(sample_data / "brain1_image.nrrd")
    middle = scan.shape[2] // 2
    logits = []
    for flips in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        data = scan.data[:: flips[0], :: flips[1], middle].astype(np.float32)
        turn = np.diag([*flips, 1, 1]).astype(float)
        turn[:2, 3] = [0 if flip == 1 else size - 1 for flip, size in zip(flips, data.shape, strict=True)]
        for voxels in (data, data[..., None]):
            path = tmp_path / f"{len(logits)}.nii"
            nib.save(nib.Nifti1Image(voxels, scan.affine @ turn), path)
            logits.append(predictor(path).logits)
    np.testing.assert_allclose(logits, np.broadcast_to(logits[0], np.shape(logits)), atol=1e-4)


def test_a_picture_lies_as_it_is_stored(predictor, sample_data, tmp_path):
    """Without a header that says otherwise, an identity included, which a converter writes where it knows nothing."""
    data = read(sample_data / "brain1_image.nrrd").data[:, :, 12].astype(np.float32)
    image = nib.Nifti1Image(data, None)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "plain.nii")
    plain = predictor(tmp_path / "plain.nii")
    flat = Volume(data=data[..., None], affine=np.eye(4), spatial_dims=2, spacing_known=plain.volume.spacing_known)
    np.testing.assert_allclose(plain.logits, predictor(replace(flat, source="x")).logits, atol=1e-5)
