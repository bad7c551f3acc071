"""What a bundle without a size knows of itself is of the whole images that it predicts from, not of the batches."""

from __future__ import annotations

import copy
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medattn_core import datalists
from medattn_core.bundles import save_bundle
from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.training import train
from medattn_core.training.data import TrainingData, prepare
from medattn_core.training.plan import plan_task
from medattn_core.training.plan_network import plan_network
from medattn_core.training.reliability import learn_input_check
from medattn_core.training.whole_images import features_of, outputs_of
from medattn_core.transforms.conform import conform
from medattn_core.transforms.statistics import image_statistics
from medattn_core.volumes import read
from tests.squares import SETTINGS, write_list

EDGES = (40, 41, 64, 104)


def settings() -> dict:
    """Batches of 64 x 64; intensities by the tissue, which padding and cropping move."""
    found = copy.deepcopy(SETTINGS)
    found["task"] |= {"intensity": {"rule": "foreground_mean"}}
    return found


def write_discs(folder: Path, edges: tuple[int, ...] = EDGES, count: int = 48) -> Path:
    """Slices of several sizes in air, a value and a fold each; every fold has all sizes."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        edge, value = edges[index % len(edges)], float(rng.uniform(60, 180))
        image = rng.normal(100, 10, (edge, edge, 1)).clip(1)
        away = np.hypot(*(np.indices((edge, edge)) - edge / 2))
        image[away > 0.42 * edge] = 0
        image[away < 6] = value
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), folder / f"{index}.nii.gz")
        rows.append({"image": f"{index}.nii.gz", "value": f"{value:.2f}", "fold": str(index // len(edges) % 2)})
    return write_list(folder / "list.csv", rows)


def bundle_of(path: Path, folder: Path, stride: int) -> tuple[Predictor, TrainingData]:
    """An untrained network as a bundle, and the cases as training prepares them."""
    cases = datalists.load(path)
    task, size = plan_task(cases, {k: v for k, v in settings()["task"].items() if k != "activation"}, "discs")
    torch.manual_seed(0)
    network = plan_network(task, settings()["network"] | {"evidence_stride": stride})
    state = AttentionCNN(**network).state_dict()
    bundle = save_bundle(
        folder, task=task, network_settings=network, state_dict=state, description="d", version="1", half=False
    )
    assert bundle.task.size is None
    return Predictor.from_bundle(bundle, device="cpu"), prepare(cases, task, size)


@pytest.mark.parametrize("stride", [4, 8])
def test_outputs_and_statistics_are_those_of_prediction(tmp_path: Path, stride: int) -> None:
    """With cells of 4 pixels some lie in the padding up to a multiple of 8, at which prediction does not look."""
    path = write_discs(tmp_path, count=8)
    predictor, data = bundle_of(path, tmp_path / "discs", stride)
    held_out = np.arange(8) >= 3
    part = data.subset(held_out)
    files = [case.image for case in datalists.load(path)][3:]
    want = np.stack([predictor(file).logits for file in files])
    np.testing.assert_allclose(outputs_of(predictor.network, part), want, atol=1e-5, rtol=1e-5)
    for file, found in zip(files, part.statistics, strict=True):
        volume = read(file)
        assert found == image_statistics(conform(volume, predictor.task).image, volume)
    assert data.images.shape == (8, 1, 64, 64)  # batches are as they were


FLAT = {"spatial_dims": 2, "spacing": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("task", "network"),
    [
        (FLAT | {"channels": ("x", "y")}, {"mirror": [0, 1], "evidence_stride": 4}),
        (FLAT | {"slicewise": True}, {"evidence_stride": 4}),
        ({"spatial_dims": 3, "spacing": (1.0, 1.0, 1.0)}, {"evidence_stride": 4, "mixing": True}),
    ],
    ids=["two channels, mirrored", "slicewise", "3D, mixing"],
)
def test_outputs_are_the_logits_of_the_same_files(tmp_path: Path, task: dict, network: dict) -> None:
    """Sizes that are no multiple of 8 leave cells in the padding, at which prediction does not look."""
    spec = TaskSpec(name="t", labels=("a", "b"), **task)
    rng = np.random.default_rng(0)
    rows = []
    for index, edge in enumerate((33, 41, 52)):
        names = [f"{index}{channel}.nii.gz" for channel in spec.channels]
        for name in names:
            voxels = rng.normal(100, 30, (edge, edge + 3, 1 if spec.spatial_dims == 2 else 27)).clip(1)
            nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.eye(4)), tmp_path / name)
        rows.append({"image": "|".join(names), "label": "ab"[index % 2]})
    cases = datalists.load(write_list(tmp_path / "list.csv", rows))
    small = {"encoder_options": {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}, "width": 16}
    shape = {"spatial_dims": spec.spatial_dims, "in_channels": len(spec.channels), "out_channels": 2}
    settings = shape | small | {"slicewise": spec.slicewise, "bias": [-1.0, 0.5]} | network
    torch.manual_seed(0)
    state = AttentionCNN(**settings).state_dict()
    state["pooling.query"] *= 4  # attention that prefers some cells
    bundle = save_bundle(
        tmp_path / "b", task=spec, network_settings=settings, state_dict=state, description="d", version="1", half=False
    )
    predictor = Predictor.from_bundle(bundle, device="cpu")
    found = [predictor(list(case.images)) for case in cases]
    assert not all(prediction.head.allowed.all() for prediction in found)
    data = prepare(cases, spec, (40,) * spec.spatial_dims)
    want = np.stack([prediction.logits for prediction in found])
    np.testing.assert_allclose(outputs_of(predictor.network, data), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_what_does_not_fit_into_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    predictor, data = bundle_of(write_discs(tmp_path, count=1), tmp_path / "discs", 8)

    def fail(x: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(predictor.network, "encode", fail)
    for use in (lambda: predictor(data.cases[0].image), lambda: outputs_of(predictor.network, data)):
        with pytest.raises(VolumeError, match=r"0\.nii\.gz: .* do not fit into memory") as caught:
            use()
        assert (caught.value.code, caught.value.__cause__) == ("too_large", error)
    error = RuntimeError("of another kind")
    with pytest.raises(RuntimeError, match="of another kind"):
        outputs_of(predictor.network, data)


def test_the_input_check_measures_what_prediction_looks_at(tmp_path: Path) -> None:
    predictor, data = bundle_of(write_discs(tmp_path), tmp_path / "discs", 8)
    check = learn_input_check(predictor.network, data, np.arange(48) % 2 == 0)
    assert check is not None
    features = features_of(predictor.network, data)
    for case, looked_at in list(zip(datalists.load(tmp_path / "list.csv"), features, strict=True))[::11]:
        image = torch.from_numpy(conform(read(case.image), predictor.task).image[None, ..., 0])
        with torch.inference_mode():
            maps = predictor.network.features(image)
            weights = predictor.network.pool(maps).weights.mean(1, keepdim=True)
            mean = (maps * weights).flatten(2).sum(2) / weights.flatten(2).sum(2)
        np.testing.assert_allclose(looked_at, mean[0].numpy(), atol=1e-4, rtol=1e-4)


def test_a_trained_bundle_states_the_error_of_its_predictions_and_knows_its_own_cases(tmp_path: Path) -> None:
    """Pictures larger than the batches: the middle that training sees is all tissue, the whole is not."""
    path = write_discs(tmp_path, edges=(96, 104))
    config = settings()
    del config["task"]["activation"]
    config["training"] |= {"epochs": 4, "learning_rate": 3e-3}
    bundle = train(path, tmp_path / "discs", config=config, device="cpu", validation_fold=0)
    predictor = Predictor.from_bundle(bundle, device="cpu")
    cases = datalists.load(path)
    found = [predictor(case.image) for case in cases]
    errors = [abs(p.value - c.value) for p, c in zip(found, cases, strict=True) if c.fold == 0]
    assert bundle.metadata["eval_metrics"]["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
    half_width = bundle.calibration["conformal"]["half_width"]
    assert np.sort(errors)[22] == pytest.approx(half_width, rel=1e-4)  # the ceil(25 * 0.9)-th of 24
    strange = [w.message for p in found for w in p.warnings if w.code == "unlike_training"]
    assert len(strange) <= 2, strange


def test_a_file_that_is_gone_when_it_is_read_again_is_named(tmp_path: Path) -> None:
    predictor, data = bundle_of(write_discs(tmp_path, count=4), tmp_path / "discs", 8)
    (tmp_path / "3.nii.gz").unlink()
    with pytest.raises(MedAttnError, match=r"3\.nii\.gz") as caught:
        outputs_of(predictor.network, data)
    assert caught.value.code == "not_found"
