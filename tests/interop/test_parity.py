"""One model, five runtimes, the same answer: Predictor, MONAI's `run`, TorchScript, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle
from medattn_core.inference import Prediction, Predictor
from medattn_core.interop import formats, parity
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.volumes import Volume
from tests.interop.conftest import FORMATS, MODELS, SMALL, Exports, available, real_inputs

INPUTS = 20


@pytest.fixture(scope="module")
def inputs(lists: dict[str, Path], workshop: Path) -> Any:
    """``inputs(name)``: at least 20 real files of a model; for the small models the files they were trained on."""

    def of(name: str) -> list[Path]:
        if name in lists:
            return sorted(lists[name].parent.glob("*.nii.gz"))[:INPUTS]
        found = real_inputs(name, workshop)
        if len(found) < INPUTS:
            pytest.skip(f"the data of {name} lie not beside this checkout: {len(found)} real inputs of {INPUTS}")
        return found[:INPUTS]

    return of


@pytest.fixture(scope="module")
def predictions(exports: Exports, inputs: Any) -> Any:
    """``predictions(name)``: what Predictor says of each input, once."""
    made: dict[str, list[Prediction]] = {}

    def of(name: str) -> list[Prediction]:
        if name not in made:
            predictor = Predictor.from_bundle(exports(name), device="cpu")
            made[name] = [predictor(path) for path in inputs(name)]
        return made[name]

    return of


@pytest.mark.parametrize("runtime", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_a_runtime_says_what_predictor_says(
    exports: Exports, inputs: Any, predictions: Any, name: str, runtime: str
) -> None:
    if not available(runtime):
        pytest.skip(f"needs {', '.join(FORMATS[runtime])}")
    run = parity.RUNTIMES[runtime][0](exports(name).path / formats.FILES[runtime][0])
    found = [parity.compare(p, run, path) for p, path in zip(predictions(name), inputs(name), strict=True)]
    assert len(found) >= INPUTS
    assert max(difference.probabilities for difference in found) <= parity.TOLERANCE
    assert max(difference.evidence for difference in found) <= parity.TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_monais_run_says_what_predictor_says(
    exports: Exports, inputs: Any, predictions: Any, tmp_path: Path, name: str
) -> None:
    """Probabilities in the table and evidence in the files, on the inputs' own grids."""
    from monai.bundle import ConfigWorkflow

    root = exports(name).path
    (tmp_path / "in").mkdir()
    for path in inputs(name):
        shutil.copy(path, tmp_path / "in")
    flow = ConfigWorkflow(
        config_file=str(root / "configs/inference.json"), workflow_type="infer", logging_file=False,
        bundle_root=str(root), dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    flow.initialize()
    flow.run()
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["input"]).name: row for row in csv.DictReader(file)}
    task = predictions(name)[0].task
    numbers = ["value"] if task.kind == "regression" else [f"probability_{label}" for label in task.labels]
    table = {file: np.array([row[number] for number in numbers], float) for file, row in rows.items()}
    assert len(table) >= INPUTS
    for path, prediction in zip(inputs(name), predictions(name), strict=True):
        wanted = prediction.task.probabilities(prediction.logits)
        assert parity.gap(wanted, table[path.name]) <= parity.TOLERANCE
        evidence = prediction.evidence()
        stem = path.name.split(".")[0]
        written = np.asarray(nibabel.load(tmp_path / "out" / f"{stem}_evidence.nii.gz").dataobj)
        assert parity.gap(evidence.data, written / evidence.density_factor) <= parity.TOLERANCE


@pytest.mark.parametrize("name", SMALL)
def test_evidence_of_a_graph_sums_to_its_logit(
    exports: Exports, originals: dict[str, Bundle], inputs: Any, predictions: Any, name: str
) -> None:
    if not available("onnx"):
        pytest.skip(f"needs {', '.join(FORMATS['onnx'])}")
    run = parity.onnx(exports(name).path / formats.ONNX)
    prediction = predictions(name)[0]
    logits, evidence = run(parity.network_input(inputs(name)[0], prediction.task))
    np.testing.assert_allclose(prediction.bias + evidence.reshape(len(logits), -1).sum(axis=1), logits, rtol=1e-4)


