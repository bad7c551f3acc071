"""Bundles in environments of others: MONAI alone; MONAI Label and MONAI Deploy with their own loading code.

Each environment is made in a temporary folder from the package index. What cannot be installed is skipped with the
reason: that is then what this test does not show.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medattn_core.inference import Predictor
from medattn_core.interop.results import row_of
from medattn_core.volumes import read, write
from tests.interop.conftest import EVERY, Exports
from tests.interop.test_monai_tools import measured

ROOT = Path(__file__).resolve().parents[2]
CORE = ("torch==2.13.0", "monai==1.6.1", "nibabel", "SimpleITK")


def environment(folder: Path, *groups: tuple[str, ...]) -> Path:
    """Python of a new environment with groups of packages, each group installed by itself (`--no-deps` may lead it)."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    for group in groups:
        command = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *group]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
            pytest.skip(f"cannot be installed here: {' '.join(group)} ({last[-1][:200]})")
    return python


def run(python: Path, program: str, *arguments: str, cwd: Path) -> Any:
    """Run a program elsewhere; the JSON of its last line."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=cwd,
        env={**clean, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


# ---------------------------------------------------------------- monai, torch, nibabel, SimpleITK and nothing else

ALONE = """
import importlib.util, json, sys
import monai.bundle
root, scans, out = sys.argv[1:]
monai.bundle.run(bundle_root=root, config_file=root + "/configs/inference.json",
                 meta_file=root + "/configs/metadata.json", dataset_dir=scans, output_dir=out)
print(json.dumps([name for name in ("medattn_core", "ignite", "fire", "pydicom") if importlib.util.find_spec(name)]))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("alone") / "venv", CORE)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_self_contained_bundles_need_monai_alone(
    exports: Exports, scans: dict[str, Path], alone: Path, tmp_path: Path, name: str
) -> None:
    bundle = exports(name, self_contained=True)
    assert run(alone, ALONE, str(bundle.path), str(scans[name]), str(tmp_path / "out"), cwd=tmp_path) == []
    predictor = Predictor.from_bundle(bundle, device="cpu")
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(scans[name].iterdir())) > 0
    for row in rows:
        source = row["input"]
        prediction = predictor(source)
        wanted = bundle.task.probabilities(prediction.logits)
        numbers = [row[column] for column in measured(bundle.task)]
        np.testing.assert_allclose(np.array(numbers, float), wanted, rtol=1e-4, atol=1e-4)
        assert row["label"] == row_of(prediction).get("label", "")
        stem = Path(source).name.split(".")[0]
        written = np.asarray(nibabel.load(tmp_path / "out" / f"{stem}_evidence.nii.gz").dataobj)
        density = prediction.evidence().density().data
        np.testing.assert_allclose(written, density, atol=1e-4 * max(1.0, float(np.abs(density).max())))


# ---------------------------------------------------------------- MONAI Label

LABEL = """
import importlib.util, json, pathlib, re, sys
import torch
# The compiled operators of torchvision may be of another torch build, and its import stops at the first it misses. No
# classification needs them: they are declared, so that the import passes.
found = importlib.util.find_spec("torchvision")
source = pathlib.Path(found.origin).with_name("_meta_registrations.py").read_text()
names = dict.fromkeys(re.findall(r'register_(?:meta|fake)\\("(?:torchvision::)?(\\w+)"', source))
try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in names:
        library.define(f"{name}(Tensor x) -> Tensor")
from monailabel.tasks.infer.bundle import BundleInferTask
root, other, scan = sys.argv[1:]
task = BundleInferTask(root, {})
first = task({"image": scan, "device": "cpu"})[1]["prediction"]
valid = BundleInferTask(other, {}).is_valid()  # another bundle, whose `scripts` take the place of the first one's
again = task({"image": scan, "device": "cpu"})[1]["prediction"]
print(json.dumps({"valid": task.is_valid() and valid, "type": str(task.type), "labels": task.labels,
                  "first": [p["score"] for p in first], "again": [p["score"] for p in again]}))
"""


