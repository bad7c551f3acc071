"""The dictionary transform takes what MONAI's readers have loaded as the file, and refuses what Predictor does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Flipd, LoadImaged, Resized, Transform
from PIL import Image

from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.dictionary import ConformD, as_volume
from medattn_core.volumes import Volume, read

SLICEWISE = TaskSpec(
    name="slices", labels=("a",), activation="sigmoid", spatial_dims=2, slicewise=True, spacing=(2.0, 2.0),
    field_of_view=220.0,
)  # fmt: skip
FLAT = replace(SLICEWISE, name="flat", slicewise=False, size=(64, 96))
SOLID = TaskSpec(name="solid", labels=("a",), activation="sigmoid", size=(32, 32, 32))


@pytest.fixture(scope="module")
def grey(sample_data: Path) -> np.ndarray:
    """A slice of the real scan, rows and columns, not square."""
    data = read(sample_data / "brain1_image.nrrd").data[20:240, 30:200, 12]
    return np.rint(255.0 * data.T / data.max()).astype(np.uint8)


@pytest.fixture(scope="module", params=["grey.png", "grey.jpg", "rgb.png", "rgb.jpg", "deep.png", "slice.nii.gz"])
def picture(request: pytest.FixtureRequest, grey: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the slice as a file that MONAI reads."""
    path = tmp_path_factory.mktemp("pictures") / request.param
    if path.suffix == ".gz":
        affine = np.diag([0.9, 1.3, 5.0, 1.0])  # to the right and to the front: anatomy and storage differ
        nibabel.save(nibabel.Nifti1Image(grey.T.astype(np.float32), affine), path)
    elif path.stem == "deep":
        Image.fromarray(grey.astype(np.uint16) * 200).save(path)
    else:
        Image.fromarray(grey).convert("RGB" if path.stem == "rgb" else "L").save(path)
    return str(path)


def conformed(image: Any, task: TaskSpec, *before: Transform) -> np.ndarray:
    found: torch.Tensor = Compose([*before, ConformD("image", task)])({"image": image})["image"]
    return found.numpy()


@pytest.mark.parametrize("task", [SLICEWISE, FLAT], ids=lambda task: task.name)
@pytest.mark.parametrize("channel_first", [True, False])
def test_a_loaded_picture_is_the_picture(picture: str, task: TaskSpec, channel_first: bool) -> None:
    steps = [LoadImaged("image"), EnsureChannelFirstd("image")][: 1 + channel_first]
    np.testing.assert_allclose(conformed(picture, task, *steps), conformed(picture, task), atol=1e-5)


@pytest.mark.parametrize("task", [SLICEWISE, FLAT], ids=lambda task: task.name)
def test_a_plain_array_of_a_picture_is_the_picture(grey: np.ndarray, tmp_path: Path, task: TaskSpec) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(grey).save(path)
    expected = conformed(str(path), task)
    for array in (grey.T, grey.T[None], torch.from_numpy(grey.T.copy()), MetaTensor(grey.T[None].copy())):
        np.testing.assert_allclose(conformed(array, task), expected, atol=1e-5)  # by the order in memory


def test_a_picture_that_was_resized_keeps_its_field_of_view(grey: np.ndarray, tmp_path: Path) -> None:
    """The affine of MONAI counts pixels of before: also where the two sides were stretched by different factors."""
    path = tmp_path / "a.png"
    Image.fromarray(grey).save(path)
    columns, rows = grey.T.shape
    steps = [LoadImaged("image"), EnsureChannelFirstd("image"), Resized("image", (2 * columns, 3 * rows))]
    given = Compose(steps)({"image": str(path)})["image"]
    volume = as_volume(given, spatial_dims=2)
    assert not volume.spacing_known
    assert conformed(given, SLICEWISE).shape == conformed(str(path), SLICEWISE).shape
    mirrored = conformed(str(path), FLAT, *steps[:2], Flipd("image", 0))
    np.testing.assert_allclose(mirrored[:, :, ::-1], conformed(str(path), FLAT), atol=1e-5)


def test_an_affine_that_states_a_pixel_size_counts(grey: np.ndarray) -> None:
    given = MetaTensor(grey.T[None].astype(np.float32), affine=np.diag([-0.5, -0.5, 1.0, 1.0]))
    volume = as_volume(given, spatial_dims=2)
    assert (volume.spatial_dims, volume.spacing_known, volume.shape) == (2, True, (*grey.T.shape, 1))
    assert volume.spacing.tolist() == [0.5, 0.5, 1.0]


def test_a_slice_of_one_millimetre_has_a_pixel_size(grey: np.ndarray) -> None:
    """The unit matrix says nothing, one of the same size with a place or an orientation does."""
    placed, turned = np.eye(4), np.eye(4)[[1, 0, 2, 3]]
    placed[:2, 3] = -90.0, -126.0
    for affine, known in ((np.eye(4), False), (np.diag([-1.0, -1.0, 1.0, 1.0]), False), (placed, True), (turned, True)):
        given = MetaTensor(grey.T[None].astype(np.float32), affine=affine)
        assert as_volume(given, spatial_dims=2).spacing_known == known