def test_a_difference_is_seen(exports: Exports, inputs: Any, predictions: Any) -> None:
    """Another network than the one exported is not within the tolerance, in logits or in evidence alone."""
    prediction = predictions("blobs")[0]
    run = parity.torchscript(exports("blobs").path / formats.TORCHSCRIPT)

    def off(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, evidence = run(image)
        return logits + np.array([0.01, 0.0], np.float32), evidence

    def shifted(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, evidence = run(image)
        return logits, np.roll(evidence, 1, axis=1) + 1e-3

    path = inputs("blobs")[0]
    assert parity.compare(prediction, run, path).good
    assert parity.compare(prediction, off, path).probabilities > parity.TOLERANCE
    assert parity.compare(prediction, shifted, path).evidence > parity.TOLERANCE
    assert not parity.Difference(float("nan"), 0.0).good
    assert parity.gap(np.zeros(2), np.zeros(3)) == float("inf")


@pytest.mark.slow
def test_slices_and_sizes_of_any_number(exports: Exports, sample_data: Path) -> None:
    """A slice-wise model's graphs take any picture and any number of slices; made-up scans of odd sizes."""
    if not available("onnx"):
        pytest.skip(f"needs {', '.join(FORMATS['onnx'])}")
    from medattn_core.interop import export
    from tests.squares import SETTINGS, write_squares

    folder = exports.folder.parent / "squares_data"
    if not folder.exists():
        folder.mkdir()
        from medattn_core.training import train

        train(write_squares(folder), folder / "squares", config=SETTINGS, device="cpu")
    bundle = export(folder / "squares", folder / "out", onnx=True, openvino=available("openvino"))
    predictor = Predictor.from_bundle(bundle, device="cpu")
    rng = np.random.default_rng(0)
    for shape in ((40, 40, 1), (72, 33, 7), (130, 90, 2)):
        data = rng.integers(0, 255, shape).astype(np.float32)
        volume = Volume(data=data, affine=np.diag([1.0, 1.0, 5.0, 1.0]))
        for name in ("onnx", "openvino"):
            path = bundle.path / formats.FILES[name][0]
            if path.is_file():
                assert parity.compare(predictor(volume), parity.RUNTIMES[name][0](path), volume).good, (name, shape)


@pytest.mark.parametrize("stride", [8, 16])
def test_mirrored_networks_take_any_size(tmp_path: Path, stride: int) -> None:
    """Sizes of whole cells and others: what the example of an export needs no padding for, other images may."""
    if not available("onnx"):
        pytest.skip(f"needs {', '.join(FORMATS['onnx'])}")
    torch.manual_seed(0)
    network = AttentionCNN(
        spatial_dims=2, in_channels=1, out_channels=2, encoder_options={"widths": [4, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        evidence_stride=stride, width=8, mirror=[0, 1],
    ).eval()  # fmt: skip
    task = TaskSpec(name="any", kind="multiclass", labels=("a", "b"), spatial_dims=2, spacing=(1.0, 1.0))
    path = tmp_path / Path(formats.ONNX).name
    path.write_bytes(formats.onnx_model(network, task).SerializeToString())
    run = parity.onnx(path)
    for size in itertools.product((33, 40, 64, 72, 74, 100), repeat=2):
        image = torch.rand(1, 1, *size)
        with torch.no_grad():
            expected = network.attend(image, None)
        logits, evidence = run(image.numpy())
        np.testing.assert_allclose(logits, expected.logits[0].numpy(), atol=1e-5, err_msg=str(size))
        np.testing.assert_allclose(evidence, expected.contributions[0].numpy(), atol=1e-5, err_msg=str(size))