@pytest.mark.slow
def test_monai_label_loads_and_predicts(exports: Exports, scans: dict[str, Path], tmp_path: Path) -> None:
    """MONAI Label 0.8.5's own task class: type by folder name, weights, transforms, inferer, writer.

    Without pydicom-seg, numpymaxflow and sam2, which need older NumPy or a compiler and serve segmentation.
    """
    python = environment(
        tmp_path / "venv", CORE, ("--no-deps", "monailabel==0.8.5"),
        ("itk", "scikit-image", "torchvision==0.28.0", "pydantic", "pydantic-settings", "python-dotenv", "fastapi",
         "python-multipart", "httpx", "schedule", "timeloop", "expiringdict", "expiring_dict", "cachetools", "watchdog",
         "pydicom", "pynetdicom", "pynrrd", "dicomweb-client", "einops", "pyyaml", "filelock", "passlib", "pyjwt",
         "bcrypt", "shapely", "requests", "requests-toolbelt", "scipy", "tqdm", "pillow", "psutil"),
    )  # fmt: skip
    bundle, other = (exports(name, self_contained=True) for name in ("blobs", "blob_size"))
    scan = sorted(scans["blobs"].iterdir())[0]
    answer = run(python, LABEL, str(bundle.path), str(other.path), str(scan), cwd=tmp_path)
    prediction = Predictor.from_bundle(bundle, device="cpu")(scan)
    assert answer["valid"]
    assert answer["type"].rpartition(".")[2].lower() == "classification"
    assert answer["labels"] == {"bright": 0, "dark": 1}
    np.testing.assert_allclose(answer["first"], list(prediction.probabilities.values()), atol=1e-4)
    assert answer["first"] == answer["again"]


# ---------------------------------------------------------------- MONAI Deploy

DEPLOY = """
import json, pathlib, sys
import nibabel, numpy, torch
import monai.deploy.operators.monai_bundle_inference_operator as operators
from monai.data import MetaTensor
from monai.deploy.core import Fragment, Image, IOType

class Context:
    models = None

root, scan = sys.argv[1:]
operator = operators.MonaiBundleInferenceOperator(
    Fragment(), app_context=Context(), bundle_path=root,
    input_mapping=[operators.IOMapping("image", Image, IOType.IN_MEMORY)],
    output_mapping=[operators.IOMapping("pred", object, IOType.IN_MEMORY)])
operator._init_config(["inference"])
device = torch.device("cpu")
operator._model_network = operators._load_model_from_directory_bundle(pathlib.Path(root), device, operator._parser)
image = nibabel.load(scan)
voxels = torch.from_numpy(numpy.asarray(image.dataobj, dtype=numpy.float32))
inputs = operator.pre_process({"image": MetaTensor(voxels, affine=torch.from_numpy(image.affine))})
first = inputs.pop("image")
with torch.no_grad():
    out = operator.predict(data=first[None])
answer = operator.post_process(out[0], preprocessed_inputs={"image": first})["pred"]
print(json.dumps({"network": type(operator._model_network).__name__, "scores": answer.tolist()}))
"""


@pytest.mark.slow
def test_monai_deploy_loads_and_predicts(exports: Exports, scans: dict[str, Path], tmp_path: Path) -> None:
    """MONAI Deploy App SDK 4.0.0's own operator: configuration, network, pre- and postprocessing.

    What is not run is its `compute`, which Holoscan's scheduler calls, on a machine with a GPU.
    """
    python = environment(tmp_path / "venv", CORE, ("monai-deploy-app-sdk==4.0.0",), ("pydicom", "highdicom", "pillow"))
    scan = tmp_path / "scan.nii.gz"
    write(read(sorted(scans["blobs"].iterdir())[0]), scan)
    bundle = exports("blobs", self_contained=True)
    answer = run(python, DEPLOY, str(bundle.path), str(scan), cwd=tmp_path)
    prediction = Predictor.from_bundle(bundle, device="cpu")(scan)
    np.testing.assert_allclose(answer["scores"], list(prediction.probabilities.values()), atol=1e-4)
    assert answer["network"] == "RecursiveScriptModule", "models/model.ts is taken first"