def test_an_empty_path_is_not_the_current_folder(
    grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(grey).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VolumeError, match="the path of an image is empty"):
        ConformD("image", FLAT)({"image": ""})


def test_a_picture_of_a_palette_or_in_colour_is_refused(grey: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(grey).convert("P").save(path)
    with pytest.raises(VolumeError, match=r"p\.png: a picture of a palette, .*give its path") as caught:
        as_volume(LoadImaged("image")({"image": str(path)})["image"], spatial_dims=2)
    assert caught.value.code == "unsupported_storage"
    Image.fromarray(np.stack([grey, grey // 2, grey], -1)).save(path)
    with pytest.raises(VolumeError, match=r"p\.png: a colour image") as caught:
        as_volume(LoadImaged("image")({"image": str(path)})["image"], spatial_dims=2)
    assert caught.value.code == "colour_image"


def test_a_volume_stays_a_volume(tmp_path: Path) -> None:
    """Of one sagittal slice too, where the file says that it has three axes; and for a 3D task whatever it says."""
    path = tmp_path / "v.nii.gz"
    data = np.random.default_rng(0).random((1, 40, 30)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([4.0, 1.0, 1.5, 1.0])), path)
    for steps in ([LoadImaged("image")], [LoadImaged("image"), EnsureChannelFirstd("image", channel_dim="no_channel")]):
        for task in (SLICEWISE, SOLID):
            np.testing.assert_allclose(conformed(str(path), task, *steps), conformed(str(path), task), atol=1e-5)
    volume = as_volume(data, spatial_dims=3)
    assert (volume.spatial_dims, volume.shape) == (3, (1, 40, 30))


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 900, (40, 36, 30)).astype(np.int16)


ORDINARY = {
    "negative strides": lambda a: a[::-1].copy()[::-1],
    "big-endian": lambda a: a.astype(">i2"),
    "half": lambda a: a.astype(np.float16),
    "long double": lambda a: a.astype(np.longdouble),
    "unsigned": lambda a: a.astype(np.uint64),
    "requires grad": lambda a: torch.tensor(a.astype("f4"), requires_grad=True),
    "negated view": lambda a: torch.complex(torch.zeros(a.shape), -torch.tensor(a.astype("f4"))).conj().imag,
}


@pytest.mark.parametrize("form", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_arrays_are_taken(voxels: np.ndarray, form: Any) -> None:
    np.testing.assert_allclose(conformed(form(voxels), SOLID), conformed(voxels.copy(), SOLID), atol=1e-5)


def test_bfloat16_is_taken_and_read_only_is_without_a_warning(voxels: np.ndarray) -> None:
    half = torch.tensor(voxels, dtype=torch.bfloat16)
    np.testing.assert_array_equal(conformed(half, SOLID), conformed(half.float(), SOLID))
    given = np.asfortranarray(voxels[:16, :16, :16].astype(np.float32))
    given.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conformed(given, replace(SOLID, spacing=(1.0, 1.0, 1.0), size=(16, 16, 16)))


def nan(a: np.ndarray) -> np.ndarray:
    return np.where(a > 400, np.nan, a)


@pytest.mark.parametrize("task", [SOLID, SLICEWISE], ids=lambda task: task.name)
@pytest.mark.parametrize(
    ("form", "code"),
    [
        (nan, "non_finite_voxels"),
        (lambda a: Volume(data=nan(a), affine=np.eye(4)), "non_finite_voxels"),
        (lambda a: torch.tensor(nan(a)), "non_finite_voxels"),
        (lambda a: a + 1j, "unsupported_storage"),
        (lambda a: torch.tensor(a) + 1j, "unsupported_storage"),
        (lambda a: torch.tensor(a).to_sparse(), "unsupported_storage"),
        (lambda a: a.astype(object), "unsupported_storage"),
        (lambda a: np.full_like(a, 3), "constant_image"),
        (lambda a: a[0, 0], "too_many_dimensions"),
        (lambda a: np.stack([a, a]), "too_many_dimensions"),
        (lambda a: None, "bad_argument"),
        (lambda a: 7, "bad_argument"),
    ],
)
def test_what_cannot_be_used_is_said(voxels: np.ndarray, form: Any, code: str, task: TaskSpec) -> None:
    with pytest.raises(MedAttnError) as caught:
        ConformD("image", task)({"image": form(voxels)})
    assert caught.value.code == code
    assert caught.value.message.startswith(("the volume: ", "the image is a "))


def test_a_few_voxels_are_replaced_and_the_caller_s_array_stays(voxels: np.ndarray) -> None:
    given = voxels.astype(np.float32)
    given[3, 3, 3] = np.inf
    assert np.isfinite(conformed(given, SOLID)).all()
    assert np.isinf(given[3, 3, 3])
