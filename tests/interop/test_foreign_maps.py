"""Where the Grad-CAM map of a stranger's bundle lies: on the lump that the network saw, or nowhere, and why."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medattn_core.errors import BundleError
from medattn_core.inference import Prediction
from medattn_core.interop import open_predictor
from medattn_core.interop.places import PlaceError, to_native
from medattn_core.volumes import read
from tests.interop.strangers import LOAD, post, step, write_stranger

ACT = [post("Activationsd", softmax=True)]
RAS = step("Orientationd", axcodes="RAS", labels=None)
NO_META = step("EnsureTyped", track_meta=False)
AFFINE = np.array([[-1.5, 0, 0, 40], [0, -1.5, 0, 30], [0, 0, 2, -20], [0, 0, 0, 1.0]])
TURNED = np.array([[0, 0, -2.0, 40], [-1.5, 0, 0, 30], [0, 1.4, 0.2, -20], [0, 0, 0, 1.0]])
"""Axes run P, S, L, a little tilted."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """96 x 64 with a lump at (33, 43)."""
    data = np.zeros((64, 96), np.uint8)
    data[40:47, 30:37] = 255
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "p.png"))
    return tmp_path / "p.png"


def save_scan(path: Path, affine: np.ndarray = AFFINE, *, slice_of: int | None = None) -> Path:
    """40 x 36 x 32 with a lump at (6.5, 21.5, 11.5), or one slice of it along an axis."""
    data = np.zeros((40, 36, 32), np.float32)
    data[5:9, 20:24, 10:14] = 100
    if slice_of is not None:
        data = data.take([(6, 21, 11)[slice_of]], axis=slice_of)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def predict(root: Path, scan: Path, *pre: Any, **how: Any) -> Prediction:
    return open_predictor(write_stranger(root, pre=pre, postprocessing=ACT, **how), trust=True, device="cpu")(scan)


def centre(prediction: Prediction) -> np.ndarray:
    found = prediction.evidence().data
    assert found.shape == prediction.volume.shape
    assert found.max() > 0.3, "a map without a lump lies nowhere"
    return np.array([(found * index).sum() / found.sum() for index in np.indices(found.shape)])


def told(prediction: Prediction) -> str:
    """Why the map is empty."""
    (notice,) = [one for one in prediction.warnings if one.code == "not_additive"]
    assert not prediction.evidence().data.any()
    assert notice.message.endswith("the map is empty")
    return notice.message


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "pre",
    [
        [],
        [step("Resized", spatial_size=[32, 32])],
        [step("Resized", spatial_size=[32, 32]), NO_META],
        [step("ScaleIntensityd"), NO_META],
        [step("CenterSpatialCropd", roi_size=[64, 48])],
        [step("SpatialPadd", spatial_size=[128, 128])],
        [step("SpatialPadd", spatial_size=[96, 96]), step("Resized", spatial_size=[32, 32])],
        [step("Resized", spatial_size=48, size_mode="longest"), step("SpatialPadd", spatial_size=[48, 48])],
        [step("Rotate90d", k=3), step("Flipd", spatial_axis=1)],
        [{"_target_": "Compose", "transforms": [step("Flipd", spatial_axis=0), step("Zoomd", zoom=0.7)]}],
        [step("Rotated", angle=0.5, keep_size=False)],
        [step("Lambdad", func="$lambda x: (x - x.mean()) / 255 + 1"), step("Flipd", spatial_axis=0)],
    ],
)
def test_in_a_picture(tmp_path: Path, picture: Path, pre: list[Any], lazy: bool) -> None:
    scaled = [step("ScaleIntensityd")] if not any("Lambdad" in str(one) for one in pre) else []
    prediction = predict(tmp_path / "b", picture, *scaled, *pre, lazy=lazy)
    if scaled:
        # MONAI's lazy resampling takes points of a picture, not means.
        np.testing.assert_allclose(centre(prediction), (33, 43, 0), atol=0.7 if lazy else 0.4)
    peak = np.unravel_index(int(prediction.evidence().data.argmax()), prediction.volume.shape)
    assert np.abs(np.array(peak) - (33, 43, 0)).max() <= 4


@pytest.mark.parametrize("affine", [AFFINE, TURNED])
@pytest.mark.parametrize(
    "pre",
    [
        [],
        [RAS],
        [RAS, step("Spacingd", pixdim=[2, 2, 2]), step("ResizeWithPadOrCropd", spatial_size=[48, 44, 40])],
        [step("CropForegroundd", source_key="image", margin=3), step("Resized", spatial_size=[30, 30, 30])],
    ],
)
def test_in_a_volume(tmp_path: Path, pre: list[Any], affine: np.ndarray) -> None:
    scan = save_scan(tmp_path / "s.nii.gz", affine)
    np.testing.assert_allclose(centre(predict(tmp_path / "b", scan, *pre, dims=3)), (6.5, 21.5, 11.5), atol=0.5)


def test_with_a_reader_that_turns_what_it_reads(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "s.nii.gz")
    load = [step("LoadImaged", reader="NibabelReader", as_closest_canonical=True), LOAD[1]]
    np.testing.assert_allclose(centre(predict(tmp_path / "b", scan, dims=3, load=load)), (6.5, 21.5, 11.5), atol=0.5)


@pytest.mark.parametrize("affine", [AFFINE, TURNED])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("after", [[], [step("Resized", spatial_size=[48, 44])], [step("Rotate90d", k=1)]])
def test_in_one_slice(tmp_path: Path, axis: int, affine: np.ndarray, after: list[Any]) -> None:
    scan = save_scan(tmp_path / "s.nii.gz", affine, slice_of=axis)
    wanted = np.array((6.5, 21.5, 11.5))
    wanted[axis] = 0
    squeeze = step("SqueezeDimd", dim=axis + 1)
    plain = predict(tmp_path / "b", scan, squeeze, *after)
    if affine is TURNED and "Rotate90d" in str(after):  # MONAI's affine of the squeezed slice is singular
        assert "cannot be inverted" in told(plain)
    else:
        np.testing.assert_allclose(centre(plain), wanted, atol=0.5)
    world = axis if affine is AFFINE else (1, 2, 0)[axis]
    oriented = predict(tmp_path / "c", scan, RAS, step("SqueezeDimd", dim=world + 1), *after)
    np.testing.assert_allclose(centre(oriented), wanted, atol=0.5)


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ([RAS, NO_META], "drops the geometry of the scan"),
        ([RAS, step("ToNumpyd"), step("EnsureTyped")], "drops the geometry of the scan"),
        ([step("ToNumpyd"), step("EnsureTyped"), step("Resized", spatial_size=[20, 20, 20])], "drops the geometry"),
        ([step("Transposed", indices=[0, 2, 1, 3])], "what its Transposed does"),
        ([step("Lambdad", func="$lambda x: x.flip(1)")], "what its Lambdad does"),
        ([step("Lambdad", func="$lambda x: x[:, 5:]")], "what its Lambdad does"),
        ([step("scripts.own.Own")], "what its Own does"),
    ],
)
def test_no_map_of_a_volume_whose_places_are_lost(tmp_path: Path, pre: list[Any], words: str) -> None:
    scripts = (
        "class Own:\n    def __init__(self, keys): self.keys = (keys,)\n"
        "    def __call__(self, d): return {'image': d['image'].flip(1)}\n"
    )
    scan = save_scan(tmp_path / "s.nii.gz")
    prediction = predict(tmp_path / "b", scan, *pre, dims=3, scripts=scripts)
    assert words in told(prediction)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ([step("CenterSpatialCropd", roi_size=[64, 48]), NO_META], "drops what CenterSpatialCropd did"),
        ([step("Flipd", spatial_axis=0), NO_META], "drops what Flipd did"),
        ([step("Lambdad", func="$lambda x: x.flip(2)")], "what its Lambdad does"),
    ],
)
def test_no_map_of_a_picture_whose_places_are_lost(tmp_path: Path, picture: Path, pre: list[Any], words: str) -> None:
    assert words in told(predict(tmp_path / "b", picture, *pre))


def test_no_map_where_the_reader_swaps_the_axes(tmp_path: Path, picture: Path) -> None:
    load = [step("LoadImaged", reader="PILReader", reverse_indexing=False), LOAD[1]]
    assert "PILReader swaps the axes" in told(predict(tmp_path / "b", picture, load=load))


def test_no_map_of_a_slice_that_lies_elsewhere(tmp_path: Path) -> None:
    """A slice whose axis was taken as the channels, or whose affine does not fit it any more."""
    first = save_scan(tmp_path / "first.nii.gz", slice_of=0)
    load = [LOAD[0], step("EnsureChannelFirstd", channel_dim=0)]
    assert "does not lie in the slice" in told(predict(tmp_path / "c", first, load=load))
    kept = step("SqueezeDimd", dim=1, update_meta=False)
    assert "keeps no account" in told(predict(tmp_path / "d", first, kept))


def test_no_map_of_one_slice_out_of_many(tmp_path: Path) -> None:
    from monai.transforms import CenterSpatialCropd, Compose, EnsureChannelFirstd, LoadImaged, SqueezeDimd

    scan = save_scan(tmp_path / "s.nii.gz")
    steps = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), CenterSpatialCropd("image", [40, 36, 1]),
                     SqueezeDimd("image", dim=-1)])  # fmt: skip
    image = steps({"image": str(scan)})["image"]
    with pytest.raises(PlaceError, match="a picture of a scan of several slices"):
        to_native(np.asarray(image[0]), image, read(scan), preprocessing=steps)


def test_no_map_where_the_inferer_shows_parts(tmp_path: Path, picture: Path) -> None:
    """Of several windows the last one's map would be stretched over the picture."""
    parts = {"_target_": "scripts.own.Halves"}
    scripts = (
        "class Halves:\n    def __call__(self, image, network):\n"
        "        return (network(image[:, :, :48]) + network(image[:, :, 48:])) / 2\n"
    )
    prediction = predict(tmp_path / "b", picture, inferer=parts, scripts=scripts)
    assert "its network or inferer allows no map" in told(prediction)


