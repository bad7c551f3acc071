"""Augmentation moves image and mask together, keeps shapes, repeats from a seed, and can be switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid

from medattn_core.transforms.augment import Augmentation, _grid

OFF = Augmentation(
    flip=0, rotate=0, scale=1, stretch=1, translate=0, gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(2, 1, 32, 48), (2, 1, 16, 24, 20)])
def test_switched_off_it_changes_nothing(shape):
    image = torch.rand(shape)
    result, mask, _ = OFF(image.clone(), image.clone(), generator())
    torch.testing.assert_close(result, image, atol=1e-4, rtol=0)
    torch.testing.assert_close(mask, image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(4, 1, 48, 64), (4, 1, 24, 32, 28)])
def test_the_mask_moves_with_the_image(shape):
    image = torch.zeros(shape)
    image[(slice(None), slice(None), *[slice(n // 3, n // 2) for n in shape[2:]])] = 1.0
    moving = Augmentation(gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0, rotate=30, translate=0.15)
    result, mask, _ = moving(image.clone(), image.clone(), generator(1))
    assert mask is not None
    assert result.shape == image.shape
    torch.testing.assert_close(result, mask)
    assert float((result - image).abs().max()) > 0.5


@pytest.mark.parametrize("size", [(7, 5), (33, 48), (6, 9, 4), (17, 16, 20)])
def test_the_grid_is_that_of_torch(size):
    theta = torch.eye(len(size), len(size) + 1).repeat(3, 1, 1) + 0.3 * torch.randn(3, len(size), len(size) + 1)
    torch.testing.assert_close(_grid(theta, size), affine_grid(theta, [3, 1, *size], align_corners=False))


@pytest.mark.parametrize("shape", [(4, 2, 24, 32), (3, 2, 12, 16, 14)])
def test_an_image_is_the_same_with_and_without_a_mask(shape):
    image = torch.rand(shape)
    moving = Augmentation(erase=1.0)
    alone, nothing, longer = moving(image.clone(), None, generator(3))
    beside, mask, as_long = moving(image.clone(), torch.zeros(shape[0], 1, *shape[2:]), generator(3))
    assert nothing is None
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(as_long, longer)
    assert mask is not None
    assert mask.shape == (shape[0], 1, *shape[2:])
    assert not mask.any()


@pytest.mark.parametrize("shape", [(8, 1, 33, 47), (8, 1, 16, 16, 16), (8, 1, 40, 56, 40)])
def test_what_is_coarsened_stays_as_large_and_where_it_is(shape):
    """Its mask and its value are not told."""
    places = torch.meshgrid(*[torch.arange(n) - (n - 1) / 2 for n in shape[2:]], indexing="ij")
    far = sum((p / (0.25 * n)) ** 2 for p, n in zip(places, shape[2:], strict=True))
    image = torch.exp(-far)[None, None].repeat(*shape[:2], *[1] * (len(shape) - 2))
    changed = 0
    for seed in range(12):
        result, _, _ = replace(OFF, coarsen=1.0)(image.clone(), None, generator(seed))
        assert float(result.sum() / image.sum()) == pytest.approx(1.0, abs=0.03)
        for place in places:
            assert abs(float((result[0, 0] * place).sum() / result[0, 0].sum())) < 0.1, "its middle"
        changed += float((result - image).abs().max()) > 1e-3
    assert changed > 6


@pytest.mark.parametrize("shape", [(16, 1, 64, 96), (16, 1, 40, 56, 48)])
def test_what_is_longer_holds_as_much_more(shape):
    image = torch.zeros(shape)
    image[(slice(None), slice(None), *[slice(3 * n // 8, 5 * n // 8) for n in shape[2:]])] = 1.0
    zooming = Augmentation(
        rotate=20, scale=1.3, stretch=1.15, translate=0.02, gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0
    )
    result, _, longer = zooming(image, None, generator(2))
    more = result.flatten(1).sum(dim=1) / image.flatten(1).sum(dim=1)
    torch.testing.assert_close(longer ** (len(shape) - 2), more, rtol=0.03, atol=0)
    assert float(longer.max()) > 1.15
    assert float(longer.min()) < 0.87


def test_rotation_keeps_the_area_on_a_grid_that_is_not_square():
    image = torch.zeros(64, 1, 32, 64)
    image[:, :, 12:20, 28:36] = 1.0
    turning = Augmentation(
        flip=0, rotate=45, scale=1, stretch=1, translate=0, gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0
    )
    result, _, _ = turning(image, None, generator())
    assert result.sum(dim=(1, 2, 3)).numpy() == pytest.approx(64.0, rel=0.06)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 40, 8), (1.0, 1.0, 5.0)), ((48, 16), (1.0, 3.0)), ((60, 16), (1.0, 2.5))]
)
def test_what_is_turned_keeps_its_shape_in_space(shape, spacing):
    """A ball in millimetres stays one on voxels that are no cubes; turned in voxels it would not."""
    places = np.stack(np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)],
                                  indexing="ij"))  # fmt: skip
    ball = torch.from_numpy(np.clip(15.5 - np.sqrt((places**2).sum(axis=0)), 0, 1)).float()
    turning = replace(OFF, rotate=90)
    image = ball.repeat(32, 1, *[1] * len(shape))
    turned, _, longer = turning(image, None, generator(), spacing=spacing)
    torch.testing.assert_close(longer, torch.ones(32))
    overlap = (turned.minimum(image).flatten(1).sum(dim=1) / turned.maximum(image).flatten(1).sum(dim=1)).min()
    assert float(overlap) > 0.7  # voxels of 5 mm are coarse for it
    in_voxels = turning(image, None, generator())[0]
    assert float(in_voxels.minimum(image).sum() / in_voxels.maximum(image).sum()) < 0.6


def test_flip_mirrors_columns_only():
    image = torch.rand(8, 1, 16, 16)
    mirrored = Augmentation(
        flip=1, rotate=0, scale=1, stretch=1, translate=0, gamma=1, brightness=1, bias_field=0, noise=0, coarsen=0
    )
    result, _, _ = mirrored(image.clone(), None, generator())
    torch.testing.assert_close(result, image.flip(3), atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_batch():
    image = torch.rand(4, 1, 32, 32)
    first, _, _ = Augmentation()(image.clone(), None, generator(5))
    second, _, _ = Augmentation()(image.clone(), None, generator(5))
    third, _, _ = Augmentation()(image.clone(), None, generator(6))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert not torch.equal(first, third)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("shape", [(4, 1, 48, 64), (4, 1, 24, 32, 28)])
def test_a_seed_means_the_same_on_a_gpu(shape):
    """But for the noise, which is drawn where the image lies; it repeats there too."""
    image = torch.rand(shape)
    mask = (image > 0.9).float()
    strong = Augmentation(noise=0, erase=0.5, coarsen=0.5)
    here, there = strong(image, mask, generator()), strong(image.cuda(), mask.cuda(), generator())
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=1e-3, rtol=1e-3)
    first, second = (Augmentation()(image.cuda(), None, generator(5))[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_another_size_is_the_same_view_in_other_pixels():
    image = torch.zeros(1, 1, 32, 48)
    image[..., 8:16, 12:36] = 1.0
    result, mask, _ = OFF(image.clone(), image.clone(), generator(), (16, 24))
    assert result.shape == mask.shape == (1, 1, 16, 24)
    assert float(result[..., 5:7, 7:17].min()) > 0.9
    assert float(result.mean()) == pytest.approx(float(image.mean()), abs=0.02)


def test_what_is_erased_is_not_the_finding():
    image, mask = torch.ones(64, 1, 32, 32), torch.zeros(64, 1, 32, 32)
    mask[:, :, 12:20, 12:20] = 1
    erased, moved, _ = replace(OFF, erase=1.0)(image, mask, generator())
    assert float(erased[moved > 0.01].min()) > 0.9
    assert float((erased == 0).float().mean()) > 0.02


def test_a_shift_is_a_share_of_the_image():
    image = torch.zeros(64, 1, 101, 101)
    image[:, :, 50, 50] = 1
    moved, _, _ = replace(OFF, translate=0.08)(image, None, generator())
    at = torch.stack(torch.meshgrid(torch.arange(101.0), torch.arange(101.0), indexing="ij"))
    centre = torch.einsum("bcij,aij->ba", moved, at) / moved.sum(dim=(1, 2, 3)).unsqueeze(1)
    assert 5 < float((centre - 50).abs().max()) < 8.6


def test_a_volume_is_mirrored_from_left_to_right():
    image = torch.rand(4, 1, 12, 16, 14)
    result, _, _ = replace(OFF, flip=1)(image.clone(), None, generator())
    torch.testing.assert_close(result, image.flip(2), atol=1e-4, rtol=0)


def test_a_volume_is_turned_in_every_plane():
    """A spot on one axis moves along each of the two others, by no more than the angle says."""
    places = torch.meshgrid(*[torch.arange(25.0) - 12] * 3, indexing="ij")
    for axis in range(3):
        away = [place - (8 if other == axis else 0) for other, place in enumerate(places)]
        spot = torch.exp(-sum(a**2 for a in away) / 4).repeat(16, 1, 1, 1, 1)
        turned = replace(OFF, rotate=30)(spot, None, generator())[0][:, 0]
        middle = torch.stack([(turned * p).sum(dim=(1, 2, 3)) / turned.sum(dim=(1, 2, 3)) for p in places])
        for other in {0, 1, 2} - {axis}:
            assert 2 < float(middle[other].abs().max()) < 7, (axis, other)


@pytest.mark.parametrize("shape", [(64, 1, 24, 32), (64, 1, 8, 12, 10)])
@pytest.mark.parametrize("part", ["gamma", "brightness", "bias_field"])
def test_a_change_of_intensity_is_as_large_as_it_says(shape, part):
    """Of an even image of one half; an exponent shows in the logarithm of it, a factor beside it."""
    strength = {"gamma": 1.4, "brightness": 1.25, "bias_field": 0.25}[part]
    image = torch.full(shape, 0.5)
    changed, _, _ = replace(OFF, **{part: strength})(image.clone(), None, generator())
    ratio = (changed.log() / image.log()).log() if part == "gamma" else (changed / image).log()
    limit = strength if part == "bias_field" else float(np.log(strength))
    assert 0.7 * limit < float(ratio.max()) < 1.001 * limit
    assert 0.7 * limit < -float(ratio.min()) < 1.001 * limit
    within = float((ratio.flatten(1).amax(dim=1) - ratio.flatten(1).amin(dim=1)).max())
    assert (within > 0.3 * limit) == (part == "bias_field")  # it varies from place to place
    assert not replace(OFF, **{part: strength})(0 * image, None, generator())[0].any()


@pytest.mark.parametrize("shape", [(64, 1, 24, 32), (64, 1, 8, 12, 10)])
def test_noise_is_at_most_as_strong_as_it_says(shape):
    image = torch.full(shape, 0.5)
    noise = (replace(OFF, noise=0.08)(image.clone(), None, generator())[0] - image).flatten(1)
    spread = noise.std(dim=1)
    assert 0.07 < float(spread.max()) < 0.085
    assert float(spread.min()) < 0.01
    assert abs(float(noise.mean())) < 0.002
