"""Bundles in the model zoo's format, made with MONAI alone: after trust Predictor takes them, with Grad-CAM."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.networks.nets import DenseNet121, SEResNet50
from typer.testing import CliRunner

from medattn_core.batch import Settings, predict_many
from medattn_core.cli import app
from medattn_core.errors import BundleError, MedAttnError, PredictionError
from medattn_core.inference import BasePredictor, Predictor
from medattn_core.interop import open_predictor, verify
from medattn_core.interop.foreign import _importable
from medattn_core.interop.gradcam import grad_cam
from medattn_core.interop.predictor import to_native
from medattn_core.volumes import read
from tests.interop.strangers import post, step, write_stranger


def write_zoo_bundle(root: Path, *, dims: int = 3, **changes: Any) -> Path:
    """A small classifier as a zoo bundle; the scan's brightest place decides, by its weights."""
    for name in ("configs", "models", "docs"):
        (root / name).mkdir(parents=True)
    size = [32] * dims
    torch.manual_seed(0)
    network: dict[str, Any] = {"spatial_dims": dims, "in_channels": 1 if dims == 3 else 3}
    if dims == 3:
        network |= {"_target_": "DenseNet121", "out_channels": 2, "init_features": 8, "growth_rate": 4,
                    "block_config": [2, 2, 2]}  # fmt: skip
        arguments = {key: value for key, value in network.items() if key != "_target_"}
        module: torch.nn.Module = DenseNet121(**arguments)
    else:
        network |= {"_target_": "SEResNet50", "num_classes": 2, "layers": [1, 1, 1, 1]}
        module = SEResNet50(**{key: value for key, value in network.items() if key != "_target_"})
    torch.save({"model": module.state_dict()}, root / "models" / "model.pt")
    (root / "LICENSE").write_text("Apache License 2.0")
    tensor = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": network["in_channels"],
              "spatial_shape": size, "dtype": "float32", "value_range": [0, 1], "is_patch_data": False,
              "channel_def": {"0": "image"}}  # fmt: skip
    pred = {**tensor, "type": "probabilities", "num_channels": 2, "channel_def": {"0": "normal", "1": "lesion"}}
    metadata = {
        "schema": "https://example.org/meta_schema_20240725.json", "version": "0.3.0", "changelog": {"0.3.0": "first"},
        "monai_version": "1.4.0", "pytorch_version": "2.4.0", "numpy_version": "1.26", "name": "Zoo lesions",
        "required_packages_version": {}, "task": "lesions", "description": "tells lesions", "authors": "the zoo",
        "copyright": "the zoo", "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": pred}},
    }  # fmt: skip
    inference: dict[str, Any] = {
        "imports": ["$import glob"], "bundle_root": "/workspace/elsewhere", "dataset_dir": "/workspace/data",
        "device": "$torch.device('cpu')", "network_def": network, "network": "$@network_def.to(@device)",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*'))",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"},
            *([{"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None}] if dims == 3 else []),
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "Resized", "keys": "image", "spatial_size": size},
        ]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True}]},
        "initialize": ["$__import__('os').mkdir('initialize_ran')"],
    }  # fmt: skip
    inference |= changes
    (root / "configs/metadata.json").write_text(json.dumps(metadata))
    (root / "configs/inference.json").write_text(json.dumps(inference))
    return root


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo_bundle(tmp_path_factory.mktemp("zoo") / "lesions")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flipped, anisotropic NIfTI with one bright lump."""
    data = np.full((40, 36, 20), 20, np.int16)
    data[28:34, 6:12, 12:16] = 900
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-1.0, 1.0, 2.0, 1.0])), path)
    return path


@pytest.fixture
def predictor(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BasePredictor:
    monkeypatch.chdir(tmp_path)
    return open_predictor(zoo, trust=True, device="cpu")


def test_without_trust_nothing_is_imported_or_run(zoo: Path) -> None:
    before = list(sys.path)
    with pytest.raises(BundleError, match="say --trust") as caught:
        open_predictor(zoo)
    assert caught.value.code == "untrusted"
    assert sys.path == before
    with pytest.raises(BundleError, match="not a MedAttn bundle"):
        Predictor.from_bundle(zoo)


def test_it_says_what_it_is(predictor: BasePredictor, zoo: Path) -> None:
    """And has nothing of a MedAttn network, which it is not: no empty list of them, no first of none."""
    assert repr(predictor) == "<ForeignPredictor of Zoo lesions 0.3.0, torch on cpu>"
    assert (predictor.foreign, Predictor.foreign) == (True, False)
    assert predictor.root == zoo
    assert not isinstance(predictor, Predictor)
    assert not {"network", "networks", "slices_at_once"} & set(dir(predictor))
    own = open_predictor("brain_tumor_t1ce", device="cpu")
    assert isinstance(own, BasePredictor)
    assert (own.name, own.version, own.root) == (own.bundle.name, own.bundle.version, own.bundle.path)


def test_it_predicts_what_monai_predicts(predictor: BasePredictor, zoo: Path, scan: Path) -> None:
    """Step by step with MONAI's parser, as a user of the zoo would."""
    from monai.bundle import ConfigParser

    prediction = predictor(scan)
    parser = ConfigParser()
    parser.read_config(str(zoo / "configs/inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(zoo / "models/model.pt", weights_only=True)["model"])
    image = parser.get_parsed_content("preprocessing")({"image": str(scan)})["image"]
    with torch.no_grad():
        logits = network.eval()(image[None])[0]
    np.testing.assert_allclose(prediction.logits, np.asarray(logits), atol=1e-5)
    wanted = dict(zip(("normal", "lesion"), np.asarray(torch.softmax(logits, 0)).tolist(), strict=True))
    assert prediction.probabilities == pytest.approx(wanted, abs=1e-6)
    assert prediction.bundle == "Zoo lesions"
    assert not Path("initialize_ran").exists(), "what the bundle does to start a run is not needed to predict"


def test_the_map_is_marked_as_not_additive(predictor: BasePredictor, scan: Path) -> None:
    prediction = predictor(scan)
    assert "not_additive" in [notice.code for notice in prediction.warnings]
    evidence = prediction.evidence()
    assert not evidence.additive
    assert "not additive" in evidence.density_unit
    assert np.isnan(evidence.total)
    assert evidence.shape == prediction.volume.shape == (40, 36, 20)
    assert 0 <= evidence.data.min() <= evidence.data.max() <= 1.0 + 1e-6
    assert evidence.data.max() > 0
    assert prediction.regions() == []
    for ask in (lambda: prediction.without(np.ones(evidence.shape)), lambda: prediction.only(np.ones(evidence.shape)),
                prediction.contributions, lambda: prediction.evidence(against="normal")):  # fmt: skip
        with pytest.raises(PredictionError) as caught:
            ask()
        assert caught.value.code == "not_additive"
    with pytest.raises(PredictionError, match="no mask"):
        predictor(scan, mask=np.ones(evidence.shape))


def test_grad_cam_is_the_weighted_sum_of_the_last_maps() -> None:
    """Against the definition, on a network whose maps and gradients are known by hand."""

    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 1, bias=False)
            self.pool = torch.nn.AdaptiveAvgPool2d(1)
            self.head = torch.nn.Linear(2, 2, bias=False)
            with torch.no_grad():
                self.conv.weight[:, 0, 0, 0] = torch.tensor([1.0, -2.0])
                self.head.weight.copy_(torch.tensor([[3.0, 1.0], [-1.0, 0.5]]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.pool(self.conv(x)).flatten(1))

    image = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    network = Known().eval()
    output, cam = grad_cam(network, image, lambda x, net: net(x), spatial_dims=2)
    torch.testing.assert_close(output, network(image).detach())
    first = cam(0)  # (3 * 1 + 1 * -2) / 16 * image, positive
    assert first is not None
    torch.testing.assert_close(first, image[0, 0] / 16)
    second = cam(1)  # -1 * 1 + 0.5 * -2 < 0 everywhere
    assert second is not None
    assert float(second.abs().max()) == 0
    assert not network.conv._forward_hooks, "hooks are taken off again"


def test_the_map_lies_where_the_preprocessed_image_lay(scan: Path) -> None:
    """A preprocessed image used as its own map lands on the scan's bright lump, though the grids are flipped."""
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Resized

    volume = read(scan)
    steps = [LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", axcodes="RAS", labels=None),
             Resized("image", spatial_size=(32, 32, 32), mode="trilinear")]  # fmt: skip
    image = Compose(steps)({"image": str(scan)})["image"]
    native = to_native(np.asarray(image[0]), image, volume)
    inside = volume.data > 500
    assert native[inside].mean() > 600
    assert inside[np.unravel_index(int(native.argmax()), native.shape)]
    assert np.corrcoef(native.ravel(), volume.data.ravel())[0, 1] > 0.85


def test_nrrd_and_dicom_reach_a_bundle_that_reads_neither(predictor: BasePredictor, sample_data: Path) -> None:
    pytest.importorskip("pydicom")
    nrrd, dicom = predictor(sample_data / "brain1_image.nrrd"), predictor(sample_data / "brain1_dicom")
    assert nrrd.probabilities == pytest.approx(dicom.probabilities, abs=1e-3)


def test_colour_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of endoscopy: no MedAttn bundle takes them, the zoo's do."""
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    root = write_zoo_bundle(tmp_path / "endoscopy", dims=2)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(tmp_path / "p.png"))
    prediction = open_predictor(root, trust=True, device="cpu")(tmp_path / "p.png")
    assert prediction.evidence().shape == (64, 48, 1)
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)