def test_threads_share_a_predictor(tmp_path: Path) -> None:
    """Their maps and numbers are those of one thread; the hooks of one are not taken off by another."""
    predictor = open_predictor(
        write_stranger(tmp_path / "b", dims=3, pre=[step("ScaleIntensityd")], postprocessing=ACT),
        trust=True,
        device="cpu",
    )
    scans = []
    for index in range(3):
        data = np.zeros((20, 20, 20), np.float32)
        data[4 * index : 4 * index + 4] = 100
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / f"{index}.nii")
        scans.append(read(tmp_path / f"{index}.nii"))
    alone = [predictor(scan).evidence().data for scan in scans]
    wrong: list[str] = []

    def work(first: int) -> None:
        for turn in range(20):
            at = (first + turn) % 3
            try:
                if not np.array_equal(predictor(scans[at]).evidence().data, alone[at]):
                    wrong.append(f"map {at}")
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_predictor_can_be_copied_and_pickled(tmp_path: Path, picture: Path, again: Callable[[Any], Any]) -> None:
    predictor = open_predictor(write_stranger(tmp_path / "b", postprocessing=ACT), trust=True, device="cpu")
    assert again(predictor)(picture).probabilities == predictor(picture).probabilities


def test_a_map_that_cannot_be_made_is_a_known_error(tmp_path: Path, picture: Path) -> None:
    """A function whose gradient fails; its words stay out of the message."""
    scripts = (
        "import torch\n"
        "class Fails(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(context, x): return x.clone()\n"
        "    @staticmethod\n    def backward(context, g): raise ValueError('the words')\n"
        "class Last(torch.nn.Module):\n    def forward(self, x): return Fails.apply(x)\n"
    )
    with pytest.raises(BundleError, match=r"cannot make its Grad-CAM map of this scan \(ValueError\)") as caught:
        predict(tmp_path / "b", picture, end="scripts.own.Last()", scripts=scripts,
                imports=["$import torch", "$import scripts.own", "$import scripts"])  # fmt: skip
    assert caught.value.code == "bad_bundle"
    assert "the words" not in caught.value.message