def test_a_jpeg_that_lies_on_its_side_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MONAI's readers do not turn it: the map would lie elsewhere."""
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    root = write_zoo_bundle(tmp_path / "pictures", dims=2)
    exif = image.Exif()
    exif[0x0112] = 6
    grey = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
    image.fromarray(grey).save(tmp_path / "p.jpg", exif=exif)
    with pytest.raises(PredictionError, match=r"p\.jpg: its EXIF orientation is not upright") as caught:
        open_predictor(root, trust=True, device="cpu")(tmp_path / "p.jpg")
    assert caught.value.code == "bad_argument"


def test_a_batch_takes_the_predictor_of_its_bundle_alone(
    predictor: Predictor, zoo: Path, scan: Path, tmp_path: Path
) -> None:
    own, shipped = Settings(bundle=str(zoo), trust=True, device="cpu"), Settings(bundle="brain_tumor_t1ce")
    assert predict_many(scan, tmp_path / "out", own, predictor=predictor).failed == 0
    with pytest.raises(MedAttnError, match=f"it is of the bundle {zoo}, the settings name brain_tumor_t1ce"):
        predict_many(scan, tmp_path / "other", shipped, predictor=predictor)


def test_through_the_command_line(zoo: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    arguments = ["predict", str(scan), "--bundle", str(zoo), "--output", str(tmp_path / "out"), "--device", "cpu"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "error [untrusted]" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*arguments, "--trust", "--report"])
    assert done.exit_code == 0, done.output
    assert "warning [not_additive]" in done.stderr
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())[0]
    assert record["evidence"]["additive"] is False
    assert record["evidence"]["sum"] is None
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Grad-CAM" in page
    assert "The map is the decision itself" not in page
    assert (tmp_path / "out" / "scan_evidence.nii.gz").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preprocessing": {"_target_": "no.such.Transform"}}, "cannot make its preprocessing"),
        ({"network_def": {"_target_": "DenseNet121", "spatial_dims": 3, "in_channels": 1, "out_channels": 5}},
         "size mismatch|Error\\(s\\) in loading"),
        ({"inferer": "$1 / 0"}, "cannot make its inferer"),
    ],
)  # fmt: skip
def test_a_foreign_bundle_that_does_not_work_says_so(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    root = write_zoo_bundle(tmp_path / "broken", **change)
    with pytest.raises(BundleError, match=words) as caught:
        open_predictor(root, trust=True, device="cpu")
    assert "\n" not in caught.value.message


def test_weights_with_objects_are_refused_even_with_trust(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    root = write_zoo_bundle(tmp_path / "pickled")
    torch.save({"model": {"a": Hostile()}}, root / "models/model.pt")
    with pytest.raises(BundleError, match="holds more than tensors"):
        open_predictor(root, trust=True, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_verify_tells_and_with_trust_tries(zoo: Path) -> None:
    untrusted, trusted = verify(zoo), verify(zoo, trust=True)
    assert untrusted.good
    assert "things would run as code" in untrusted.checks[-1].detail
    assert untrusted.checks[-1].status == "skipped"
    assert trusted.checks[-1].name == "network in and out"
    assert trusted.checks[-1].detail == "[1, 1, 32, 32, 32] in, [1, 2] out"


def test_a_bundle_without_code_is_not_among_what_is_imported(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scripts = list(sys.path), ModuleType("scripts")
    monkeypatch.setitem(sys.modules, "scripts", scripts)
    open_predictor(zoo, trust=True, device="cpu")
    assert sys.path == path
    assert sys.modules["scripts"] is scripts, "of somebody who has nothing to do with it"


def test_a_bundle_that_could_not_be_loaded_leaves_no_path(tmp_path: Path) -> None:
    root = write_stranger(tmp_path / "broken", inferer="$1 / 0")
    path = list(sys.path)
    with pytest.raises(BundleError, match="cannot make its inferer"):
        open_predictor(root, trust=True, device="cpu")
    assert sys.path == path


def test_a_bundle_whose_code_fails_leaves_the_modules_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_stranger(tmp_path / "broken", inferer="$1 / 0")
    (root / "scripts" / "own.py").write_text("", encoding="utf-8")
    mine = {name: ModuleType(name) for name in ("scripts", "scripts.mine")}
    for name, module in mine.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", [*sys.path, str(root)])
    path = list(sys.path)
    loaded = {}

    def fail() -> None:
        with _importable(root):
            loaded["own"] = importlib.import_module("scripts.own").__file__
            raise BundleError("bad_bundle", "it fails later")

    with pytest.raises(BundleError):
        fail()
    assert loaded["own"] == str(root / "scripts" / "own.py")
    assert sys.path == path
    assert {name: module for name, module in sys.modules.items() if name.split(".")[0] == "scripts"} == mine


def test_code_that_is_imported_late_and_code_of_two_bundles(tmp_path: Path, scan: Path) -> None:
    """A module that only a prediction asks for; and of two bundles, and of the first again, each loads its own code."""
    late = (
        "import torch\n"
        "class Own:\n"
        "    SHIFT = {shift}\n"
        "    def __init__(self, keys): pass\n"
        "    def __call__(self, data):\n"
        "        from scripts.late import one\n"
        "        return {{**data, 'image': one(data['image'])}}\n"
    )
    roots = []
    for shift in (1, 2):
        root = write_stranger(tmp_path / str(shift), dims=3, pre=[step("scripts.own.Own")],
                              scripts=late.format(shift=shift), imports=["$import torch", "$import scripts.own"],
                              postprocessing=[post("Activationsd", softmax=True)])  # fmt: skip
        (root / "scripts/late.py").write_text("def one(image): return image\n")
        roots.append(root)
    for shift, root in ((1, roots[0]), (2, roots[1]), (1, roots[0])):
        predictor = open_predictor(root, trust=True, device="cpu")
        own = sys.modules["scripts.own"]
        assert shift == own.Own.SHIFT
        assert sum(predictor(scan).probabilities.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("stated", [["*", "*", "*"], ["16*n", "16*n", "32"]])
def test_a_size_that_is_free_is_one_that_networks_take(tmp_path: Path, stated: list[str]) -> None:
    root = write_zoo_bundle(tmp_path / "free")
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = stated
    path.write_text(json.dumps(metadata))
    check = verify(root, trust=True).checks[-1]
    assert (check.name, check.status) == ("network in and out", "passed")
    assert check.detail == "[1, 1, 32, 32, 32] in, [1, 2] out"
